"""The acts: how each fault is done to the running fleet, and how it is taken back."""

from __future__ import annotations

import random
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import redis
from sqlalchemy import create_engine, text

from tests.faults.fleet import COMMANDS, Fleet
from tests.faults.points import BY_REAL_TIME, PLACES, Act
from tests.faults.proxy import Proxy, Trigger, Way

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
    "workers.asking": ("asking",),
    "asking": ("asking",),
    "workers.replies": ("replies",),
    "producers.webhooks": ("web",),
    "producers": ("clock", "clock-2"),
    "sms": ("sms", "sms.answers"),
    "email": ("email", "email.answers"),
    "ops.runtime.bus_amqp": ("intake", "enrol"),
    "ops.runtime.consumer_rabbitmq": (*_SENDERS, "receipts", "replies", "asking"),
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


def through(*names: str) -> Callable[[Callable[[Proxy], None], str, float], Inject]:
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


def delay(proxy: Proxy) -> None:
    proxy.delay = 0.25


def mute(proxy: Proxy) -> None:
    proxy.mute = True


def cut(proxy: Proxy) -> None:
    size = random.Random(proxy.port).choice((1, 7, 40, 200, 900))  # noqa: S311 - no secret
    proxy.cut_after(size, Way.UP if size % 2 else Way.DOWN)


def lose(trigger: Trigger) -> Callable[[Proxy], None]:
    return lambda proxy: proxy.lose_answer(trigger)


def kill(*names: str) -> Inject:
    def inject(scene: Scene) -> int:
        scene.fleet.kill(scene.dice.choice(names))
        return 1

    return inject


def at_a_point(kind: str, act: Act = Act.KILL) -> Inject:
    """Processes die at points of this kind, or stand still there for two seconds; three are told at once."""

    def inject(scene: Scene) -> int:
        board, slots, dice = scene.fleet.board, scene.fleet.slots, scene.dice
        armed = set()
        before = scene.fleet.deaths.copy()
        for _ in range(3):
            places = (each for each in PLACES.items() if each[0][0] == kind and each[1] not in BY_REAL_TIME)
            (_, place), name = dice.choice(sorted(places))
            process = dice.choice(runners(place))
            if process in armed:
                continue
            board.arm(slots[process], f"{name}.{dice.choice(('before', 'after'))}", dice.randint(1, 2), act)
            armed.add(process)
        _within(1.0, lambda: any(board.has_fired(slots[each]) for each in armed))
        if act is Act.STOP:
            time.sleep(2.0)
        return sum(_has_met(scene.fleet, each, before) for each in armed)

    return inject


def at_a_flush(scene: Scene) -> int:
    """The web process dies at a flush of the spool, which it needs only while the ledger is away from it."""
    fleet, slot = scene.fleet, scene.fleet.slots["web"]
    name = scene.dice.choice(sorted(name for (kind, _), name in PLACES.items() if kind == "flush"))
    before = fleet.deaths.copy()
    fleet.board.arm(slot, f"{name}.{scene.dice.choice(('before', 'after'))}")
    web_alone(scene)
    return int(_has_met(fleet, "web", before))


def _has_met(fleet: Fleet, name: str, before: Counter[str]) -> bool:
    """Whether a process came to its point: it stands or lies there, or was started again already."""
    return fleet.let_go(name) or fleet.deaths[name] > before[name]


def runners(place: str) -> tuple[str, ...]:
    """The processes that run the code of a place."""
    return next(names for prefix, names in _RUN_BY.items() if place.startswith(prefix))


def stop_longer_than_a_lease(scene: Scene) -> int:
    """Several at once: a minute is long."""
    names = scene.dice.sample(sorted(COMMANDS), 4)
    for name in names:
        scene.fleet.kill(name, signal.SIGSTOP)
    time.sleep(LONGER_THAN_A_LEASE)
    for name in names:
        scene.fleet.kill(name, signal.SIGCONT)
    return len(names)


def end_and_start(name: str, *, kill: bool) -> Inject:
    def inject(scene: Scene) -> int:
        server = scene.fleet.services.server(name)
        (server.kill if kill else server.stop)()
        time.sleep(scene.dice.uniform(0.2, 2.0))
        scene.fleet.start_server(server)
        return 1

    return inject


def wipe_rabbitmq(scene: Scene) -> int:
    scene.fleet.services.drop_vhost("faults")
    scene.fleet.services.amqp_url("faults")
    return 1


def wipe_rabbitmq_disk(scene: Scene) -> int:
    """Its disk is lost with everything on it; a new node begins with nothing."""
    server = scene.fleet.services.server("rabbitmq")
    server.kill()
    server.wipe()  # type: ignore[union-attr] # RabbitMQ's, by its name
    scene.fleet.start_server(server)
    scene.fleet.services.amqp_url("faults")
    return 1


def wipe_redis(scene: Scene) -> int:
    with redis.Redis.from_url(scene.fleet.services.redis_url) as client:
        client.flushall()
    return 1


def second_leader(scene: Scene) -> int:
    """The leader's session ends without its knowing: the one that stands by takes over while it may still act."""
    engine = create_engine(scene.fleet.ledger_url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as conn:
            holders = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            return bool(conn.execute(text(holders)).all())
    finally:
        engine.dispose()


def clocks_apart(scene: Scene) -> int:
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


def log_disk_full(scene: Scene) -> int:
    fleet = scene.fleet
    fleet.log_full = True
    fleet.kill(scene.dice.choice(sorted(COMMANDS)))

    def clear() -> None:
        fleet.log_full = False

    if not scene.undo:
        scene.undo.append(clear)
    return 1


def restart_in_order(scene: Scene) -> int:
    """A rolling restart's step: the process ends by itself within seconds and says that all went well."""
    fleet = scene.fleet
    name = scene.dice.choice(sorted(COMMANDS))
    pid, began = fleet.kill(name, signal.SIGTERM), time.monotonic()
    code: list[int | None] = [None]

    def has_ended() -> bool:
        code[0] = fleet.code_of(pid)
        return code[0] is not None

    # the signal itself ends only a process that has not begun: it was just started
    if not _within(30.0, has_ended) or code[0] not in {0, -signal.SIGTERM}:
        fleet.by_itself.append((f"{name} after SIGTERM, {time.monotonic() - began:.0f} s", code[0] or 0))
    return 1


def web_alone(scene: Scene) -> int:
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


def spool_disk_full(scene: Scene) -> int:
    """Neither the ledger nor the disk takes what comes in: it is refused, and its sender comes again."""
    pid = scene.fleet.pids["web"]
    with suppress(ProcessLookupError):
        soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
        web_alone(scene)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
    return 1
