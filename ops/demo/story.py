"""A story: a health system, its lapsed patients and one campaign, played over simulated months and then judged."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from domain.ledger.patients import patient
from domain.ledger.report import report
from domain.ledger.store import reading
from domain.ledger.touches import touch
from ops import assembly
from ops.demo.conductor import Conductor, Fleet
from ops.demo.embedded import Embedded
from ops.demo.processes import Processes
from ops.demo.simulated import Simulated, make_world
from ops.migrations import run as migrations
from ops.runtime.clock import SharedClock
from ops.runtime.settings import KEPT, new_keys, read_settings
from ops.services.start import start as start_services
from producers.campaigns import start_campaign
from producers.importing.organisation_file import read_organisation
from producers.importing.result import ImportResult
from producers.importing.run import run_import

#: A month of a story, in days.
MONTH = 30.4

#: Scans and reviews run once a simulated week: fewer instants, larger batches, the same story.
SCAN_EVERY = timedelta(days=7)

#: Words of the demo's sources of configuration and exports inside its directory.
ORGANISATION, CLOCK, REPORT = "organisation.yaml", "clock", "report.json"


class StoryError(Exception):
    """The story cannot be told; the message says why and what to do."""


@dataclass(frozen=True)
class OwnExport:
    """A FHIR export of one's own, complete up to the script's start."""

    folder: Path
    organisation: Path
    """The file by which it is read."""


@dataclass(frozen=True)
class Script:
    """What is played."""

    directory: Path
    """Everything the story writes is in here; it is emptied first."""
    campaign: Path
    start: datetime
    months: int
    seed: int
    holdout: float | None = None
    """Instead of the campaign's own."""
    fleet: bool = False
    """On real servers with a process per role, instead of embedded."""
    sites: int = 6
    patients: int = 6000
    own: OwnExport | None = None
    """Instead of a synthetic one."""

    @property
    def days(self) -> int:
        """How long the story is, in simulated days."""
        return round(MONTH * self.months)


@dataclass
class Listener:
    """Told what is happening."""

    stage: Callable[[str], None] = field(default=lambda _text: None)
    instant: Callable[[datetime], None] = field(default=lambda _now: None)


def play(script: Script, listener: Listener) -> dict[str, Any]:
    """Tell the story and return its report, which is also written to `report.json` in its directory.

    Raises:
        StoryError: another story is being told in that directory, or what is to be read lies in it.
        NotQuiet, WorldProblem, SimulatorGone, ServiceError, FileProblems: see there.
    """
    started = time.monotonic()
    if script.own is not None:
        # told with line and field before anything else is made of it
        read_organisation(script.own.organisation)
    _check_nothing_is_lost(script)
    with _directory(script.directory) as directory, ExitStack() as closing:
        clock = SharedClock.create(directory / CLOCK, script.start)
        closing.callback(clock.close)
        listener.stage("making the health system and its patients")
        _make_world(script, directory)
        arguments = ["--world", str(directory), "--clock", str(directory / CLOCK)]
        simulated = closing.enter_context(Simulated(arguments, directory / "simulator.log"))
        environ = _environ(script, directory, simulated, closing, listener)
        parts = closing.enter_context(assembly.assemble(read_settings({**os.environ, **environ})))
        migrations.upgrade(parts.engine)
        listener.stage("importing the export")
        imported = _import(script, directory, parts)
        start_campaign(parts.engine, _campaign_file(script, directory), None, script.start)
        fleet: Fleet
        if script.fleet:
            listener.stage("starting web, clock and a worker per queue")
            queues = [*assembly.event_handlers(parts), *assembly.job_queues(parts)]
            fleet = closing.enter_context(Processes(parts.engine, queues, environ, directory / "logs"))
        else:
            fleet = closing.enter_context(Embedded(parts, SCAN_EVERY))
        simulated.begin(environ["REACTIVATE_PUBLIC_URL"], _events(script, environ))
        end = script.start + timedelta(days=script.days)
        conductor = Conductor(clock, simulated, fleet, end)
        conductor.run(listener.instant)
        listener.stage("asking the witness and auditing the ledger")
        result = _judge(script, parts, simulated, imported, end)
        result["steps"] = conductor.steps
        result["seconds"] = round(time.monotonic() - started, 1)
        (directory / REPORT).write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")
        return result


def _judge(
    script: Script, parts: assembly.Parts, simulated: Simulated, imported: ImportResult, end: datetime
) -> dict[str, Any]:
    with reading(parts.engine, patient=True) as conn:
        result = report(conn, end)
    testimony = simulated.testimony()
    provider = sum(testimony["accepted"].values())
    result["witness"] = {
        "provider_accepted": provider,
        "ledger_accepted": sum(result["accepted"].values()),
        "promises": testimony["promises"],
        # calls to our webhooks that never got an answer: lost receipts, replies, events
        "given_up": sum(simulated.state()["calls"]["given_up"].values()),
    }
    result["imported"] = [asdict(file) for file in imported.files]
    result["simulated_days"] = (end - script.start).days
    result["example_patient"] = _much_to_explain(parts)
    return result


def _much_to_explain(parts: assembly.Parts) -> str | None:
    """The reference of a patient whose touches ended in many ways, for `reactivate explain`."""
    states = func.count(touch.c.state.distinct())
    with reading(parts.engine) as conn:
        return conn.scalar(
            select(patient.c.ref)
            .join(touch, touch.c.patient_id == patient.c.id)
            .group_by(patient.c.ref)
            .order_by(states.desc(), func.count().desc(), patient.c.ref)
            .limit(1)
        )


def _import(script: Script, directory: Path, parts: assembly.Parts) -> ImportResult:
    own = script.own
    exports = sorted(path for path in directory.glob("export*") if path.is_dir())
    return run_import(
        parts.engine,
        parts.vault,
        organisation_file=own.organisation if own else directory / ORGANISATION,
        sources=[own.folder] if own else exports,
        now=script.start,
        # what is dated at the very start has not been seen by an export of the day before
        as_of=script.start - timedelta.resolution if own else None,
    )


def _campaign_file(script: Script, directory: Path) -> Path:
    if script.holdout is None:
        return script.campaign
    lines = script.campaign.read_text().splitlines()
    changed = [f"holdout: {script.holdout}" if line.startswith("holdout:") else line for line in lines]
    path = directory / "campaign.yaml"
    path.write_text("\n".join(changed) + "\n")
    return path


def _make_world(script: Script, directory: Path) -> None:
    """Let the simulator make its health system and leave its exports in `directory`, or adopt an export's patients."""
    of_what = (
        ("--adopt", str(script.own.folder), "--organisation", str(script.own.organisation))
        if script.own is not None
        else ("--sites", str(script.sites), "--patients", str(script.patients))
    )
    make_world(
        [
            *("--world", str(directory), "--make", "--seed", str(script.seed), "--start", script.start.isoformat()),
            *("--months", str(script.months)),
            *of_what,
        ]
    )


def _environ(
    script: Script, directory: Path, simulated: Simulated, closing: ExitStack, listener: Listener
) -> dict[str, str]:
    port = free_port()
    # an export of one's own holds real patients: what guards them must not be guessed from a seed
    keys, index_key = new_keys() if script.own else _fixed_keys(script.seed)
    environ = {
        **_providers(simulated.ready),
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


def _providers(ready: Mapping[str, Any]) -> dict[str, str]:
    """How the channels reach the simulated providers: nothing but settings differs from real ones."""
    return {
        "REACTIVATE_SMS_URL": f"http://127.0.0.1:{ready['sms']}",
        "REACTIVATE_SMS_ACCOUNT_SID": ready["account_sid"],
        "REACTIVATE_SMS_AUTH_TOKEN": ready["auth_token"],
        "REACTIVATE_SMS_FROM": "+12125550100",
        "REACTIVATE_SMS_RATE_PER_SECOND": "100",
        "REACTIVATE_SMS_BURST": "200",
        "REACTIVATE_SMS_ACCOUNT_RATE_PER_SECOND": "200",
        "REACTIVATE_SMTP_HOST": "localhost",
        "REACTIVATE_SMTP_PORT": str(ready["smtp"]),
        "REACTIVATE_SMTP_TLS": "starttls",
        "REACTIVATE_SMTP_CA_FILE": ready["ca_file"],
        "REACTIVATE_SMTP_USERNAME": ready["smtp_user"],
        "REACTIVATE_SMTP_PASSWORD": ready["smtp_password"],
        "REACTIVATE_SMTP_FROM": "care@northstar.example.org",
        "REACTIVATE_SMTP_DOMAIN": "northstar.example.org",
        "REACTIVATE_SMTP_RATE_PER_SECOND": "100",
        "REACTIVATE_SMTP_BURST": "200",
        "REACTIVATE_SMTP_CONNECTIONS": "16",
    }


def _events(script: Script, environ: Mapping[str, str]) -> dict[str, str]:
    if script.fleet:
        return {"transport": "amqp", "url": environ["REACTIVATE_AMQP_URL"]}
    return {"transport": "http", "token": environ["REACTIVATE_EVENTS_TOKEN"]}


def _fixed_keys(seed: int) -> tuple[str, str]:
    """Keys of a synthetic story: the same seed must draw the same holdout, and so needs the same references."""
    vault, index = (hashlib.sha256(f"story {name} {seed}".encode()).digest() for name in ("vault", "index"))
    return "1:" + base64.b64encode(vault).decode(), base64.b64encode(index).decode()


def free_port() -> int:
    """A loopback port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _check_nothing_is_lost(script: Script) -> None:
    """The story's directory is emptied: what it reads must not lie there."""
    read = [script.campaign, *((script.own.folder, script.own.organisation) if script.own else ())]
    for path in read:
        if path.resolve().is_relative_to(script.directory.resolve()):
            raise StoryError(
                f"{path} lies in {script.directory}, which is emptied first: name another place with --out"
            )


@contextmanager
def _directory(directory: Path) -> Iterator[Path]:
    """An empty directory of the story's own, held against a second story."""
    directory = directory.resolve()
    directory.parent.mkdir(parents=True, exist_ok=True)
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
        directory.mkdir()
        yield directory


def default_start() -> datetime:
    """When the synthetic story begins: a Monday at midnight UTC."""
    return datetime(2025, 1, 6, tzinfo=UTC)
