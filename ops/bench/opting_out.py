"""From a patient's STOP to its opt-out committed, with the send path saturated, and idle."""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode, urlsplit

from sqlalchemy import func, select

from domain import jobs
from domain.ledger.attempts import IS_SENDING, attempt
from domain.ledger.choice_history import suppression
from domain.ledger.store import reading
from ops.assembly import Parts, channel_queues
from ops.bench import crowd
from ops.bench.children import wait_for
from ops.bench.figures import Bar, BenchError, Figure, compared, interleaved, middle, quantile
from ops.bench.ground import START, TOKEN, Ground, Sink
from ops.services.process import Process
from ops.simulator.twilio import sign

_SITES = 100
#: Seconds between two replies: a busy day's, not a flood.
_BETWEEN = 0.02
#: What the path sends at most while a reply is answered, on any machine we know.
_SENDS_PER_REPLY = 160
_PATIENCE = 60.0
_FEWEST_SENDS = 2_000
#: Milliseconds that nobody should have to wait for their opt-out.
_LIMIT_MS = 500.0


def measure(ground: Ground) -> list[Figure]:
    """Two figures of one run: the 99th percentile beside the idle one, and beside the limit."""
    replies = ground.size.pick(100, 50, 5)
    rounds = ground.size.pick(4, 2, 1)
    sends = max(replies * _SENDS_PER_REPLY, _FEWEST_SENDS)
    people = rounds * sends + 2 * rounds * replies + 1
    with ground.sink() as sink:
        environ = ground.environ(ground.ledger(), sink)
        commands = {"web": ["web"], "worker-0": ["worker", "sms"], "worker-1": ["worker", "sms"]}
        with ground.parts(environ) as parts:
            crowd.settle(parts.engine, parts.vault, datetime.now(UTC), sites=_SITES, reached=people)
            with ground.fleet(environ, {**commands, "replies": ["worker", jobs.REPLIES]}) as started:
                town = _Town(parts, sink, started, replies, sends, people)
                town.warm_up()
                sides = {"send path saturated": town.saturated, "idle": town.idle}
                measured = interleaved(rounds, sides, lambda said: ground.say(f"opting out: {said} ms"))
                town.check()
    what = "99th percentile from a patient's STOP to its opt-out committed, send path saturated"
    loaded = measured["send path saturated"]
    return [
        compared("opt-out under load : idle", f"{what} : idle", "ms", measured, 3.0, Bar.AT_MOST),
        Figure(
            "opt-out under load : limit",
            f"{what} : {_LIMIT_MS:.0f} ms",
            "ms",
            middle(loaded),
            _LIMIT_MS,
            1.0,
            Bar.AT_MOST,
            {"send path saturated": loaded},
        ),
    ]


@dataclass
class _Town:
    """Patients of whom some are written to, and others, from the end of the list, reply STOP."""

    parts: Parts
    sink: Sink
    started: Mapping[str, Process]
    replies: int
    sends: int
    next_reply: int
    next_send: int = 1
    replied: int = 0

    def warm_up(self) -> None:
        """One reply: the web process has read its rules, and its ledger answers."""
        port = urlsplit(self.parts.settings.public_url).port or 80

        def is_up() -> bool:
            try:
                with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                    connection.request("GET", "/ready")
                    return connection.getresponse().status == http.client.OK
            except OSError:
                return False

        wait_for("the web process", is_up, START, self.started)
        self._stop(1)

    def idle(self, _round: int) -> float:
        """Milliseconds that 99 of 100 replies take at most."""
        return quantile(self._stop(self.replies), 0.99)

    def saturated(self, _round: int) -> float:
        """The same while two worker processes send as fast as they can, from before the first to after the last."""
        before = self.sink.count()
        last = self.next_send + self.sends - 1
        ids = crowd.plan(self.parts.engine, self.next_send, last, datetime.now(UTC))
        self.next_send = last + 1
        for start in range(0, len(ids), jobs.BATCH):
            self.parts.enqueue(jobs.send_touches("sms", tuple(ids[start : start + jobs.BATCH])))
        wait_for("the first sends", lambda: self.sink.count() > before, _PATIENCE, self.started)
        took = self._stop(self.replies)
        if self.sink.count() - before >= self.sends:
            raise BenchError(f"opting out: all {self.sends} sends were over before the last reply was answered")
        self._come_to_rest()
        return quantile(took, 0.99)

    def check(self) -> None:
        """Every reply that was answered is an opt-out in force. Raises BenchError."""
        with reading(self.parts.engine) as conn:
            found = conn.scalar(
                select(func.count(suppression.c.contact_point_id.distinct())).where(suppression.c.lifted_at.is_(None))
            )
        if found != self.replied:
            raise BenchError(f"opting out: {self.replied} patients replied STOP, {found} opt-outs are in force")

    def _stop(self, count: int) -> list[float]:
        """So many patients reply STOP, one after the other; milliseconds until each was answered: committed."""
        url = f"{self.parts.settings.public_url}/webhooks/sms/inbound"
        took = []
        with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)) as connection:
            for _ in range(count):
                fields = {
                    "MessageSid": f"SMbench{self.next_reply}",
                    "From": crowd.number(self.next_reply),
                    "To": "+12125550100",
                    "Body": "STOP",
                }
                self.next_reply -= 1
                headers = {
                    "Content-Type": "application/x-www-form-urlencoded",
                    "X-Twilio-Signature": sign(TOKEN, url, fields.items()),
                }
                started = time.perf_counter()
                connection.request("POST", urlsplit(url).path, urlencode(fields), headers)
                response = connection.getresponse()
                response.read()
                took.append((time.perf_counter() - started) * 1000)
                if response.status != http.client.OK:
                    raise BenchError(f"opting out: the web process answered {response.status}")
                self.replied += 1
                time.sleep(_BETWEEN)
        return took

    def _come_to_rest(self) -> None:
        for queue in channel_queues("sms"):
            self.parts.broker.flush(queue)

        def is_still() -> bool:
            with reading(self.parts.engine) as conn:
                return not conn.scalar(select(func.count()).select_from(attempt).where(IS_SENDING))

        wait_for("the last sends", is_still, _PATIENCE, self.started, poll=0.1)
        # one more batch may have been fetched: its claim begins within this time
        time.sleep(1.0)
        wait_for("the last sends", is_still, _PATIENCE, self.started, poll=0.1)
