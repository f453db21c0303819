"""The catalogue of faults: what each is called, how often it is injected, and which the short campaign has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.faults.acts import (
    Inject,
    at_a_flush,
    at_a_point,
    clocks_apart,
    cut,
    delay,
    end_and_start,
    kill,
    log_disk_full,
    lose,
    mute,
    restart_in_order,
    second_leader,
    spool_disk_full,
    stop_longer_than_a_lease,
    through,
    web_alone,
    wipe_rabbitmq,
    wipe_rabbitmq_disk,
    wipe_redis,
)
from tests.faults.fleet import COMMANDS, SERVERS
from tests.faults.points import Act
from tests.faults.proxy import Proxy, anything, commits, mails, posts, publishes


@dataclass(frozen=True)
class Fault:
    """A kind of fault. `every`: seconds between two injections; `share`: its part of a campaign's injections."""

    name: str
    what: str
    inject: Inject
    every: float = 0.8
    share: float = 1.0
    parts_clocks: bool = False
    """Whether the fleet's own times of that day cannot be compared."""
    is_short: bool = False
    """Whether the short campaign of `make test` has it."""


_SERVER_PROXIES = tuple(f"{server}." for server in SERVERS)
_ANY = (*_SERVER_PROXIES, "sms", "smtp", "web")


def _faults() -> Iterator[Fault]:
    anywhere, provider = through(*_ANY), through("sms", "smtp")
    yield Fault("net-delay", "every connection to one server is slow", anywhere(delay, "", 0.8), share=0.8)
    yield Fault("net-black-hole", "a server takes bytes and passes nothing on", anywhere(Proxy.silence, "", 2.0), 0.5)
    yield Fault(
        "net-reset", "every connection to one server is reset", anywhere(Proxy.reset, "reset", 0), is_short=True
    )
    yield Fault("net-half-close", "a server says goodbye and listens on", anywhere(Proxy.half_close, "half_close", 0))
    yield Fault("net-cut", "a connection breaks after so many bytes", anywhere(cut, "cut", 0), is_short=True)
    for name, what, proxies, trigger in (
        ("sms-answer-lost", "a text is accepted, its answer lost", "sms", posts),
        ("smtp-answer-lost", "a mail is accepted, its answer lost", "smtp", mails),
        ("confirm-lost", "a publish is taken, its confirm lost", "rabbitmq.", publishes),
        ("commit-answer-lost", "a commit is done, its answer lost", ("postgres.workers", "postgres.web"), commits),
        ("pacing-answer-lost", "Redis counts, its answer lost", "redis.", anything),
        ("webhook-answer-lost", "a webhook is taken, its answer lost", "web", posts),
    ):
        inject = through(*((proxies,) if isinstance(proxies, str) else proxies))(lose(trigger), "lose_answer", 0)
        yield Fault(name, what, inject, is_short=name in ("sms-answer-lost", "commit-answer-lost", "confirm-lost"))
    yield Fault("provider-times-out", "a provider accepts and says nothing", provider(mute, "mute", 3.5), share=0.5)
    down = through("sms")(mute, "mute", 8.0)
    yield Fault("provider-down", "a provider says nothing until another takes over", down, every=4.0, share=0.2)
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
            at_a_point(kind),
            share=2.0 if kind in ("commit", "call") else 1.0,
            is_short=kind in ("commit", "call"),
        )
    yield Fault("crash-flush", "killed before or after a flush of the spool", at_a_flush, every=4.0, share=0.4)
    yield Fault("web-alone", "ledger and broker are away from the web process", web_alone, every=4.0, is_short=True)
    yield Fault("stop-at-call", "stands still at a call for 2 s", at_a_point("call", Act.STOP), share=0.4)
    yield Fault("stop-at-commit", "stands still at a commit for 2 s", at_a_point("commit", Act.STOP), share=0.4)
    yield Fault("stop-past-lease", "four processes stand still past a lease", stop_longer_than_a_lease, share=0.05)
    yield Fault("kill-worker", "a worker is killed, anywhere", kill(*(set(COMMANDS) - {"web", "clock", "clock-2"})))
    yield Fault("kill-web", "the web process is killed, anywhere", kill("web"))
    yield Fault("kill-clock", "a clock process is killed, anywhere", kill("clock", "clock-2"))
    yield Fault("two-dispatchers", "the leader's lock is lost behind its back", second_leader)
    yield Fault("clocks-apart", "three processes are minutes off", clocks_apart, 2.0, 0.5, parts_clocks=True)
    yield Fault("log-disk-full", "no log can be written", log_disk_full, share=0.5)
    yield Fault("spool-disk-full", "neither ledger nor disk takes a webhook", spool_disk_full, every=4.0, share=0.2)
    yield Fault("restart-in-order", "SIGTERM, a rolling restart", restart_in_order, is_short=True)
    yield Fault("rabbitmq-wiped", "every queue and exchange is gone", wipe_rabbitmq, every=3.0, share=0.2)
    yield Fault("rabbitmq-disk-lost", "killed, its disk emptied, started", wipe_rabbitmq_disk, every=3.0, share=0.05)
    yield Fault("redis-wiped", "every pacing cell is gone", wipe_redis, is_short=True)
    for name, share in (("rabbitmq", 0.08), ("redis", 0.5), ("postgres", 0.2)):
        yield Fault(f"{name}-killed", "killed and started", end_and_start(name, kill=True), every=2.0, share=share)
        yield Fault(f"{name}-restarted", "stopped and started", end_and_start(name, kill=False), every=2.0, share=share)


FAULTS: Sequence[Fault] = tuple(_faults())
