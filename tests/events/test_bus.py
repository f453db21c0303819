"""The bus of events: one suite over RabbitMQ and the process, then what only RabbitMQ can lose."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from ops.runtime.bus import EXCHANGE, AmqpBus, Bus, BusError, BusMessage, Handler, LocalBus, open_bus
from ops.runtime.bus_local import is_match

TOPOLOGY = {"everything": ("#",), "appointments": ("appointment.*",)}


class Heard:
    """Batches a handler was given; `wait` has a deadline."""

    def __init__(self) -> None:
        self.batches: list[list[BusMessage]] = []
        self._changed = threading.Condition()

    def __call__(self, messages: Sequence[BusMessage]) -> None:
        with self._changed:
            self.batches.append(list(messages))
            self._changed.notify_all()

    @property
    def messages(self) -> list[BusMessage]:
        return [message for batch in self.batches for message in batch]

    def wait(self, count: int, seconds: float = 60.0) -> list[BusMessage]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.messages) >= count, seconds), f"only {len(self.messages)}"
            return self.messages


@contextmanager
def consuming(bus: Bus, queue: str, handler: Handler, batch: int = 500) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=bus.consume, args=(queue, TOPOLOGY[queue], handler, stop, batch))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture(params=["local", "rabbitmq"])
def bus(request: pytest.FixtureRequest) -> Iterator[AmqpBus | LocalBus]:
    opened = open_bus("" if request.param == "local" else request.getfixturevalue("amqp_url"), TOPOLOGY)
    yield opened
    opened.close()


@pytest.fixture
def rabbitmq(amqp_url: str) -> Iterator[AmqpBus]:
    opened = AmqpBus(amqp_url, TOPOLOGY)
    yield opened
    opened.close()


@pytest.fixture
def raw(amqp_url: str) -> Iterator[BlockingChannel]:
    """A plain AMQP client, as another service would use."""
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
    yield connection.channel()
    connection.close()


def message(number: int, routing_key: str = "appointment.booked") -> BusMessage:
    return BusMessage(routing_key, f"{number}".encode(), "text/plain", {"number": number})


def test_messages_come_whole_and_in_order_to_every_queue_that_wants_them(bus: AmqpBus | LocalBus) -> None:
    everything, appointments = Heard(), Heard()
    sent = [message(1), message(2, "patient.merged"), message(3)]

    with consuming(bus, "everything", everything), consuming(bus, "appointments", appointments):
        bus.publish(sent)
        everything.wait(3)
        appointments.wait(2)

    assert everything.messages == sent
    assert appointments.messages == [sent[0], sent[2]]


def test_what_is_published_before_its_consumer_ever_ran_waits_for_it(bus: AmqpBus | LocalBus) -> None:
    heard = Heard()

    bus.publish([message(1)])
    assert bus.depth("appointments") == 1
    with consuming(bus, "appointments", heard):
        heard.wait(1)

    assert heard.messages == [message(1)]


def test_a_batch_is_bounded(bus: AmqpBus | LocalBus) -> None:
    heard = Heard()

    bus.publish([message(number) for number in range(25)])
    with consuming(bus, "everything", heard, batch=10):
        heard.wait(25)

    assert max(len(batch) for batch in heard.batches) == 10
    assert [int(each.body) for each in heard.messages] == list(range(25))


def test_a_batch_that_failed_comes_again_until_it_is_handled(bus: AmqpBus | LocalBus) -> None:
    heard, failures = Heard(), iter([RuntimeError("as planned"), RuntimeError("again")])

    def handler(messages: Sequence[BusMessage]) -> None:
        for failure in failures:
            raise failure
        heard(messages)

    bus.publish([message(1), message(2)])
    with consuming(bus, "everything", handler):
        heard.wait(2)

    assert sorted(int(each.body) for each in heard.messages) == [1, 2]


def test_joining_the_process_bus_waits_and_says_what_stands_in_the_way() -> None:
    bus = LocalBus(TOPOLOGY)
    tries: list[int] = []
    is_tried_again = threading.Event()

    def handler(messages: Sequence[BusMessage]) -> None:
        tries.append(len(messages))
        if len(tries) > 1:
            is_tried_again.set()
        raise LookupError("as planned")

    with consuming(bus, "everything", Heard()):
        bus.publish([message(1, "patient.merged")])
        bus.join(60)
    with consuming(bus, "everything", handler):
        bus.publish([message(1, "patient.merged")])
        # the second try shows that the first one's error was noted
        assert is_tried_again.wait(60)
        with pytest.raises(BusError) as caught:
            bus.join(0.1)

    assert isinstance(caught.value.__cause__, LookupError)


def test_a_full_queue_of_the_process_makes_publishers_wait_and_then_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.runtime.bus_local._PATIENCE", 0.05)
    bus = LocalBus({"everything": ("#",)}, bound=2)

    bus.publish([message(1), message(2)])

    with pytest.raises(BusError, match="stayed full"):
        bus.publish([message(3)])


@pytest.mark.parametrize(
    ("binding", "key", "expected"),
    [
        ("#", "a.b", True),
        ("#", "", True),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("a.#", "a", True),
        ("a.#.c", "a.b.b.c", True),
        ("a.#.c", "a.b.b", False),
        ("*.b", "a.b", True),
        ("a", "b", False),
    ],
)
def test_topics_match_as_rabbitmq_matches_them(binding: str, key: str, expected: bool) -> None:
    assert is_match(tuple(binding.split(".")), tuple(key.split("."))) is expected


def test_a_consumer_whose_queue_is_wiped_comes_back(
    rabbitmq: AmqpBus, raw: BlockingChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.runtime.amqp.SILENCE", 0.5)
    heard, again = Heard(), threading.Event()

    with consuming(rabbitmq, "everything", heard):
        rabbitmq.publish([message(1)])
        heard.wait(1)
        raw.queue_delete("everything")
        for number in range(2, 1200):
            # until the consumer has declared its queue again, a topic exchange drops what nobody wants
            rabbitmq.publish([message(number)])
            if len(heard.messages) > 1 or again.wait(0.05):
                break
        came = heard.wait(2)

    assert [each.body for each in came[:1]] == [message(1).body]
    assert came[1].body != message(1).body


def test_messages_of_a_killed_consumer_are_delivered_to_the_next(amqp_url: str, rabbitmq: AmqpBus) -> None:
    script = textwrap.dedent("""
        import sys, threading
        from ops.runtime.bus import AmqpBus
        def hang(messages):
            print(len(messages), flush=True)
            threading.Event().wait()
        AmqpBus(sys.argv[1]).consume("everything", ["#"], hang, threading.Event())
    """)
    heard = Heard()
    rabbitmq.publish([message(1), message(2)])
    with subprocess.Popen([sys.executable, "-c", script, amqp_url], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) > 0
        process.kill()

    with consuming(rabbitmq, "everything", heard):
        heard.wait(2)

    assert [int(each.body) for each in heard.messages] == [1, 2]


def test_a_dropped_publishing_connection_is_replaced(rabbitmq: AmqpBus) -> None:
    rabbitmq.publish([message(1)])
    assert rabbitmq._connection is not None
    rabbitmq._connection.close()

    rabbitmq.publish([message(2)])

    assert rabbitmq.depth("everything") == 2


def test_all_messages_are_sent_before_the_first_confirm_is_waited_for(
    rabbitmq: AmqpBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    rabbitmq.publish([message(0)])
    assert rabbitmq._connection is not None
    assert rabbitmq._channel is not None
    channel, wait = rabbitmq._channel, rabbitmq._connection.process_data_events
    sent_when_waiting: list[int] = []

    def waiting(time_limit: float = 0) -> None:
        sent_when_waiting.append(channel._sent)
        wait(time_limit=time_limit)

    monkeypatch.setattr(rabbitmq._connection, "process_data_events", waiting)
    rabbitmq.publish([message(number) for number in range(1, 101)])

    # confirms that come while the last is sent need not be waited for
    assert set(sent_when_waiting) <= {101}
    assert channel.confirmed == 101
    assert rabbitmq.depth("everything") == 101


def test_one_refused_message_among_many_fails_them_all(rabbitmq: AmqpBus, raw: BlockingChannel) -> None:
    raw.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
    raw.queue_declare("small", arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    raw.queue_bind("small", EXCHANGE, "appointment.#")

    with pytest.raises(BusError, match="did not confirm"):
        rabbitmq.publish([message(number) for number in range(5)])

    raw.queue_delete("small")
    rabbitmq.publish([message(5)])


def test_after_a_lost_connection_only_what_was_not_confirmed_goes_out_again(
    rabbitmq: AmqpBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    rabbitmq.publish([message(0), message(1)])
    assert rabbitmq._channel is not None
    channel, send, connection = rabbitmq._channel, rabbitmq._channel.publish, rabbitmq._connection

    def publish(exchange: str, routing_key: str, body: bytes, properties: pika.BasicProperties) -> None:
        if channel._sent == 4:
            channel.confirm()
            assert connection is not None
            connection.close()
        send(exchange, routing_key, body, properties)

    monkeypatch.setattr(channel, "publish", publish)
    rabbitmq.publish([message(number) for number in range(2, 7)])

    assert rabbitmq.depth("everything") == 7


def test_a_bus_that_cannot_be_reached_confirms_nothing() -> None:
    bus = AmqpBus("amqp://someone:secret-word@127.0.0.1:1/v")

    with pytest.raises(BusError, match="cannot be reached") as caught:
        bus.publish([message(1)])

    assert "secret-word" not in str(caught.value)
    bus.close()


def test_any_client_can_publish_after_declaring_the_exchange_plainly(rabbitmq: AmqpBus, raw: BlockingChannel) -> None:
    heard = Heard()
    rabbitmq.publish([])
    raw.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)

    with consuming(rabbitmq, "appointments", heard):
        rabbitmq.publish([message(1)])
        heard.wait(1)
        raw.basic_publish(EXCHANGE, "appointment.noshow", b"\x00\xff", pika.BasicProperties(headers={"a": True}))
        heard.wait(2)

    assert heard.messages[1] == BusMessage("appointment.noshow", b"\x00\xff", "", {"a": True})
