"""Serving the web application with uvicorn, in this process, beside whatever else it does."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from sqlalchemy import Connection

from ops import assembly
from ops.assembly import Parts
from ops.migrations.fit import misfit
from ops.runtime.settings import SettingsError
from producers.webhooks.app import WebParts, create_app
from producers.webhooks.handover import LINGER
from producers.webhooks.keeper import STORE_SECONDS

#: Seconds for the server to come up, and for open requests to end.
_START, _GRACE = 15.0, 10
#: Open files: each connection is one, and a burst of patients' answers must not meet a closed door.
_OPEN_FILES = 16_384
#: A story's time goes on once a webhook is answered, so there the ledger gets all the time a request has.
_PATIENT_STORE = 9.0


@contextmanager
def serve_web(parts: Parts) -> Iterator[None]:
    """Serve until the context ends; requests under way are answered first.

    Raises:
        SettingsError: the port is taken, or the host is none of this machine.
    """
    settings = parts.settings
    _allow_connections()
    app = create_app(_web_parts(parts))
    config = uvicorn.Config(
        app,
        host=settings.web_host,
        port=settings.web_port,
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_GRACE,
        # no limit_concurrency: uvicorn would turn away a patient's STOP (see producers/webhooks/admission.py)
        h11_max_incomplete_event_size=64 * 1024,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=_run, args=(server,), name="web", daemon=True)
    thread.start()
    deadline = time.monotonic() + _START
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            server.should_exit = True
            raise _no_place(settings.web_host, settings.web_port)
        thread.join(0.02)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(_GRACE + 5)


def _web_parts(parts: Parts) -> WebParts:
    settings = parts.settings
    return WebParts(
        engine=parts.engine,
        vault=parts.vault,
        clock=parts.clock,
        channels=parts.providers,
        public_url=settings.public_url,
        link_key=settings.index_key,
        jobs=parts.enqueue,
        take_event=assembly.intake(parts).take_posted,
        spool_directory=settings.home / "spool",
        # a second of a story may be a day: nobody would be heard in time
        is_heard=settings.clock == "system",
        store_seconds=STORE_SECONDS if settings.clock == "system" else _PATIENT_STORE,
        events_token=settings.events_token,
        schema_trouble=_schema_trouble,
        rules=parts.rules,
        # without a broker to spare, a hint has nothing to wait for
        linger=0.0 if settings.is_embedded else LINGER,
    )


def _schema_trouble(conn: Connection) -> str | None:
    error = misfit(conn)
    return None if error is None else str(error)


def _no_place(host: str, port: int) -> SettingsError:
    """Which of the two settings is wrong: is there any port to be had on this host?"""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except (OSError, UnicodeError):
        return SettingsError(f"REACTIVATE_WEB_HOST: {host} is no address of this machine")
    return SettingsError(f"REACTIVATE_WEB_PORT: cannot serve on {host}:{port}")


def _allow_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _run(server: uvicorn.Server) -> None:
    try:
        server.run()
    except SystemExit:
        # uvicorn's way of saying that it could not start; the waiting thread says so in words
        server.should_exit = True
