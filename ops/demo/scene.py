"""The scene: a story's directory, held against a second story, and the settings its processes run by."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ops.demo.script import CLOCK, Listener, Script, StoryError
from ops.demo.simulated import Simulated
from ops.runtime.settings import KEPT, new_keys
from ops.services.process import free_port
from ops.services.start import start as start_services


@contextmanager
def held(directory: Path) -> Iterator[Path]:
    """An empty directory of the story's own, held against a second story."""
    directory = directory.resolve()
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoryError(
            f"no story can be told in {directory}: {error.strerror}; name another place with --out"
        ) from None
    with directory.with_name(directory.name + ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoryError(
                f"another story is being told in {directory}: wait, or name another place with --out"
            ) from None
        if directory.exists():
            if not (directory / CLOCK).exists() and any(directory.iterdir()):
                raise StoryError(f"{directory} holds something that is no story: name another place with --out")
            shutil.rmtree(directory)
        directory.mkdir(mode=0o700)
        yield directory


def check_nothing_is_lost(script: Script) -> None:
    """The story's directory is emptied: what it reads must not lie there."""
    read = [script.campaign, *((script.own.folder, script.own.organisation) if script.own else ())]
    for path in read:
        if path.resolve().is_relative_to(script.directory.resolve()):
            raise StoryError(
                f"{path} lies in {script.directory}, which is emptied first: name another place with --out"
            )


def settings_of(
    script: Script, directory: Path, simulated: Simulated, closing: ExitStack, listener: Listener
) -> dict[str, str]:
    port = free_port()
    # an export of one's own holds real patients: what guards them must not be guessed from a seed
    keys, index_key = new_keys() if script.own else _fixed_keys(script.seed)
    environ = {
        **providers_of(simulated.ready),
        "REACTIVATE_HOME": str(directory),
        "REACTIVATE_DATABASE_URL": f"sqlite:///{directory / 'ledger.db'}",
        "REACTIVATE_AMQP_URL": "",
        "REACTIVATE_REDIS_URL": "",
        "REACTIVATE_CLOCK": f"shared:{directory / CLOCK}",
        "REACTIVATE_WEB_PORT": str(port),
        "REACTIVATE_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "REACTIVATE_EVENTS_TOKEN": "story",
        "REACTIVATE_VAULT_KEYS": keys,
        "REACTIVATE_INDEX_KEY": index_key,
        "REACTIVATE_METRICS_PORT": "",
    }
    kept = ("REACTIVATE_CLOCK", "REACTIVATE_VAULT_KEYS", "REACTIVATE_INDEX_KEY")
    _keep(directory / KEPT, {name: environ[name] for name in kept})
    if script.fleet:
        listener.stage("starting private RabbitMQ, Redis and PostgreSQL")
        services = closing.enter_context(start_services())
        environ["REACTIVATE_DATABASE_URL"] = services.postgres_admin_url
        environ["REACTIVATE_AMQP_URL"] = services.amqp_url("story")
        environ["REACTIVATE_REDIS_URL"] = services.redis_url
    return environ


def _keep(path: Path, settings: Mapping[str, str]) -> None:
    """Leave the settings by which the ledger can be asked afterwards, for the owner alone: keys are among them."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.writelines(f"{name}={value}\n" for name, value in settings.items())


def providers_of(ready: Mapping[str, Any]) -> dict[str, str]:
    """How the channels reach the simulated providers: nothing but settings differs from real ones."""
    return {
        "REACTIVATE_SMS_URL": f"http://127.0.0.1:{ready['sms']}",
        "REACTIVATE_SMS_ACCOUNT_SID": ready["account_sid"],
        "REACTIVATE_SMS_AUTH_TOKEN": ready["auth_token"],
        "REACTIVATE_SMS_FROM": "+12125550100",
        "REACTIVATE_SMS_RATE_PER_SECOND": "200",
        "REACTIVATE_SMS_BURST": "400",
        "REACTIVATE_SMS_ACCOUNT_RATE_PER_SECOND": "400",
        "REACTIVATE_SMTP_HOST": "localhost",
        "REACTIVATE_SMTP_PORT": str(ready["smtp"]),
        "REACTIVATE_SMTP_TLS": "starttls",
        "REACTIVATE_SMTP_CA_FILE": ready["ca_file"],
        "REACTIVATE_SMTP_USERNAME": ready["smtp_user"],
        "REACTIVATE_SMTP_PASSWORD": ready["smtp_password"],
        "REACTIVATE_SMTP_FROM": "care@northstar.example.org",
        "REACTIVATE_SMTP_DOMAIN": "northstar.example.org",
        "REACTIVATE_SMTP_RATE_PER_SECOND": "200",
        "REACTIVATE_SMTP_BURST": "400",
        "REACTIVATE_SMTP_CONNECTIONS": "32",
    }


def events_of(script: Script, environ: Mapping[str, str]) -> dict[str, str]:
    if script.fleet:
        return {"transport": "amqp", "url": environ["REACTIVATE_AMQP_URL"]}
    return {"transport": "http", "token": environ["REACTIVATE_EVENTS_TOKEN"]}


def _fixed_keys(seed: int) -> tuple[str, str]:
    """Keys of a synthetic story: the same seed must draw the same holdout, and so needs the same references."""
    vault, index = (hashlib.sha256(f"story {name} {seed}".encode()).digest() for name in ("vault", "index"))
    return "1:" + base64.b64encode(vault).decode(), base64.b64encode(index).decode()
