"""The fixtures themselves: what a test is given is its own, empty and migrated."""

from __future__ import annotations

import pika
import redis
from sqlalchemy import Engine, insert, select

from domain.ledger.organisations import organisation
from domain.ledger.store import reading
from domain.ledger.vault import Vault

_SOMEONE = {"key": "example", "name": "Example Health", "phone": "+12025550100", "postal_address": "1 Example Street"}


def test_a_ledger_is_empty_and_takes_rows(ledger: Engine) -> None:
    with reading(ledger) as conn:
        before = conn.execute(select(organisation.c.key)).all()

    with ledger.begin() as conn:
        conn.execute(insert(organisation), [_SOMEONE])

    with reading(ledger) as conn:
        after = conn.scalars(select(organisation.c.key)).all()
    assert before == []
    assert after == ["example"]


def test_a_second_test_does_not_see_the_rows_of_the_first(ledger: Engine) -> None:
    with ledger.begin() as conn:
        conn.execute(insert(organisation), [_SOMEONE])  # unique key: fails if the first test's row were here

    with reading(ledger) as conn:
        assert len(conn.execute(select(organisation.c.key)).all()) == 1


def test_a_virtual_host_takes_quorum_queues(amqp_url: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
    channel = connection.channel()
    channel.confirm_delivery()

    channel.queue_declare("q", durable=True, arguments={"x-queue-type": "quorum"})
    channel.basic_publish("", "q", b"1", mandatory=True)

    assert channel.basic_get("q", auto_ack=True)[2] == b"1"
    connection.close()


def test_redis_keeps_what_is_stored_under_the_prefix(redis_url: str, redis_prefix: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"{redis_prefix}a", "1")

        assert client.get(f"{redis_prefix}a") == b"1"


def test_the_vault_opens_what_it_sealed(vault: Vault) -> None:
    assert vault.open(vault.seal("text", "a.b"), "a.b") == "text"
