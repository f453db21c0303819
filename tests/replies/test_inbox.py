"""The inbox shows what waits for a person, and no text unless one is asked for by its id."""

from __future__ import annotations

from datetime import timedelta

from household import NOW, PHONE, Household, row, send
from sqlalchemy import Engine

from domain.ledger import inbox, replies, verdicts
from domain.ledger.inbound import reply
from domain.ledger.vault import Vault


def _asked(ledger: Engine, vault: Vault, text: str, id: str = "SM1") -> int:  # noqa: A002 - the provider's id
    with ledger.begin() as conn:
        taken = replies.take(
            conn, vault, channel="sms", system="phone", provider_id=id, sender=PHONE, text=text, now=NOW
        )
    with ledger.begin() as conn:
        replies.read(conn, vault, [taken.reply_id or 0], NOW)
    return taken.reply_id or 0


def test_it_lists_replies_and_unsettled_sends_longest_wait_first(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    asked = _asked(ledger, vault, "is parking free?")
    with ledger.begin() as conn:
        lost, _ = send(conn, household, 1, state="uncertain", needs_person=True, claimed_at=NOW - timedelta(days=2))
        listed = inbox.inbox(conn)

    assert [(each.kind, each.id, each.since) for each in listed] == [
        ("attempt", lost, NOW - timedelta(days=2)),
        ("reply", asked, NOW),
    ]
    assert [each.patients for each in listed] == [("PTEST1",), ("PTEST0", "PTEST1")]
    assert listed[1].intent == "question"
    assert "parking" not in repr(listed)


def test_emergencies_come_first_however_long_others_wait_and_within_any_limit(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    asked = _asked(ledger, vault, "is parking free?")
    with ledger.begin() as conn:
        taken = replies.take(
            conn,
            vault,
            channel="sms",
            system="phone",
            provider_id="SM2",
            sender=PHONE,
            text="I have chest pain",
            now=NOW + timedelta(hours=1),
        )
        listed, first = inbox.inbox(conn), inbox.inbox(conn, limit=1)

    assert [(each.id, each.urgent) for each in listed] == [(taken.reply_id, True), (asked, False)]
    assert [each.id for each in first] == [taken.reply_id]


def test_one_reply_opens_with_its_text_which_no_log_line_repeats(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    asked = _asked(ledger, vault, "is parking free?")

    with ledger.connect() as conn:
        opened = inbox.open_reply(conn, vault, asked)
        nothing = inbox.open_reply(conn, vault, asked + 1)

    assert opened is not None
    assert opened.text == "is parking free?"
    assert "parking" not in repr(opened)
    assert nothing is None


def test_a_closed_reply_leaves_the_inbox_and_cannot_be_closed_again(
    ledger: Engine, vault: Vault, household: Household
) -> None:
    asked = _asked(ledger, vault, "is parking free?")

    with ledger.begin() as conn:
        was_waiting = [
            verdicts.close(conn, asked, NOW),
            verdicts.close(conn, asked, NOW),
            verdicts.close(conn, 999, NOW),
        ]
        left = inbox.inbox(conn)

    assert was_waiting == [True, False, False]
    assert left == []
    assert row(ledger, reply, asked)["state"] == "closed"
