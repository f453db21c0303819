"""The broker of embedded mode: the same actors and workers, with queues inside this process and bounded memory."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from queue import Empty, Queue
from typing import Any

from dramatiq import Message
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import Middleware

#: Failed jobs kept per queue for a look; their rows are handed out again by the sweep.
_KEPT_FAILURES = 100


class InProcessBroker(StubBroker):
    """Dramatiq's stub broker without delay queues, without unbounded dead letters, and with a join over all queues."""

    def __init__(self, middleware: list[Middleware]) -> None:
        super().__init__(middleware)
        self.dead_letters_by_queue: Any = defaultdict(lambda: deque[MessageProxy](maxlen=_KEPT_FAILURES))
        self._declaring = threading.Lock()
        self._failures: deque[BaseException] = deque(maxlen=_KEPT_FAILURES)

    def declare_queue(self, queue_name: str) -> None:
        """Make the queue if it is not there; no delay queue beside it, waiting is a row of the ledger."""
        with self._declaring:
            if queue_name in self.queues:
                return
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = Queue()
            self.emit_after("declare_queue", queue_name)

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Append the message to its queue.

        Raises:
            ValueError: a delay was asked for.
        """
        if delay is not None:
            raise ValueError("waiting is a row of the ledger, not a message")
        return super().enqueue(message)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 100) -> Consumer:
        """A consumer of the queue, with at most `prefetch` unsettled messages; `timeout` in milliseconds."""
        self.declare_queue(queue_name)
        return _LocalConsumer(self, queue_name, prefetch, timeout)

    def depth(self, queue_name: str) -> int:
        """How many jobs wait on the queue."""
        queue = self.queues.get(queue_name)
        return queue.qsize() if queue is not None else 0

    def join_all(self, timeout: float = 60.0) -> None:
        """Wait until every queue is empty and every job done, then raise what the first failed job raised, if any.

        Raises:
            TimeoutError: not done within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while busy := [queue for queue in list(self.queues.values()) if queue.unfinished_tasks]:
            for queue in busy:
                self._join(queue, deadline)
        if self._failures:
            first = self._failures[0]
            self._failures.clear()
            raise first

    @staticmethod
    def _join(queue: Queue[bytes], deadline: float) -> None:
        with queue.all_tasks_done:
            while queue.unfinished_tasks:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError("jobs were still running at the deadline")
                queue.all_tasks_done.wait(left)

    def note_failure(self, message: MessageProxy) -> None:
        """Keep a failed job for a look, and its error for the next join."""
        self.dead_letters_by_queue[message.queue_name].append(message)
        error = getattr(message, "_exception", None)
        self._failures.append(error if error is not None else RuntimeError("a job failed with an unknown error"))


class _LocalMessage(MessageProxy):
    def clear_exception(self) -> None:
        """Keep the exception: `join_all` raises it."""


class _LocalConsumer(Consumer):
    def __init__(self, broker: InProcessBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        self._broker = broker
        self._queue: Queue[bytes] = broker.queues[queue_name]
        self._slots = threading.Semaphore(prefetch)
        self._timeout = timeout / 1000

    def __next__(self) -> MessageProxy | None:
        if not self._slots.acquire(timeout=self._timeout):
            return None
        try:
            return _LocalMessage(Message.decode(self._queue.get(timeout=self._timeout)))
        except Empty:
            self._slots.release()
            return None

    def ack(self, message: MessageProxy) -> None:  # noqa: ARG002 - the hook's signature
        self._slots.release()
        self._queue.task_done()

    def nack(self, message: MessageProxy) -> None:
        # noted before it is settled, so that whoever joins sees it
        self._broker.note_failure(message)
        self._slots.release()
        self._queue.task_done()

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        # put before done: the queue must never look empty in between
        for message in messages:
            self._queue.put(message.encode())
            self._slots.release()
            self._queue.task_done()
