"""The broker of jobs: quorum queues on RabbitMQ, or queues inside this process; a job is a hint, its row is the work.

A job that fails is not retried by the broker: it is dead-lettered (counted, and kept in a bounded queue for the
curious) and the sweep hands its rows out again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from dramatiq import Broker, Message, Middleware, Worker
from dramatiq.broker import MessageProxy
from dramatiq.middleware import TimeLimit

from ops.runtime.amqp import BrokerUnavailable, read_url
from ops.runtime.broker_local import InProcessBroker
from ops.runtime.broker_rabbitmq import QuorumBroker

__all__ = ["BrokerUnavailable", "JobLike", "depth", "enqueue", "open_broker", "run_worker", "working"]

#: Milliseconds an actor may run; a backstop far above any lease, so that a wedged thread comes back.
_TIME_LIMIT = 600_000
#: Milliseconds between a thread's looks at whether it should stop.
_WORKER_TIMEOUT = 200
#: Seconds a stopping worker gives its running jobs: longer than one provider call, well below a claim's lease.
_GRACE = 25.0


class JobLike(Protocol):
    """What a job must tell: its actor, its queue and the ids of its rows."""

    @property
    def actor(self) -> str: ...
    @property
    def queue(self) -> str: ...
    @property
    def ids(self) -> tuple[int, ...]: ...


def open_broker(amqp_url: str, *, on_failed: Callable[[str], None] | None = None) -> QuorumBroker | InProcessBroker:
    """The broker at `amqp_url`, or the one inside this process when the URL is empty. Opens no connection yet.

    `on_failed(queue)` is called in the worker thread for every job whose actor raised.

    Raises:
        AmqpUrlError: it is no AMQP URL.
    """
    failed = _DeadLetterFailedJobs(on_failed)
    if not amqp_url:
        return InProcessBroker(middleware=[failed])
    return QuorumBroker(read_url(amqp_url), middleware=[_TimeLimit(time_limit=_TIME_LIMIT), failed])


def enqueue(broker: Broker, job: JobLike) -> None:
    """Hand `job` to whoever serves its queue; this process need not know the actor.

    Raises:
        BrokerUnavailable: RabbitMQ did not confirm it. Safe to give up: the sweep repeats lost hints.
    """
    broker.declare_queue(job.queue)
    broker.enqueue(
        Message(queue_name=job.queue, actor_name=job.actor, args=(list(job.ids),), kwargs={}, options={}),
    )


def depth(broker: QuorumBroker | InProcessBroker, queue: str) -> int:
    """How many jobs wait on `queue`, not counting those being worked on.

    Raises:
        BrokerUnavailable: RabbitMQ cannot be asked.
    """
    return broker.depth(queue)


def run_worker(
    broker: Broker, queues: Collection[str], threads: int, stop: threading.Event, *, grace: float = _GRACE
) -> bool:
    """Serve `queues` until `stop` is set, then let running jobs end for up to `grace` seconds and close the broker.

    Returns whether every running job ended; if not, its threads are daemons and RabbitMQ delivers the job again.
    """
    with working(broker, queues, threads, grace=grace) as worker:
        stop.wait()
        if isinstance(broker, QuorumBroker):
            # a consumer that waits to reconnect must not hold the end up
            broker.closing.set()
    broker.close()
    return not any(thread.is_alive() for thread in worker.workers)


@contextmanager
def working(broker: Broker, queues: Collection[str], threads: int, *, grace: float = 10.0) -> Iterator[Worker]:
    """Serve `queues` in the background for as long as the context is open.

    Raises:
        ValueError: no queue was named (Dramatiq would take that as: every queue).
    """
    if not queues:
        raise ValueError("a worker needs at least one queue to serve")
    middleware = list(broker.middleware)
    broker.emit_after("process_boot")
    worker = Worker(broker, queues=set(queues), worker_threads=threads, worker_timeout=_WORKER_TIMEOUT)
    worker.start()
    for queue in queues:
        broker.declare_queue(queue)
    # its consumers run by now; left in place, the worker's own middleware would start more for queues declared later
    broker.middleware[:] = middleware
    try:
        yield worker
    finally:
        worker.stop(timeout=int(grace * 1000))


class _TimeLimit(TimeLimit):
    """Dramatiq's time limit, whose thread is started once however many workers a process runs in turn."""

    def after_process_boot(self, broker: Broker) -> None:
        if isinstance(self.manager, threading.Thread) and not self.manager.is_alive():
            super().after_process_boot(broker)  # type: ignore[no-untyped-call] # Dramatiq's hook has no annotations


class _DeadLetterFailedJobs(Middleware):
    """Marks a job whose actor raised as failed; without the Retries middleware Dramatiq would acknowledge it."""

    def __init__(self, on_failed: Callable[[str], None] | None) -> None:
        self._on_failed = on_failed

    def after_process_message(
        self,
        broker: Broker,  # noqa: ARG002 - the hook's signature
        message: MessageProxy,
        *,
        result: Any = None,  # noqa: ARG002 - the hook's signature
        exception: BaseException | None = None,
    ) -> None:
        if exception is None:
            return
        message.fail()
        if self._on_failed is not None:
            self._on_failed(message.queue_name)
