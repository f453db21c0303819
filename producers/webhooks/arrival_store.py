"""The arrival store: commits arrivals to the ledger, whether they come from a request or, later, from the spool.

Storing one again changes nothing. What was received earlier is dated by its reception; what it sets off, is due now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection, Engine

from domain.jobs import apply_receipts, read_replies, send_answers
from domain.ledger import choice_history, choices, link_targets, receipts, replies
from domain.ledger.link_targets import LinkTarget
from domain.ledger.replies import Taken
from domain.ledger.transactions import transact
from domain.ledger.vault import Vault
from domain.rules.rulebook import Rulebook
from domain.rules.vocabulary import Intent
from ops.runtime import metrics
from ops.runtime.clock import Clock
from producers.webhooks.arrivals import Arrival, ReceiptsArrival, ReplyArrival, UnsubscribeArrival
from producers.webhooks.handover import Handover

_ONE_CLICK = "one_click"


class LinkLostError(Exception):
    """The touch behind an unsubscribe link is not in the ledger, or nobody was written to."""


class ArrivalStore:
    """Writes arrivals to the ledger and hands what they set off to the workers. For any thread."""

    def __init__(
        self,
        *,
        engine: Engine,
        vault: Vault,
        clock: Clock,
        handover: Handover,
        observe_opt_out: Callable[[float], None],
        rules: Rulebook | None = None,
    ) -> None:
        """`rules` say how far an opt-out reaches; without them, to everything."""
        self._engine = engine
        self._vault = vault
        self._clock = clock
        self._handover = handover
        self._observe_opt_out = observe_opt_out
        self._rules = rules

    def take(self, arrival: Arrival, waited: Callable[[], float] | None = None) -> LinkTarget | None:
        """Commit one arrival. `waited` tells the seconds since its reception (default: by the clock).

        Raises:
            SQLAlchemyError, NoOrganisationError: it is not stored.
            LinkLostError: there is nobody to unsubscribe.
        """
        match arrival:
            case ReplyArrival():
                self._take_reply(arrival, waited)
            case ReceiptsArrival():
                self.take_receipts([arrival])
            case UnsubscribeArrival():
                return self._unsubscribe(arrival, waited)
        return None

    def take_receipts(self, arrivals: Sequence[ReceiptsArrival]) -> None:
        """Commit the receipts of several calls at once. Raises SQLAlchemyError."""

        def take(conn: Connection) -> list[int]:
            return receipts.take_dated(conn, [(news, each.at) for each in arrivals for news in each.news])

        ids = transact(self._engine, take)
        if ids:
            self._handover.add(apply_receipts(tuple(ids)))

    def _take_reply(self, arrival: ReplyArrival, waited: Callable[[], float] | None) -> None:
        taken = transact(
            self._engine,
            lambda conn: replies.take(
                conn,
                self._vault,
                channel=arrival.channel,
                system=arrival.system,
                provider_id=arrival.provider_id,
                sender=arrival.sender,
                text=arrival.text,
                received_at=arrival.at,
                now=self._clock.now(),
                answered_by_network=arrival.answered_by_network,
                provider=arrival.provider,
                rules=self._rules,
            ),
        )
        if taken.reply_id is not None:
            self._follow_up(arrival, taken, taken.reply_id, waited)

    def _follow_up(
        self, arrival: ReplyArrival, taken: Taken, reply_id: int, waited: Callable[[], float] | None
    ) -> None:
        if taken.intent is None:
            self._handover.add(read_replies((reply_id,)))
            return
        metrics.replies_total.labels(arrival.channel, taken.intent.value).inc()
        if taken.intent is Intent.OPT_OUT:
            self._observe(arrival.at, waited)
        if taken.answer_id is not None:
            self._handover.add(send_answers(arrival.channel, (taken.answer_id,)))

    def _unsubscribe(self, arrival: UnsubscribeArrival, waited: Callable[[], float] | None) -> LinkTarget:
        def stop(conn: Connection) -> tuple[LinkTarget, bool]:
            target = link_targets.find(conn, arrival.touch_id)
            if target is None or target.contact_point_id is None:
                raise LinkLostError(str(LinkLostError.__doc__))
            if choice_history.is_known(conn, target.contact_point_id, _ONE_CLICK, arrival.at):
                # replayed after it took effect: a START since then must stand
                return target, False
            choices.opt_out(
                conn,
                organisation_id=target.organisation_id,
                contact_point_id=target.contact_point_id,
                source=_ONE_CLICK,
                at=arrival.at,
                now=self._clock.now(),
            )
            return target, True

        target, is_new = transact(self._engine, stop)
        if is_new:
            self._observe(arrival.at, waited)
        return target

    def _observe(self, at: datetime, waited: Callable[[], float] | None) -> None:
        seconds = (self._clock.now() - at).total_seconds() if waited is None else waited()
        self._observe_opt_out(max(0.0, seconds))
