"""The handover: tells workers, from one thread and in batches, which rows were stored; a lost hint costs only time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

import structlog

from domain.jobs import BATCH, Job

_log = structlog.get_logger(__name__)

#: Seconds a first id waits for company; a patient does not notice, a worker's batches grow.
LINGER: Final = 0.02


class Handover:
    """Collects jobs and passes them to `jobs`, merged per actor and queue, from a thread of its own.

    A request therefore never waits for the broker, and a broken broker fails no webhook: the row is stored, and the
    sweep finds it.
    """

    def __init__(self, jobs: Callable[[Job], None], *, linger: float = LINGER) -> None:
        self._jobs = jobs
        self._linger = linger
        self._waiting: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="handover", daemon=True)

    def start(self) -> None:
        """Begin to hand over."""
        self._thread.start()

    def add(self, job: Job) -> None:
        """Hand over soon; returns at once, from any thread."""
        self._waiting.put(job)

    def close(self, timeout: float = 5.0) -> None:
        """Hand over what is left and end; at most `timeout` seconds (the sweep finds the rest)."""
        self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        is_open = True
        while is_open:
            first = self._waiting.get()
            if first is None:
                return
            batch, is_open = self._gather(first)
            for (actor, queue), ids in batch.items():
                for start in range(0, len(ids), BATCH):
                    self._hand_over(Job(actor=actor, queue=queue, ids=tuple(ids[start : start + BATCH])))

    def _gather(self, first: Job) -> tuple[dict[tuple[str, str], list[int]], bool]:
        batch: dict[tuple[str, str], list[int]] = {(first.actor, first.queue): list(first.ids)}
        deadline = time.monotonic() + self._linger
        while all(len(ids) < BATCH for ids in batch.values()):
            try:
                job = self._waiting.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                break
            if job is None:
                return batch, False
            batch.setdefault((job.actor, job.queue), []).extend(job.ids)
        return batch, True

    def _hand_over(self, job: Job) -> None:
        try:
            self._jobs(job)
        except Exception as error:  # noqa: BLE001 - whatever ails the broker, the rows are stored and the sweep repeats
            _log.warning("handover_failed", queue=job.queue, count=len(job.ids), error=type(error).__name__)
