"""The simulator's process, from the conductor's side: started, stepped, and asked what it saw."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

#: Seconds of real time for one step, and for the process to end.
_STEP, _END = 120.0, 10.0


#: The simulator's exit code for what a user can mend.
_MISTAKE = 2


class WorldProblem(Exception):  # noqa: N818 - its text is what a person reads
    """No world can be made of what was given; the message says why."""


class SimulatorGone(Exception):  # noqa: N818 - a state of the simulation
    """The simulator's process ended or refused; its log says why."""


@dataclass(frozen=True, slots=True)
class Step:
    """What patients and providers did at one instant."""

    did: int
    next_at: datetime | None
    events: int
    """CloudEvents published since the beginning."""


class Simulated:
    """A running simulator. It ends when this process does: its standard input closes."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self._arguments = list(arguments)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._control: http.client.HTTPConnection | None = None
        self.ready: Mapping[str, Any] = {}

    def __enter__(self) -> Self:
        """Start it and wait until it serves.

        Raises:
            WorldProblem: no world can be made of what it was given.
            SimulatorGone: it did not start.
        """
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "ops.simulator", *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        line = self._process.stdout.readline() if self._process.stdout is not None else b""
        if not line:
            code = self._process.wait(_END)
            self._end()
            if code == _MISTAKE:
                raise WorldProblem(self._log.read_text().strip().removeprefix("simulator: "))
            raise SimulatorGone(f"the simulator did not start; see {self._log}")
        self.ready = json.loads(line)
        self._control = http.client.HTTPConnection("127.0.0.1", int(self.ready["control"]), timeout=_STEP)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._end()

    def begin(self, public_url: str, events: Mapping[str, str]) -> None:
        """Tell it where we answer and where its record system publishes."""
        self._ask("POST", "/control/begin", {"public_url": public_url, "events": dict(events)})

    def advance(self) -> Step:
        """Let patients and providers do everything due by the shared clock."""
        answer = self._ask("POST", "/control/advance", {})
        next_at = answer["next_at"]
        return Step(answer["did"], datetime.fromisoformat(next_at) if next_at else None, answer["events"])

    def testimony(self) -> dict[str, Any]:
        """What the witness saw."""
        return self._ask("GET", "/control/witness", None)

    def state(self) -> dict[str, Any]:
        """Counts for people."""
        return self._ask("GET", "/control/state", None)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        if self._control is None:
            raise SimulatorGone("the simulator is not running")
        try:
            self._control.request(method, path, None if body is None else json.dumps(body))
            response = self._control.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise SimulatorGone(f"the simulator does not answer ({type(error).__name__}); see {self._log}") from None
        if response.status != http.client.OK:
            raise SimulatorGone(f"the simulator refused {path}: {answer.get('problem', response.status)}")
        return answer

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END)
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
