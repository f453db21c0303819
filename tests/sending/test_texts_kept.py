"""Texts kept by a send process: it does not read them anew for every touch, and never keeps all there ever were."""

from __future__ import annotations

import gc
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, event, insert

from domain.ledger.claimed import Claimed
from domain.ledger.organisations import organisation
from domain.ledger.texts import template, template_version
from domain.ledger.vault import Vault
from domain.rules.templates import Template
from domain.rules.vocabulary import TouchKind
from workers.rendering import CONTACT, KEPT_TEXTS, Renderer

NOW = datetime(2026, 3, 4, 15, 0, tzinfo=UTC)
FEW = 20


def test_a_process_that_met_the_texts_of_many_campaigns_keeps_the_last_thousand(ledger: Engine, vault: Vault) -> None:
    settle(ledger, KEPT_TEXTS + FEW)
    renderer = a_renderer(ledger, vault)
    before = texts_in_memory()

    for id_ in range(1, KEPT_TEXTS + FEW + 1):
        renderer.render(claimed(vault, id_), NOW)

    assert texts_in_memory() - before == KEPT_TEXTS


def test_a_text_is_read_once_for_many_touches(ledger: Engine, vault: Vault) -> None:
    settle(ledger, 2)
    renderer = a_renderer(ledger, vault)
    read: list[str] = []
    event.listen(ledger, "before_cursor_execute", lambda *told: read.append(told[2]))

    said = {renderer.render(claimed(vault, id_), NOW).body for _ in range(FEW) for id_ in (1, 2)}

    assert said == {"Text 1", "Text 2"}
    assert sum("FROM template" in statement for statement in read) == 2


def a_renderer(engine: Engine, vault: Vault) -> Renderer:
    return Renderer(engine, vault, "https://reach.example.org", b"a-key-of-links")


def texts_in_memory() -> int:
    gc.collect()
    return sum(type(each) is Template for each in gc.get_objects())


def settle(engine: Engine, texts: int) -> None:
    with engine.begin() as conn:
        conn.execute(
            insert(organisation).values(
                id=1, key="northstar", name="Northstar Health", phone="+1 212 555 0199", postal_address="1 Example Road"
            )
        )
        version = {"key": "welcome", "version": 1, "checksum": "0", "recorded_at": NOW, "released_at": NOW}
        conn.execute(insert(template_version).values(id=1, organisation_id=1, **version))
        slot = {"template_version_id": 1, "channel": "sms", "language": "en"}
        conn.execute(insert(template), [{**slot, "id": n, "step": n, "body": f"Text {n}"} for n in range(1, texts + 1)])


def claimed(vault: Vault, template_id: int) -> Claimed:
    return Claimed(
        touch_id=1,
        token="token",
        kind=TouchKind.OUTREACH,
        answer=None,
        channel="sms",
        provider="sms",
        organisation_id=1,
        patient_id=1,
        contact_point_id=1,
        sealed_address=vault.seal("+12125550101", CONTACT),
        template_id=template_id,
        language="en",
        organisation="Northstar Health",
        organisation_phone="+1 212 555 0199",
        postal_address="1 Example Road",
        site="foothills",
        valid_until=NOW + timedelta(hours=1),
        due_at=NOW,
        dispatched_until=None,
        attempts=1,
    )
