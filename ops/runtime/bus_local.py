"""The bus of embedded mode: bounded queues inside this process, the same promises while the process lives."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence

import structlog

from ops.runtime.bus_contract import BATCH, BusError, BusMessage, Handler, pause

log = structlog.get_logger(__name__)

#: Messages a queue holds before publishers wait, and seconds they wait at most.
_BOUND, _PATIENCE = 10_000, 30.0


class _Queue:
    def __init__(self, bindings: Sequence[str]) -> None:
        self.bindings = {tuple(binding.split(".")) for binding in bindings}
        self.waiting: deque[BusMessage] = deque()
        self.unfinished = 0
        self.error: Exception | None = None

    def wants(self, routing_key: str) -> bool:
        words = tuple(routing_key.split("."))
        return any(is_match(binding, words) for binding in self.bindings)


class LocalBus:
    """Consumers are threads of this process. What is unhandled when it ends was never acknowledged: its row remains."""

    def __init__(self, topology: Mapping[str, Sequence[str]] | None = None, *, bound: int = _BOUND) -> None:
        self._queues = {queue: _Queue(bindings) for queue, bindings in (topology or {}).items()}
        self._bound = bound
        self._changed = threading.Condition()

    def publish(self, messages: Sequence[BusMessage]) -> None:
        """Append to every queue that wants it; waits while one is full.

        Raises:
            BusError: a queue stayed full.
        """
        with self._changed:
            for message in messages:
                for queue in [queue for queue in self._queues.values() if queue.wants(message.routing_key)]:
                    if not self._changed.wait_for(lambda queue=queue: len(queue.waiting) < self._bound, _PATIENCE):  # type: ignore[misc] # mypy cannot infer a lambda with a default
                        raise BusError("a queue of the bus stayed full; its consumer does not keep up")
                    queue.waiting.append(message)
                    queue.unfinished += 1
                    self._changed.notify_all()

    def consume(
        self, queue: str, bindings: Sequence[str], handler: Handler, stop: threading.Event, batch: int = BATCH
    ) -> None:
        """See Bus.consume."""
        with self._changed:
            mine = self._queues.setdefault(queue, _Queue(bindings))
            mine.bindings |= _Queue(bindings).bindings
        failures = 0
        while not stop.is_set():
            messages = self._collect(mine, batch)
            if not messages:
                continue
            try:
                handler(messages)
            except Exception as error:  # noqa: BLE001 - whatever the handler could not do, the messages must come again
                failures += 1
                log.warning("bus.handler_failed", queue=queue, error=type(error).__name__, failures=failures)
                self._give_back(mine, messages, error)
                stop.wait(pause(failures))
            else:
                failures = 0
                self._settle(mine, len(messages))

    def depth(self, queue: str) -> int:
        """How many messages wait or are being handled."""
        with self._changed:
            found = self._queues.get(queue)
            return found.unfinished if found else 0

    def join(self, timeout: float = 60.0) -> None:
        """Wait until every message of a queue was handled.

        Raises:
            BusError: not done within `timeout` seconds; caused by what a handler last raised, if it did.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while busy := [queue for queue in self._queues.values() if queue.unfinished]:
                if not self._changed.wait(max(deadline - time.monotonic(), 0)) and time.monotonic() >= deadline:
                    error = next((queue.error for queue in busy if queue.error), None)
                    raise BusError("events were still unhandled at the deadline") from error

    def close(self) -> None:
        """Drop what nobody handled."""
        with self._changed:
            for queue in self._queues.values():
                queue.waiting.clear()
                queue.unfinished = 0
            self._changed.notify_all()

    def _collect(self, queue: _Queue, batch: int) -> list[BusMessage]:
        with self._changed:
            self._changed.wait_for(lambda: queue.waiting, timeout=0.2)
            messages = [queue.waiting.popleft() for _ in range(min(batch, len(queue.waiting)))]
            self._changed.notify_all()
            return messages

    def _give_back(self, queue: _Queue, messages: Sequence[BusMessage], error: Exception) -> None:
        with self._changed:
            queue.error = error
            queue.waiting.extendleft(reversed(messages))
            self._changed.notify_all()

    def _settle(self, queue: _Queue, count: int) -> None:
        with self._changed:
            queue.error = None
            queue.unfinished = max(queue.unfinished - count, 0)
            self._changed.notify_all()


def is_match(binding: tuple[str, ...], words: tuple[str, ...]) -> bool:
    """Whether a topic binding (`*` one word, `#` any number) matches a routing key, both split at dots."""
    if not binding:
        return not words
    if binding[0] == "#":
        return is_match(binding[1:], words) or (bool(words) and is_match(binding, words[1:]))
    return bool(words) and binding[0] in ("*", words[0]) and is_match(binding[1:], words[1:])
