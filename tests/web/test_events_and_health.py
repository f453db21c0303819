"""Events over HTTP are taken only with the token and answered with what is wrong; health tells the truth."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter
from sqlalchemy import Engine
from webserver import EVENTS_TOKEN, Serve, Web, start_web

from domain.events.envelope import EventProblem
from domain.ledger.columns import metadata
from domain.ledger.store import open_ledger
from domain.ledger.vault import Vault

_EVENT = b'{"specversion": "1.0"}'
_BEARER = {"authorization": f"Bearer {EVENTS_TOKEN}", "content-type": "application/cloudevents+json"}


def test_an_event_is_handed_to_intake_as_it_came_without_the_secret(ledger: Engine, web: Web) -> None:
    answer = web.client.post("/events", content=_EVENT, headers=_BEARER | {"CE-Id": "1"})

    ((source, headers, body),) = web.events
    assert answer.status_code == 202
    assert (source, body) == ("http:/events", _EVENT)
    assert headers["content-type"] == "application/cloudevents+json"
    assert headers["ce-id"] == "1"
    assert "authorization" not in headers


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", f"Basic {EVENTS_TOKEN}", EVENTS_TOKEN, "Bearer é"])
def test_without_the_token_nothing_is_taken(ledger: Engine, web: Web, header: str) -> None:
    answer = web.client.post("/events", content=_EVENT, headers={"authorization": header.encode()})

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert web.events == []


def test_where_no_token_is_configured_everything_is_refused(ledger: Engine, vault: Vault, serve: Serve) -> None:
    web = start_web(ledger, vault, serve, events_token="")

    answers = [
        web.client.post("/events", content=_EVENT, headers=each) for each in ({"authorization": "Bearer"}, _BEARER)
    ]

    assert [each.status_code for each in answers] == [401, 401]
    assert web.events == []


def test_a_refused_event_is_answered_with_a_problem_document(ledger: Engine, vault: Vault, serve: Serve) -> None:
    def refuse(*_: object) -> None:
        raise EventProblem("data.starts_at: a zone is missing")

    web = start_web(ledger, vault, serve, take_event=refuse)

    answer = web.client.post("/events", content=_EVENT, headers=_BEARER)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "data.starts_at: a zone is missing"


def test_an_error_of_our_own_tells_the_outside_nothing(
    ledger: Engine, vault: Vault, serve: Serve, capfd: pytest.CaptureFixture[str]
) -> None:
    def break_down(*_: object) -> None:
        raise RuntimeError("Jane Doe, 303-555-0101")

    web = start_web(ledger, vault, serve, take_event=break_down)

    answer = web.client.post("/events", content=_EVENT, headers=_BEARER)

    assert answer.status_code == 500
    said = capfd.readouterr()
    assert "Jane" not in answer.text + said.out + said.err
    assert "RuntimeError" in said.out + said.err


def test_a_large_event_is_refused(ledger: Engine, web: Web) -> None:
    assert web.client.post("/events", content=b"x" * 70_000, headers=_BEARER).status_code == 413


def test_a_live_and_ready_process_says_so(ledger: Engine, web: Web) -> None:
    assert web.client.get("/live").status_code == 200
    assert web.client.get("/ready").json() == {"status": "ready"}


def test_it_is_not_ready_before_the_ledger_is_migrated(sqlite_url: str, vault: Vault, serve: Serve) -> None:
    engine = open_ledger(sqlite_url)
    web = start_web(engine, vault, serve)
    metadata.drop_all(engine)

    answer = web.client.get("/ready")

    assert answer.status_code == 503
    assert "reactivate migrate" in answer.json()["detail"]
    assert web.client.get("/live").status_code == 200
    engine.dispose()


def test_it_is_not_ready_on_a_schema_that_does_not_suit_it(ledger: Engine, vault: Vault, serve: Serve) -> None:
    web = start_web(ledger, vault, serve, schema_trouble=lambda _: "of a newer release")

    answer = web.client.get("/ready")

    assert answer.status_code == 503
    assert answer.json()["detail"] == "of a newer release"


def test_prometheus_reads_the_numbers(ledger: Engine, vault: Vault, serve: Serve) -> None:
    registry = CollectorRegistry()
    Counter("told", "How often", registry=registry).inc()
    web = start_web(ledger, vault, serve, registry=registry)

    answer = web.client.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain")
    assert "told_total 1.0" in answer.text
