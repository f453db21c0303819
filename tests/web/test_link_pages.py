"""Links in messages: opening one changes nothing, the one-click POST unsubscribes, booking leads to the site."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser

import pytest
from household import Household, plan_touch, rows, send
from sqlalchemy import Engine, update
from webserver import LINK_KEY, Web

from domain.ledger.choice_history import choice_event, suppression
from domain.ledger.enrolments import enrolment
from domain.ledger.organisations import site
from domain.ledger.patients import patient
from domain.ledger.touches import touch_event
from domain.rules import links

_ONE_CLICK = {"List-Unsubscribe": "One-Click"}


class _Tags(HTMLParser):
    """The tags of a page, with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def _mailed(ledger: Engine, household: Household) -> int:
    """An email to Jane, sent."""
    with ledger.begin() as conn:
        touch_id = plan_touch(
            conn,
            organisation_id=household.organisation,
            patient_id=household.jane,
            site_id=household.site,
            channel="email",
            state="accepted",
        )
        send(conn, household, state="accepted", touch_id=touch_id, channel="email", contact_point_id=household.email)
    return touch_id


def test_a_one_click_post_opts_the_address_out_everywhere(ledger: Engine, web: Web) -> None:
    path = web.link("unsubscribe", _mailed(ledger, web.household))

    answer = web.client.post(path, data=_ONE_CLICK)

    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    stopped = {(each["contact_point_id"], each["patient_id"]) for each in rows(ledger, suppression, lifted_at=None)}
    assert stopped == {(web.household.email, None), (None, web.household.jane)}
    assert {each["source"] for each in rows(ledger, choice_event)} == {"one_click"}
    assert rows(ledger, enrolment, patient_id=web.household.jane)[0]["state"] == "opted_out"
    assert len(web.opt_out_seconds) == 1


def test_a_multipart_one_click_post_counts_as_well(ledger: Engine, web: Web) -> None:
    path = web.link("unsubscribe", _mailed(ledger, web.household))

    answer = web.client.post(path, files={"List-Unsubscribe": (None, "One-Click")})

    assert answer.status_code == 200
    assert len(rows(ledger, suppression, lifted_at=None)) == 2


def test_posting_again_is_answered_the_same_and_writes_nothing(ledger: Engine, web: Web) -> None:
    path = web.link("unsubscribe", _mailed(ledger, web.household))

    answers = [web.client.post(path, data=_ONE_CLICK).status_code for _ in range(3)]

    assert answers == [200] * 3
    assert len(rows(ledger, choice_event)) == 2


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_opening_an_unsubscribe_link_changes_nothing(ledger: Engine, web: Web, method: str) -> None:
    path = web.link("unsubscribe", _mailed(ledger, web.household))

    assert web.client.request(method, path).status_code == 200
    assert rows(ledger, suppression) == []


def test_the_unsubscribe_page_has_one_button_and_speaks_the_patients_language(ledger: Engine, web: Web) -> None:
    page = web.client.get(web.link("unsubscribe", _mailed(ledger, web.household)))

    tags = _Tags(page.text).tags
    assert ("form", {"method": "post"}) in tags
    assert [attributes for tag, attributes in tags if tag == "button"] == [
        {"name": "List-Unsubscribe", "value": "One-Click"}
    ]
    assert ("html", {"lang": "es"}) in tags
    assert {"main", "h1", "title"} <= {tag for tag, _ in tags}
    assert "script" not in {tag for tag, _ in tags}
    assert "Lakeside &amp; Sons" in page.text
    assert page.headers["content-language"] == "es"
    assert "style-src 'sha256-" in page.headers["content-security-policy"]


@pytest.mark.parametrize("body", [{}, {"List-Unsubscribe": "Maybe"}, {"other": "One-Click"}])
def test_a_post_that_says_something_else_changes_nothing(ledger: Engine, web: Web, body: dict[str, str]) -> None:
    path = web.link("unsubscribe", _mailed(ledger, web.household))

    assert web.client.post(path, data=body).status_code == 400
    assert rows(ledger, suppression) == []


def test_a_forged_or_mixed_up_token_gets_a_friendly_page_and_changes_nothing(ledger: Engine, web: Web) -> None:
    touch_id = _mailed(ledger, web.household)
    booking = links.make_token(LINK_KEY, links.BOOK, touch_id)
    gone = links.make_token(LINK_KEY, links.UNSUBSCRIBE, 999_999)

    answers = [web.client.post(f"/u/{token}", data=_ONE_CLICK) for token in (booking, gone, "x", "a" * 200)]
    answers += [web.client.get("/b/nonsense"), web.client.get(f"/u/{booking}")]

    assert {each.status_code for each in answers} == {404}
    assert all("<main>" in each.text for each in answers)
    assert rows(ledger, suppression) == []


def test_a_booking_link_leads_to_the_sites_page_with_the_token(ledger: Engine, web: Web) -> None:
    path = web.link("book", web.household.touches[0])

    answer = web.client.get(path)

    assert answer.status_code == 302
    assert answer.headers["location"] == f"https://book.example.org/north?line=primary&ref={path[3:]}"


def test_a_click_is_noted_once_and_not_for_a_preview(ledger: Engine, web: Web) -> None:
    path = web.link("book", web.household.touches[0])

    web.client.head(path)
    after_preview = rows(ledger, touch_event)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: web.client.get(path), range(8)))

    assert after_preview == []
    assert [each["what"] for each in rows(ledger, touch_event)] == ["clicked"]


def test_an_answers_link_finds_the_site_through_the_number_it_went_to(ledger: Engine, web: Web) -> None:
    with ledger.begin() as conn:
        answer = plan_touch(
            conn,
            organisation_id=web.household.organisation,
            kind="answer",
            contact_point_id=web.household.phone,
        )

    found = web.client.get(web.link("book", answer))

    assert found.headers["location"].startswith("https://book.example.org/north")


def test_where_a_site_has_no_booking_page_the_patient_is_told_to_call(ledger: Engine, web: Web) -> None:
    with ledger.begin() as conn:
        conn.execute(update(site).values(booking_url=None))
        conn.execute(update(patient).values(language="tlh"))

    page = web.client.get(web.link("book", web.household.touches[0]))

    assert page.status_code == 200
    assert "+1 303 555 0100" in page.text
    assert page.headers["content-language"] == "en"


def test_the_address_that_was_written_to_last_is_the_one_unsubscribed(ledger: Engine, web: Web) -> None:
    # the touch itself names none, the claim chose it: first a phone that rejected it, then the mail address
    with ledger.begin() as conn:
        send(conn, web.household, state="rejected", contact_point_id=web.household.phone)
        send(conn, web.household, state="accepted", contact_point_id=web.household.email)

    web.client.post(web.link("unsubscribe", web.household.touches[0]), data=_ONE_CLICK)

    assert {each["contact_point_id"] for each in rows(ledger, suppression)} == {web.household.email, None}
