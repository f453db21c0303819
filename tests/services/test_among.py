"""Membership in a list: both stores find the same rows, whatever the words are made of."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, insert, select

from domain.ledger.among import among
from domain.ledger.organisations import organisation

KEYS = ("plain", "NULL", 'quo"ted', "back\\slash", "com,ma", "{brace}", " ", "")


@pytest.fixture
def filled(ledger: Engine) -> Engine:
    with ledger.begin() as conn:
        conn.execute(
            insert(organisation), [{"key": key, "name": "n", "phone": "5", "postal_address": "1 Road"} for key in KEYS]
        )
    return ledger


@pytest.mark.parametrize(
    "asked", [*([key] for key in KEYS), list(KEYS), ["nobody"], ["plain", "nobody", 'quo"ted'], []], ids=repr
)
def test_words_are_found_by_themselves_and_among_others(filled: Engine, asked: list[str]) -> None:
    wanted = select(organisation.c.key).where(among(organisation.c.key, "keys"))

    with filled.connect() as conn:
        found = set(conn.scalars(wanted, {"keys": asked}))

    assert found == set(asked) & set(KEYS)


@pytest.mark.parametrize("number", [0, 1, 3, 700])
def test_ids_are_found_in_lists_of_any_length(filled: Engine, number: int) -> None:
    wanted = select(organisation.c.id).where(among(organisation.c.id, "ids"))
    everybody = select(organisation.c.id).order_by(organisation.c.id)

    with filled.connect() as conn:
        asked = [*conn.scalars(everybody), *range(10_000, 10_700)][:number]
        found = sorted(conn.scalars(wanted, {"ids": asked}))

    assert found == asked[: len(KEYS)]
