"""A story: a health system, its lapsed patients and one campaign, played over simulated months and then judged."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from domain.ledger.patients import patient
from domain.ledger.report import report
from domain.ledger.store import reading
from domain.ledger.touches import touch
from domain.rules.vocabulary import Role
from ops import assembly
from ops.demo.conductor import Conductor, Fleet
from ops.demo.embedded import Embedded
from ops.demo.processes import Processes
from ops.demo.scene import check_nothing_is_lost, events_of, held, settings_of
from ops.demo.script import CLOCK, ORGANISATION, REPORT, Listener, Script
from ops.demo.simulated import Simulated
from ops.migrations import run as migrations
from ops.runtime.clock import SharedClock
from ops.runtime.settings import read_settings
from producers.campaigns import start_campaign
from producers.importing.organisation_file import read_organisation
from producers.importing.result import ImportResult
from producers.importing.run import run_import

#: Who releases the campaign's texts in a story; nobody real.
REVIEWERS = {Role.MARKETING: "Maya Ortiz (fictional)", Role.CLINICAL: "Sam Reed (fictional)"}

#: Scans and reviews run once a simulated fortnight: fewer instants, larger batches, the same story.
SCAN_EVERY = timedelta(days=14)


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
    check_nothing_is_lost(script)
    with held(script.directory) as directory, ExitStack() as closing:
        clock = SharedClock.create(directory / CLOCK, script.start)
        closing.callback(clock.close)
        listener.stage("making the health system and its patients")
        simulated = closing.enter_context(Simulated(_of_what(script, directory), directory / "simulator.log"))
        environ = settings_of(script, directory, simulated, closing, listener)
        parts = closing.enter_context(assembly.assemble(read_settings({**os.environ, **environ})))
        migrations.upgrade(parts.engine)
        listener.stage("importing the export")
        imported = _import(script, directory, parts)
        start_campaign(parts.engine, _campaign_file(script, directory), None, parts.rules, script.start, REVIEWERS)
        fleet: Fleet
        if script.fleet:
            listener.stage("starting web, clock and a worker per queue")
            queues = [*assembly.event_handlers(parts), *assembly.job_queues(parts)]
            fleet = closing.enter_context(
                Processes(parts.engine, clock, queues, environ, directory / "logs", SCAN_EVERY)
            )
        else:
            fleet = closing.enter_context(Embedded(parts, SCAN_EVERY))
        simulated.begin(environ["REACTIVATE_PUBLIC_URL"], events_of(script, environ))
        end = script.start + timedelta(days=script.days)
        conductor = Conductor(clock, simulated, fleet, end)
        conductor.run(listener.instant)
        listener.stage("asking the witness and auditing the ledger")
        result = _judge(script, parts, simulated, imported, end)
        result["steps"] = conductor.steps
        result["seconds"] = round(time.monotonic() - started, 1)
        (directory / REPORT).write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")
        return result


def _of_what(script: Script, directory: Path) -> list[str]:
    """The simulator makes its health system and leaves its exports in `directory`, or adopts an export's patients."""
    world = (
        ("--adopt", str(script.own.folder), "--organisation", str(script.own.organisation))
        if script.own is not None
        else ("--sites", str(script.sites), "--patients", str(script.patients))
    )
    return [
        *("--world", str(directory), "--clock", str(directory / CLOCK), "--make", "--seed", str(script.seed)),
        *("--start", script.start.isoformat(), "--months", str(script.months)),
        *world,
    ]


def _judge(
    script: Script, parts: assembly.Parts, simulated: Simulated, imported: ImportResult, end: datetime
) -> dict[str, Any]:
    with reading(parts.engine, patient=True) as conn:
        result = report(conn, end, parts.rules.declared)
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
