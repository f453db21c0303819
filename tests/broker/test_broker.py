"""The broker of jobs, on RabbitMQ and inside the process: one suite over both, then what only RabbitMQ can lose."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator

import dramatiq
import pika
import pytest
from waiting import wait_until

from domain.jobs import Job
from ops.runtime.amqp import AmqpUrlError, BrokerUnavailable, connect, read_url
from ops.runtime.broker import depth, enqueue, open_broker, run_worker, working
from ops.runtime.broker_local import InProcessBroker
from ops.runtime.broker_rabbitmq import QuorumBroker, dead_letters_of

JOB = Job(actor="note", queue="notes", ids=(1, 2, 3))


_JOB = {
    "queue_name": "notes",
    "actor_name": "note",
    "args": [[7]],
    "kwargs": {},
    "options": {},
    "message_id": "1",
    "message_timestamp": 1,
}
#: What is on a queue of jobs and can never be done.
NO_JOBS = [
    b"",
    b"\x00 not json",
    b"[1]",
    b"[" * 100_000 + b"]" * 100_000,
    b"9" * 5000,
    json.dumps(_JOB).encode("utf-16"),
    json.dumps({"actor_name": "note"}).encode(),
    *(
        json.dumps(_JOB | changed).encode()
        for changed in (
            {"options": 1},
            {"options": {"eta": 2**62}},
            {"actor_name": "unknown"},
            {"actor_name": ["note"]},
            {"args": 1},
            {"args": [], "kwargs": []},
            {"message_id": None},
            {"more": "than a job has"},
        )
    ),
]


class Notes:
    """What an actor was called with; `wait` has a deadline."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self._changed = threading.Condition()

    def add(self, ids: list[int]) -> None:
        with self._changed:
            self.calls.append(ids)
            self._changed.notify_all()

    def wait(self, count: int, seconds: float = 60.0) -> list[list[int]]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.calls) >= count, seconds), f"only {len(self.calls)} calls"
            return list(self.calls)


@pytest.fixture(params=["local", "rabbitmq"])
def url(request: pytest.FixtureRequest) -> str:
    return "" if request.param == "local" else request.getfixturevalue("amqp_url")


@pytest.fixture
def broker(url: str) -> Iterator[QuorumBroker | InProcessBroker]:
    opened = open_broker(url)
    yield opened
    opened.close()


@pytest.fixture
def rabbitmq(amqp_url: str) -> Iterator[QuorumBroker]:
    opened = open_broker(amqp_url)
    assert isinstance(opened, QuorumBroker)
    yield opened
    opened.close()


def consumers_of(raw: pika.adapters.blocking_connection.BlockingChannel, queue: str) -> int:
    """How many consumers a queue has; 0 if there is none."""
    channel = raw.connection.channel()
    try:
        return channel.queue_declare(queue, passive=True).method.consumer_count
    except pika.exceptions.ChannelClosedByBroker:
        return 0


def register(broker: dramatiq.Broker, fn: Callable[[list[int]], None], queue: str = "notes") -> None:
    dramatiq.actor(fn, broker=broker, actor_name="note", queue_name=queue)


@pytest.fixture
def raw(amqp_url: str) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
    """A plain AMQP client beside ours."""
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
    yield connection.channel()
    connection.close()


def test_a_job_enqueued_where_nobody_knows_the_actor_is_done_by_a_worker_that_does(url: str) -> None:
    notes = Notes()
    worker_side = open_broker(url)
    producer_side = worker_side if isinstance(worker_side, InProcessBroker) else open_broker(url)

    enqueue(producer_side, JOB)
    register(worker_side, notes.add)
    with working(worker_side, ["notes"], threads=2):
        calls = notes.wait(1)

    assert calls == [[1, 2, 3]]
    producer_side.close()
    worker_side.close()


def test_a_worker_serves_only_the_queues_it_was_given(broker: QuorumBroker | InProcessBroker) -> None:
    notes = Notes()
    register(broker, notes.add)

    enqueue(broker, Job("note", "other", (9,)))
    with working(broker, ["notes"], threads=1):
        enqueue(broker, JOB)
        notes.wait(1)

    assert notes.calls == [[1, 2, 3]]
    assert depth(broker, "other") == 1


def test_a_failed_job_is_reported_and_not_done_again(url: str) -> None:
    failed, tried = Notes(), Notes()
    broker = open_broker(url, on_failed=lambda queue: failed.add([len(queue)]))

    def fail(ids: list[int]) -> None:
        tried.add(ids)
        raise RuntimeError("as planned")

    register(broker, fail)
    with working(broker, ["notes"], threads=1):
        enqueue(broker, JOB)
        failed.wait(1)
        if isinstance(broker, QuorumBroker):
            wait_until(lambda: broker.get_queue_message_counts("notes") == (0, 0, 1))

    assert tried.calls == [[1, 2, 3]]
    broker.close()


def test_a_worker_stops_within_seconds_of_being_asked(broker: QuorumBroker | InProcessBroker) -> None:
    notes, stop = Notes(), threading.Event()
    register(broker, notes.add)
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(run_worker(broker, ["notes"], 2, stop)))

    thread.start()
    enqueue(broker, JOB)
    notes.wait(1)
    stop.set()
    thread.join(8)

    assert not thread.is_alive()
    assert ended == [True]


def test_a_job_can_never_be_delayed(broker: QuorumBroker | InProcessBroker) -> None:
    message = dramatiq.Message(queue_name="notes", actor_name="note", args=(), kwargs={}, options={})

    with pytest.raises(ValueError, match="row of the ledger"):
        broker.enqueue(message, delay=1000)


def test_a_worker_without_queues_is_refused(broker: QuorumBroker | InProcessBroker) -> None:
    with pytest.raises(ValueError, match="at least one queue"), working(broker, [], threads=1):
        pass


def test_joining_waits_for_jobs_that_jobs_enqueue_and_raises_what_one_raised() -> None:
    broker = open_broker("")
    assert isinstance(broker, InProcessBroker)

    def step(ids: list[int]) -> None:
        if ids == [0]:
            raise LookupError("the last step")
        enqueue(broker, Job("note", "notes", (ids[0] - 1,)))

    register(broker, step)
    with working(broker, ["notes"], threads=2):
        enqueue(broker, Job("note", "notes", (5,)))
        with pytest.raises(LookupError, match="the last step"):
            broker.join_all(timeout=60)
        broker.join_all(timeout=60)


def test_joining_gives_up_at_its_deadline() -> None:
    broker = open_broker("")
    assert isinstance(broker, InProcessBroker)

    enqueue(broker, JOB)

    with pytest.raises(TimeoutError):
        broker.join_all(timeout=0.1)


def test_dead_letters_of_the_process_are_bounded() -> None:
    broker = open_broker("")
    assert isinstance(broker, InProcessBroker)

    def fail(_ids: list[int]) -> None:
        raise RuntimeError("as planned")

    register(broker, fail)
    with working(broker, ["notes"], threads=2):
        for number in range(150):
            enqueue(broker, Job("note", "notes", (number,)))
        with pytest.raises(RuntimeError):
            broker.join_all(timeout=60)

    assert len(broker.dead_letters) == 100


def test_stopping_gives_unstarted_jobs_of_the_process_back() -> None:
    broker = open_broker("")
    started, release = threading.Event(), threading.Event()
    notes = Notes()

    def slow(ids: list[int]) -> None:
        started.set()
        assert release.wait(60)
        notes.add(ids)

    register(broker, slow)
    with working(broker, ["notes"], threads=1) as worker:
        for number in range(3):
            enqueue(broker, Job("note", "notes", (number,)))
        assert started.wait(60)
        for thread in worker.workers:
            thread.stop()
        release.set()
    assert depth(broker, "notes") == 2

    with working(broker, ["notes"], threads=1):
        assert isinstance(broker, InProcessBroker)
        broker.join_all(timeout=60)

    assert sorted(notes.calls) == [[0], [1], [2]]


def test_queues_are_quorum_queues_without_delay_queues(
    rabbitmq: QuorumBroker, raw: pika.adapters.blocking_connection.BlockingChannel
) -> None:
    enqueue(rabbitmq, JOB)

    # equal arguments or the server would refuse the declaration
    declared = raw.queue_declare(
        "notes",
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            "x-delivery-limit": 20,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": dead_letters_of("notes"),
        },
    )

    assert declared.method.message_count == 1
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="NOT_FOUND"):
        raw.queue_declare("notes.DQ", passive=True)


def test_enqueueing_to_a_wiped_queue_declares_it_again(
    rabbitmq: QuorumBroker, raw: pika.adapters.blocking_connection.BlockingChannel
) -> None:
    enqueue(rabbitmq, JOB)
    raw.queue_delete("notes")

    enqueue(rabbitmq, JOB)

    assert depth(rabbitmq, "notes") == 1


@pytest.mark.parametrize("is_declared_at_once", [True, False])
def test_a_consumer_whose_queue_is_wiped_comes_back(
    rabbitmq: QuorumBroker,
    raw: pika.adapters.blocking_connection.BlockingChannel,
    monkeypatch: pytest.MonkeyPatch,
    is_declared_at_once: bool,
) -> None:
    monkeypatch.setattr("ops.runtime.amqp.SILENCE", 1.0)
    notes = Notes()
    register(rabbitmq, notes.add)

    with working(rabbitmq, ["notes"], threads=1):
        enqueue(rabbitmq, JOB)
        notes.wait(1)
        raw.queue_delete("notes")
        if not is_declared_at_once:
            wait_until(lambda: depth(rabbitmq, "notes") == 0 and consumers_of(raw, "notes") == 1)
        enqueue(rabbitmq, JOB)
        calls = notes.wait(2)

    assert len(calls) == 2


def test_an_ack_after_a_reconnect_settles_nobody_elses_message(rabbitmq: QuorumBroker) -> None:
    for number in range(2):
        enqueue(rabbitmq, Job("note", "notes", (number,)))
    before = rabbitmq.consume("notes", prefetch=1, timeout=60_000)
    old = next(before)
    assert old is not None
    before.close()
    after = rabbitmq.consume("notes", prefetch=1, timeout=60_000)
    new = next(after)
    assert new is not None

    after.ack(old)
    after.close()

    assert old.tag == new.tag  # type: ignore[attr-defined] # the trap: tags start again with every channel
    wait_until(lambda: depth(rabbitmq, "notes") == 2)


def test_an_undecodable_job_is_set_aside_and_the_next_one_done(
    rabbitmq: QuorumBroker, raw: pika.adapters.blocking_connection.BlockingChannel
) -> None:
    notes = Notes()
    register(rabbitmq, notes.add)
    rabbitmq.declare_queue("notes", ensure=True)

    for body in NO_JOBS:
        raw.basic_publish("", "notes", body)
    enqueue(rabbitmq, JOB)
    with working(rabbitmq, ["notes"], threads=1):
        notes.wait(1)
        wait_until(lambda: rabbitmq.get_queue_message_counts("notes") == (0, 0, len(NO_JOBS)))

    assert notes.calls == [[1, 2, 3]]


def test_a_dropped_publishing_connection_is_replaced(rabbitmq: QuorumBroker) -> None:
    enqueue(rabbitmq, JOB)
    rabbitmq.connection.close()

    enqueue(rabbitmq, JOB)

    assert depth(rabbitmq, "notes") == 2


def test_a_job_whose_worker_is_killed_is_done_by_the_next(amqp_url: str, rabbitmq: QuorumBroker) -> None:
    notes = Notes()
    register(rabbitmq, notes.add)
    enqueue(rabbitmq, JOB)
    script = textwrap.dedent("""
        import sys, threading, dramatiq
        from ops.runtime.broker import open_broker, run_worker
        broker = open_broker(sys.argv[1])
        def hang(ids):
            print("started", flush=True)
            threading.Event().wait()
        dramatiq.actor(hang, broker=broker, actor_name="note", queue_name="notes")
        run_worker(broker, ["notes"], 1, threading.Event())
    """)
    with subprocess.Popen([sys.executable, "-c", script, amqp_url], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.kill()

    with working(rabbitmq, ["notes"], threads=1):
        calls = notes.wait(1)

    assert calls == [[1, 2, 3]]


def test_an_unreachable_broker_says_so_at_once_and_never_tells_the_password() -> None:
    broker = open_broker("amqp://someone:secret-word@127.0.0.1:1/vhost")

    with pytest.raises(BrokerUnavailable, match=r"RabbitMQ at 127\.0\.0\.1:1 cannot be reached") as caught:
        enqueue(broker, JOB)

    assert "secret-word" not in str(caught.value)
    with pytest.raises(BrokerUnavailable, match="a moment ago"):
        enqueue(broker, JOB)
    broker.close()


@pytest.mark.parametrize("bad", ["http://127.0.0.1", "amqp:///x", "localhost:5672", "amqp://u:secret-word@h:port/v"])
def test_a_url_that_is_none_is_refused_without_repeating_it(bad: str) -> None:
    with pytest.raises(AmqpUrlError, match="amqp://USER:PASSWORD@HOST:PORT/VHOST") as caught:
        open_broker(bad)

    assert "secret-word" not in str(caught.value)


def test_a_server_that_dies_while_it_is_connected_to_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def died(_: object) -> None:
        # as pika does where the peer resets between the connect and its next look at the socket
        raise ValueError("Expected connected socket, but getpeername() failed")

    monkeypatch.setattr(pika, "BlockingConnection", died)

    with pytest.raises(BrokerUnavailable, match="cannot be reached"):
        connect(read_url("amqp://guest:guest@127.0.0.1:5672/"))
