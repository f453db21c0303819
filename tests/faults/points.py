"""The points at which a process of the fleet can be made to die or to stand still: before and after whatever it does.

Every commit, publish, acknowledgement, provider call, pacing call and flush to disk of the fleet's processes passes
two. The registry names them; whatever passes none of them is written down as unregistered.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import threading
from enum import IntEnum
from pathlib import Path
from typing import Self

#: Kind and function of what is done at a place -> its name; its points are NAME.before and NAME.after.
PLACES: dict[tuple[str, str], str] = {
    ("commit", "producers.clock._round"): "clock.beat",
    ("commit", "producers.dispatch.Dispatcher._dispatch"): "dispatch.mark",
    ("commit", "producers.relay.relay"): "relay.mark",
    ("commit", "producers.scan.scan"): "scan.notice",
    ("commit", "producers.sweep.Sweep._ask"): "sweep.ask",
    ("commit", "producers.sweep.Sweep._mend"): "sweep.mend",
    ("commit", "producers.sweep.Sweep.let_in"): "sweep.let-in",
    ("commit", "producers.sweep.Sweep.reconcile"): "sweep.reconcile",
    ("commit", "producers.sweep.Sweep.reconsider"): "sweep.reconsider",
    ("commit", "producers.sweep.Sweep.review"): "sweep.review",
    ("commit", "producers.sweep.Sweep.run"): "sweep.listeners",
    ("commit", "producers.webhooks.arrival_store.ArrivalStore._take_reply"): "web.reply",
    ("commit", "producers.webhooks.arrival_store.ArrivalStore._unsubscribe"): "web.unsubscribe",
    ("commit", "producers.webhooks.arrival_store.ArrivalStore.take_receipts"): "web.receipts",
    ("commit", "producers.webhooks.beat.Beat._tell"): "web.beat",
    ("commit", "producers.webhooks.link_pages.LinkPages._record_click"): "web.click",
    ("commit", "workers.asking.AskWorker._settle"): "ask.settle",
    ("commit", "workers.enrol.Enrol.take"): "enrol.decide",
    ("commit", "workers.intake.Intake._take_part"): "intake.take",
    ("commit", "workers.receipts.register.apply_receipts"): "receipts.apply",
    ("commit", "workers.replies.register.read_replies"): "replies.read",
    ("commit", "workers.send.SendWorker._claim"): "send.claim",
    ("commit", "workers.send.SendWorker._finish"): "send.finish",
    ("commit", "workers.send.SendWorker._take_effects"): "send.effect",
    ("publish", "producers.dispatch.Dispatcher._dispatch"): "dispatch.hint",
    ("publish", "producers.relay.relay"): "relay.publish",
    ("publish", "producers.sweep.Sweep._ask"): "sweep.ask-hint",
    ("publish", "producers.sweep.Sweep._hint_again"): "sweep.hint",
    ("publish", "producers.webhooks.handover.Handover._hand_over"): "web.hint",
    ("publish", "workers.intake.Intake._tell"): "intake.hint",
    ("publish", "workers.replies.register.read_replies"): "replies.hint",
    ("ack", "ops.runtime.bus_amqp._Consumption.run"): "event.ack",
    ("ack", "ops.runtime.consumer_rabbitmq.QuorumConsumer._carry_out"): "job.ack",
    ("call", "asking"): "call.asking",
    ("call", "email"): "call.email",
    ("call", "sms"): "call.sms",
    ("pace", "workers.turns.Turns.take"): "send.pace",
    ("flush", "producers.webhooks.spool_file.SpoolFile._begin"): "spool.begin",
    ("flush", "producers.webhooks.spool_file.SpoolFile.append"): "spool.append",
    ("flush", "producers.webhooks.spool_file._sync_directory"): "spool.directory",
}

#: Passed only where time is the system's: a day of a campaign, whose clock is set forward, never passes them.
BY_REAL_TIME = frozenset({"web.beat"})
#: Passed only where a text stays uncertain for a quarter of an hour; in a day of a campaign its receipt is sooner.
OF_THE_LONG_UNCERTAIN = frozenset({"ask.settle", "call.asking", "sweep.ask", "sweep.ask-hint"})
_ALL = tuple(f"{name}.{when}" for name in sorted(set(PLACES.values())) for when in ("before", "after"))
#: What a day of a campaign passes.
POINTS = tuple(point for point in _ALL if point.rpartition(".")[0] not in BY_REAL_TIME | OF_THE_LONG_UNCERTAIN)
_NUMBERS = {name: number for number, name in enumerate(_ALL)}

#: Of a process: the point at which something is to happen, how many times it is passed until then, what, and whether
#: it has happened.
_SLOT = struct.Struct("<HHBB")
_ACT = struct.calcsize("<HH")
_SLOTS = 64
_HITS = _SLOT.size * _SLOTS
_SIZE = _HITS + 512


class Act(IntEnum):
    """What is done to a process that reaches its point."""

    NOTHING = 0
    KILL = 1
    STOP = 2


_SIGNALS = {Act.KILL: signal.SIGKILL, Act.STOP: signal.SIGSTOP}


class Board:
    """A file that the harness and every process map: what is to happen where, and which points were reached."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SIZE)
        self._lock = threading.Lock()

    @classmethod
    def create(cls, path: Path) -> Self:
        """A board on which nothing is to happen."""
        path.write_bytes(bytes(_SIZE))
        return cls(path)

    def arm(self, slot: int, point: str, nth: int = 1, act: Act = Act.KILL) -> None:
        """Let something happen when the process of this slot passes the point for the `nth` time from now.

        Raises:
            KeyError: there is no such point.
        """
        _SLOT.pack_into(self._map, slot * _SLOT.size, _NUMBERS[point], nth, act, 0)

    def disarm(self, slot: int) -> bool:
        """Take it back; whether it had happened."""
        *_, fired = _SLOT.unpack_from(self._map, slot * _SLOT.size)
        _SLOT.pack_into(self._map, slot * _SLOT.size, 0, 0, Act.NOTHING, 0)
        return bool(fired)

    def withdraw(self, slot: int) -> Act:
        """Take back what has not happened yet; what has. What happens at this very moment is seen to have, later."""
        act = Act(self._map[slot * _SLOT.size + _ACT])
        self._map[slot * _SLOT.size + _ACT] = Act.NOTHING
        return act if self.has_fired(slot) else Act.NOTHING

    def has_fired(self, slot: int) -> bool:
        """Whether it has happened."""
        return bool(_SLOT.unpack_from(self._map, slot * _SLOT.size)[3])

    def reached(self) -> set[str]:
        """The points that some process passed."""
        return {name for name, number in _NUMBERS.items() if self._map[_HITS + number]}

    def unregistered(self) -> list[str]:
        """What was done at places that the registry does not name."""
        path = self._unregistered
        return sorted(set(path.read_text().split())) if path.exists() else []

    def passes(self, slot: int, kind: str, place: str, when: str) -> None:
        """The process of this slot passes a point: it may not return."""
        name = PLACES.get((kind, place))
        if name is None:
            with self._unregistered.open("a") as file:
                file.write(f"{kind}:{place}\n")
            return
        number = _NUMBERS[f"{name}.{when}"]
        self._map[_HITS + number] = 1
        with self._lock:
            self._happen(slot, number)

    def _happen(self, slot: int, number: int) -> None:
        point, left, act, fired = _SLOT.unpack_from(self._map, slot * _SLOT.size)
        if act == Act.NOTHING or fired or point != number:
            return
        _SLOT.pack_into(self._map, slot * _SLOT.size, point, left - 1, act, left <= 1)
        if left <= 1:
            os.kill(os.getpid(), _SIGNALS[Act(act)])

    @property
    def _unregistered(self) -> Path:
        return self.path.with_suffix(".unregistered")
