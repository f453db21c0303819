"""The catalogue of faults: what each does to the running fleet, how often, and how it is taken back."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import redis
from sqlalchemy import create_engine, text

from tests.faults.fleet import COMMANDS, SERVERS, Fleet
from tests.faults.points import PLACES, Act
from tests.faults.proxy import Proxy, Trigger, Way, anything, commits, mails, posts, publishes

#: Longer than a claim's lease, in real seconds.
LONGER_THAN_A_LEASE = 63.0
_SENDERS = ("sms", "sms.answers", "email", "email.answers")
#: Whose code a place is in -> which processes run it.
_RUN_BY: dict[str, tuple[str, ...]] = {
    "workers.send": _SENDERS,
    "workers.turns": _SENDERS,
    "workers.intake": ("intake", "web"),
    "workers.enrol": ("enrol",),
    "workers.receipts": ("receipts",),
    "workers.replies": ("replies",),
    "producers.webhooks": ("web",),
    "producers": ("clock", "clock-2"),
    "sms": ("sms", "sms.answers"),
    "email": ("email", "email.answers"),
    "ops.runtime.bus_amqp": ("intake", "enrol"),
    "ops.runtime.consumer_rabbitmq": (*_SENDERS, "receipts", "replies"),
}


@dataclass
class Scene:
    """What a fault works with."""

    fleet: Fleet
    dice: random.Random
    undo: list[Callable[[], None]] = field(default_factory=list)
    """What ends the faults that last."""
    waiting: list[threading.Thread] = field(default_factory=list)

    def proxy(self, *names: str) -> Proxy:
        """One of the proxies whose names begin with these."""
        proxies = self.fleet.outside.proxies
        return proxies[self.dice.choice(sorted(each for each in proxies if each.startswith(names)))]

    def on_loop(self, work: Callable[[], None]) -> None:
        """Proxies belong to the loop of the outside."""
        self.fleet.outside.on_loop(work)

    def end(self) -> None:
        """Take everything back."""
        while self.undo:
            self.undo.pop()()
        for proxy in self.fleet.outside.proxies.values():
            self.on_loop(proxy.mend)


#: Injects once, and says how many connections or processes it met.
Inject = Callable[[Scene], int]


@dataclass(frozen=True)
class Fault:
    """A kind of fault. `every`: seconds between two injections; `share`: its part of a campaign's injections."""

    name: str
    what: str
    inject: Inject
    every: float = 0.8
    share: float = 1.0
    is_short: bool = False
    """Whether the short campaign of `make test` has it."""


def _through(*names: str) -> Callable[[Callable[[Proxy], None], str, float], Inject]:
    def make(act: Callable[[Proxy], None], fired: str, lasts: float) -> Inject:
        def inject(scene: Scene) -> int:
            proxy = scene.proxy(*names)
            before = proxy.fired[fired]
            scene.on_loop(lambda: act(proxy))
            if lasts:
                # it lasts: counted whoever meets it
                time.sleep(lasts)
                scene.on_loop(proxy.mend)
                return 1
            return _within(2.0, lambda: proxy.fired[fired] > before)

        return inject

    return make


def _within(seconds: float, is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if is_so():
            return True
        time.sleep(0.01)
    return False


def _delay(proxy: Proxy) -> None:
    proxy.delay = 0.25


def _mute(proxy: Proxy) -> None:
    proxy.mute = True


def _cut(proxy: Proxy) -> None:
    size = random.Random(proxy.port).choice((1, 7, 40, 200, 900))  # noqa: S311 - no secret
    proxy.cut_after(size, Way.UP if size % 2 else Way.DOWN)


def _lose(trigger: Trigger) -> Callable[[Proxy], None]:
    return lambda proxy: proxy.lose_answer(trigger)


def _kill(*names: str) -> Inject:
    def inject(scene: Scene) -> int:
        scene.fleet.kill(scene.dice.choice(names))
        return 1

    return inject


def _at_a_point(kind: str, act: Act = Act.KILL) -> Inject:
    """Processes die at points of this kind, or stand still there for two seconds; three are told at once."""

    def inject(scene: Scene) -> int:
        board, slots, dice = scene.fleet.board, scene.fleet.slots, scene.dice
        armed = set()
        for _ in range(3):
            (_, place), name = dice.choice(sorted(each for each in PLACES.items() if each[0][0] == kind))
            process = dice.choice(runners(place))
            if process in armed:
                continue
            board.arm(slots[process], f"{name}.{dice.choice(('before', 'after'))}", dice.randint(1, 2), act)
            armed.add(process)
        _within(1.0, lambda: any(board.has_fired(slots[each]) for each in armed))
        if act is Act.STOP:
            time.sleep(2.0)
        return sum(scene.fleet.let_go(each) for each in armed)

    return inject


def _at_a_flush(scene: Scene) -> int:
    """The web process dies at a flush of the spool, which it needs only while the ledger is away from it."""
    fleet, slot = scene.fleet, scene.fleet.slots["web"]
    name = scene.dice.choice(sorted(name for (kind, _), name in PLACES.items() if kind == "flush"))
    fleet.board.arm(slot, f"{name}.{scene.dice.choice(('before', 'after'))}")
    _web_alone(scene)
    return int(fleet.let_go("web"))


def runners(place: str) -> tuple[str, ...]:
    """The processes that run the code of a place."""
    return next(names for prefix, names in _RUN_BY.items() if place.startswith(prefix))


def _stop_longer_than_a_lease(scene: Scene) -> int:
    """Several at once: a minute is long."""
    names = scene.dice.sample(sorted(COMMANDS), 4)
    for name in names:
        scene.fleet.kill(name, signal.SIGSTOP)
    time.sleep(LONGER_THAN_A_LEASE)
    for name in names:
        scene.fleet.kill(name, signal.SIGCONT)
    return len(names)


def _server(name: str, *, kill: bool) -> Inject:
    def inject(scene: Scene) -> int:
        server = scene.fleet.services.server(name)
        (server.kill if kill else server.stop)()
        time.sleep(scene.dice.uniform(0.2, 2.0))
        server.start()
        server.wait()
        return 1

    return inject


def _wipe_rabbitmq(scene: Scene) -> int:
    scene.fleet.services.drop_vhost("faults")
    scene.fleet.services.amqp_url("faults")
    return 1


def _wipe_redis(scene: Scene) -> int:
    with redis.Redis.from_url(scene.fleet.services.redis_url) as client:
        client.flushall()
    return 1


def _second_leader(scene: Scene) -> int:
    """The leader's session ends without its knowing: the one that stands by takes over while it may still act."""
    engine = create_engine(scene.fleet.ledger_url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as conn:
            holders = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            return bool(conn.execute(text(holders)).all())
    finally:
        engine.dispose()


def _clocks_apart(scene: Scene) -> int:
    """Some processes go by a clock that is minutes off, either way."""
    fleet = scene.fleet
    fleet.times.error = timedelta(minutes=scene.dice.choice((-3, -1, 1, 3)))
    names = scene.dice.sample(sorted(COMMANDS), 3)
    fleet.skewed = set(names)
    for name in names:
        fleet.kill(name)

    def right() -> None:
        for name in fleet.skewed:
            fleet.kill(name)
        fleet.skewed = set()

    if not scene.undo:
        scene.undo.append(right)
    return 1


def _log_disk_full(scene: Scene) -> int:
    fleet = scene.fleet
    fleet.log_full = True
    fleet.kill(scene.dice.choice(sorted(COMMANDS)))

    def clear() -> None:
        fleet.log_full = False

    if not scene.undo:
        scene.undo.append(clear)
    return 1


def _restart_in_order(scene: Scene) -> int:
    """A rolling restart's step: the process ends by itself within seconds and says that all went well."""
    fleet = scene.fleet
    name = scene.dice.choice(sorted(COMMANDS))
    pid, began = fleet.kill(name, signal.SIGTERM), time.monotonic()
    code: list[int | None] = [None]

    def has_ended() -> bool:
        code[0] = fleet.code_of(pid)
        return code[0] is not None

    if not _within(30.0, has_ended) or code[0] != 0:
        fleet.by_itself.append((f"{name} after SIGTERM, {time.monotonic() - began:.0f} s", code[0] or 0))
    return 1


def _web_alone(scene: Scene) -> int:
    """What comes in waits in the spool."""
    proxies = [scene.fleet.outside.proxies[f"{server}.web"] for server in ("postgres", "rabbitmq")]

    def cut() -> None:
        for proxy in proxies:
            proxy.refuses = True
            proxy.reset()

    def mend() -> None:
        for proxy in proxies:
            proxy.mend()

    scene.on_loop(cut)
    time.sleep(3.0)
    scene.on_loop(mend)
    return 1


_SERVER_PROXIES = tuple(f"{server}." for server in SERVERS)
_ANY = (*_SERVER_PROXIES, "sms", "smtp", "web")


def _faults() -> Iterator[Fault]:
    anywhere, provider = _through(*_ANY), _through("sms", "smtp")
    yield Fault("net-delay", "every connection to one server is slow", anywhere(_delay, "", 0.8), share=0.8)
    yield Fault("net-black-hole", "a server takes bytes and passes nothing on", anywhere(Proxy.silence, "", 2.0), 0.5)
    yield Fault(
        "net-reset", "every connection to one server is reset", anywhere(Proxy.reset, "reset", 0), is_short=True
    )
    yield Fault("net-half-close", "a server says goodbye and listens on", anywhere(Proxy.half_close, "half_close", 0))
    yield Fault("net-cut", "a connection breaks after so many bytes", anywhere(_cut, "cut", 0), is_short=True)
    for name, what, proxies, trigger in (
        ("sms-answer-lost", "a text is accepted, its answer lost", "sms", posts),
        ("smtp-answer-lost", "a mail is accepted, its answer lost", "smtp", mails),
        ("confirm-lost", "a publish is taken, its confirm lost", "rabbitmq.", publishes),
        ("commit-answer-lost", "a commit is done, its answer lost", ("postgres.workers", "postgres.web"), commits),
        ("pacing-answer-lost", "Redis counts, its answer lost", "redis.", anything),
        ("webhook-answer-lost", "a webhook is taken, its answer lost", "web", posts),
    ):
        inject = _through(*((proxies,) if isinstance(proxies, str) else proxies))(_lose(trigger), "lose_answer", 0)
        yield Fault(name, what, inject, is_short=name in ("sms-answer-lost", "commit-answer-lost", "confirm-lost"))
    yield Fault("provider-times-out", "a provider accepts and says nothing", provider(_mute, "mute", 3.5), share=0.5)
    for kind, what in (
        ("commit", "killed before or after a commit"),
        ("publish", "killed before or after a publish"),
        ("ack", "killed before or after an acknowledgement"),
        ("call", "killed before or after a provider's call"),
        ("pace", "killed before or after pacing"),
    ):
        yield Fault(
            f"crash-{kind}",
            what,
            _at_a_point(kind),
            share=2.0 if kind in ("commit", "call") else 1.0,
            is_short=kind in ("commit", "call"),
        )
    yield Fault("crash-flush", "killed before or after a flush of the spool", _at_a_flush, every=4.0, share=0.4)
    yield Fault("web-alone", "ledger and broker are away from the web process", _web_alone, every=4.0, is_short=True)
    yield Fault("stop-at-call", "stands still at a call for 2 s", _at_a_point("call", Act.STOP), share=0.4)
    yield Fault("stop-at-commit", "stands still at a commit for 2 s", _at_a_point("commit", Act.STOP), share=0.4)
    yield Fault("stop-past-lease", "four processes stand still past a lease", _stop_longer_than_a_lease, share=0.05)
    yield Fault("kill-worker", "a worker is killed, anywhere", _kill(*(set(COMMANDS) - {"web", "clock", "clock-2"})))
    yield Fault("kill-web", "the web process is killed, anywhere", _kill("web"))
    yield Fault("kill-clock", "a clock process is killed, anywhere", _kill("clock", "clock-2"))
    yield Fault("two-dispatchers", "the leader's lock is lost behind its back", _second_leader)
    yield Fault("clocks-apart", "three processes are minutes off", _clocks_apart, every=2.0, share=0.5)
    yield Fault("log-disk-full", "no log can be written", _log_disk_full, share=0.5)
    yield Fault("restart-in-order", "SIGTERM, a rolling restart", _restart_in_order, is_short=True)
    yield Fault("rabbitmq-wiped", "every queue and exchange is gone", _wipe_rabbitmq, every=3.0, share=0.2)
    yield Fault("redis-wiped", "every pacing cell is gone", _wipe_redis, is_short=True)
    for server, share in (("rabbitmq", 0.08), ("redis", 0.5), ("postgres", 0.2)):
        yield Fault(f"{server}-killed", "killed and started", _server(server, kill=True), every=2.0, share=share)
        yield Fault(f"{server}-restarted", "stopped and started", _server(server, kill=False), every=2.0, share=share)


FAULTS: Sequence[Fault] = tuple(_faults())
