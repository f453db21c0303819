"""The assembly: the one place where settings become engines, brokers, channels and workers that know each other."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Engine, inspect, select

from channels.kit.contract import Channel
from domain import jobs
from domain.events.topology import TOPOLOGY
from domain.jobs import Job
from domain.ledger import keyring
from domain.ledger.organisations import organisation
from domain.ledger.store import open_ledger, reading
from domain.ledger.vault import Vault
from domain.rules.rulebook import Rulebook
from ops.channel_settings import configured_providers, first_of_each, means_opted_out
from ops.runtime.breakers import Breakers, LocalStore
from ops.runtime.breakers_redis import RedisStore
from ops.runtime.broker import enqueue, open_broker
from ops.runtime.broker_local import InProcessBroker
from ops.runtime.broker_rabbitmq import QuorumBroker
from ops.runtime.bus import AmqpBus, LocalBus, open_bus
from ops.runtime.clock import Clock, SharedClock, SystemClock, open_clock
from ops.runtime.loop import LoopThread
from ops.runtime.pacing import Pacer
from ops.runtime.pacing_local import LocalPacer
from ops.runtime.pacing_redis import RedisPacer
from ops.runtime.settings import Settings, SettingsError
from producers import relay
from producers.clock import Rounds
from producers.dispatch import Dispatcher
from producers.rule_files import read_rules
from producers.scan import scan
from producers.sweep import Sweep
from workers import asking, receipts, replies, send
from workers.asking import AskWorker
from workers.enrol import Enrol
from workers.intake import Intake
from workers.providers import Providers
from workers.rendering import Renderer
from workers.send import SendWorker

log = structlog.get_logger(__name__)

#: How often the inactivity scan runs on the system clock; a simulation may make it coarser.
SCAN_EVERY = timedelta(minutes=15)


@dataclass(frozen=True)
class Parts:
    """What every process is made of."""

    settings: Settings
    engine: Engine
    vault: Vault
    clock: Clock
    broker: QuorumBroker | InProcessBroker
    bus: AmqpBus | LocalBus
    channels: Mapping[str, tuple[Channel, Any]]
    """Every channel that is configured, by name, with the first of its providers."""
    providers: Mapping[str, tuple[Channel, Any]]
    """Every provider that is configured, by its own name."""
    rules: Rulebook
    """What is in force, for every organisation."""

    @property
    def systems(self) -> dict[str, str]:
        """Channel -> the contact system it reaches."""
        return {name: channel.contact_system for name, (channel, _) in self.channels.items()}

    def providers_of(self, channel: str) -> dict[str, tuple[Channel, Any]]:
        """The providers of one channel, by their names."""
        return {name: found for name, found in self.providers.items() if found[0].name == channel}

    def enqueue(self, job: Job) -> None:
        """Hand a job to whoever serves its queue. Raises BrokerUnavailable."""
        enqueue(self.broker, job)


@contextmanager
def assemble(settings: Settings) -> Iterator[Parts]:
    """The parts, closed again at the end. Opens no connection by itself.

    Raises:
        SettingsError, ChannelSettingsError: which variable is wrong and what it should be.
        FileProblems: the tables of rules, or the organisations' own files, are not right.
    """
    spare_the_collector()
    with ExitStack() as closing:
        # a simulation that a power cut ends is told anew: it need not wait for the disk at every commit
        engine = open_ledger(settings.database_url, durable=settings.clock == "system")
        closing.callback(engine.dispose)
        broker = open_broker(settings.amqp_url)
        closing.callback(broker.close)
        bus = open_bus(settings.amqp_url, TOPOLOGY)
        closing.callback(bus.close)
        clock = _clock(settings)
        if isinstance(clock, SharedClock):
            closing.callback(clock.close)
        configured = configured_providers(settings)
        yield Parts(
            settings=settings,
            engine=engine,
            vault=Vault(settings.vault_keys, settings.vault_current, settings.index_key),
            clock=clock,
            broker=broker,
            bus=bus,
            channels=first_of_each(configured),
            providers=configured,
            rules=read_rules(settings.rules),
        )


def log_loosened(rules: Rulebook) -> None:
    """Say in the log of every process which rules are laxer than the law, and whose file acknowledges it.

    `reactivate rules` tells the rest: by whom, when and why.
    """
    for key, row in rules.loosened():
        log.warning("rule_laxer_than_law", rule=row.id, organisation=key or "every other")


def log_unknown_organisations(engine: Engine, rules: Rulebook) -> None:
    """Say in the log which rules are for organisations that are not in the ledger: their key may be misspelt.

    Raises:
        DBAPIError: the ledger is away.
    """
    with reading(engine) as conn:
        known = set(conn.scalars(select(organisation.c.key))) if inspect(conn).has_table("organisation") else set()
    for key in sorted(set(rules.organisations) - known):
        log.warning("rules_of_unknown_organisation", organisation=key)


def check_keys(engine: Engine, vault: Vault) -> None:
    """Whether the keys are those the ledger was filled with; one row tells.

    Raises:
        SettingsError: they are others: patients would be imported a second time, and nobody could be reached.
        DBAPIError: the ledger is away.
    """
    with reading(engine) as conn:
        if inspect(conn).has_table("contact_point") and not keyring.fits(conn, vault):
            raise SettingsError(
                "REACTIVATE_VAULT_KEYS and REACTIVATE_INDEX_KEY: not the keys this ledger was filled with; set those "
                "(embedded mode keeps them in keys.env in its home). Nothing was changed"
            )


def spare_the_collector() -> None:
    """Collect garbage less often: batches make many short-lived objects, and what is imported by now stays anyway."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def event_handlers(parts: Parts) -> dict[str, Callable[[Any], None]]:
    """The consumers of the topic exchange, by queue."""
    return {
        jobs.INTAKE: intake(parts).take,
        jobs.ENROL: Enrol(parts.engine, parts.clock, parts.systems, parts.rules).take,
    }


def intake(parts: Parts) -> Intake:
    """Takes events in, wherever they come from."""
    return Intake(
        parts.engine,
        parts.vault,
        parts.clock,
        on_replies=lambda ids: parts.enqueue(jobs.read_replies(ids)),
        on_receipts=lambda ids: parts.enqueue(jobs.apply_receipts(ids)),
    )


def job_queues(parts: Parts) -> list[str]:
    """Every Dramatiq queue of this fleet."""
    of_channels = [queue for name in parts.channels for queue in channel_queues(name)]
    return [*of_channels, jobs.RECEIPTS, jobs.REPLIES, jobs.ASKING]


def channel_queues(name: str) -> tuple[str, str]:
    """A channel's two queues: outreach, and answers."""
    return jobs.send_touches(name, ()).queue, jobs.send_answers(name, ()).queue


@contextmanager
def actors(parts: Parts, queues: list[str], stopping: threading.Event | None = None) -> Iterator[None]:
    """Register the actors that serve `queues`; provider connections are closed at the end.

    Once `stopping` is set, batches under way begin no further provider calls and give back what they have not sent.
    """
    with ExitStack() as closing:
        for name, (channel, _) in parts.channels.items():
            if set(channel_queues(name)) & set(queues):
                send.register(parts.broker, _send_worker(parts, channel, closing, stopping), name)
        if jobs.RECEIPTS in queues:
            receipts.register(parts.broker, parts.engine, parts.clock)
        if jobs.REPLIES in queues:
            replies.register(parts.broker, parts.engine, parts.vault, parts.clock, parts.enqueue)
        if jobs.ASKING in queues:
            asking.register(parts.broker, _ask_worker(parts, closing))
        yield


def rounds(parts: Parts, scan_every: timedelta = SCAN_EVERY) -> Rounds:
    """The clock's rounds."""
    return Rounds(
        engine=parts.engine,
        dispatcher=Dispatcher(
            parts.engine,
            parts.channels,
            parts.enqueue,
            {name: list(parts.providers_of(name).values()) for name in parts.channels},
        ),
        sweep=Sweep(
            parts.engine, parts.systems, parts.rules, parts.enqueue, means_opted_out, asking.askable(parts.providers)
        ),
        scan=partial(scan, parts.engine),
        relay=partial(relay.relay, parts.engine, parts.bus),
        scan_every=scan_every,
    )


def open_pacer(settings: Settings) -> Pacer:
    """Redis where there is a URL, else limits inside this process.

    Raises:
        SettingsError: a fleet without Redis: every worker would take the whole limit for itself.
    """
    if settings.redis_url:
        return RedisPacer(settings.redis_url, settings.redis_prefix)
    if not settings.is_embedded:
        raise SettingsError("REACTIVATE_REDIS_URL: a fleet needs Redis for pacing: redis://HOST:PORT/DB")
    return LocalPacer()


def open_providers(parts: Parts, channel: str) -> Providers:
    """A channel's providers behind their breakers, which are shared where there is a Redis."""
    return Providers(parts.providers_of(channel), open_breakers(parts, channel))


def open_breakers(parts: Parts, channel: str) -> Breakers:
    """The breakers of a channel's providers."""
    settings = parts.settings
    store = RedisStore(settings.redis_url, settings.redis_prefix) if settings.redis_url else LocalStore()
    by_clock = not isinstance(parts.clock, SystemClock)
    return Breakers(channel, list(parts.providers_of(channel)), store, by_clock=by_clock)


def open_renderer(parts: Parts) -> Renderer:
    """What opens the address of a claimed touch, and fills in its words."""
    return Renderer(parts.engine, parts.vault, parts.settings.public_url, parts.settings.index_key)


def _send_worker(parts: Parts, channel: Channel, closing: ExitStack, stopping: threading.Event | None) -> SendWorker:
    loop = LoopThread()
    closing.callback(loop.close)
    pacer = open_pacer(parts.settings)
    closing.callback(pacer.close)
    worker = SendWorker(
        engine=parts.engine,
        vault=parts.vault,
        clock=parts.clock,
        channel=channel,
        providers=open_providers(parts, channel.name),
        systems=parts.systems,
        rules=parts.rules,
        pacer=pacer,
        renderer=open_renderer(parts),
        loop=loop,
        pace_by_clock=not isinstance(parts.clock, SystemClock),
        stopping=stopping,
        tries=parts.settings.tries,
    )
    closing.callback(worker.close)
    return worker


def _ask_worker(parts: Parts, closing: ExitStack) -> AskWorker:
    loop = LoopThread("questions")
    closing.callback(loop.close)
    worker = AskWorker(
        engine=parts.engine,
        vault=parts.vault,
        clock=parts.clock,
        providers=parts.providers,
        link_key=parts.settings.index_key,
        loop=loop,
    )
    closing.callback(worker.close)
    return worker


def _clock(settings: Settings) -> Clock:
    try:
        return open_clock(settings.clock)
    except (ValueError, OSError) as error:
        raise SettingsError(f"REACTIVATE_CLOCK: {error}") from None
