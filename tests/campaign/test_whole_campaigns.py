"""A campaign that uses everything: what is planned, who waits for a season, when it is over, what a preview tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lakeside import NOW, settle
from rulebooks import STANDARD
from sqlalchemy import Engine, update
from welcome_back import SYSTEMS, Lakeside

from domain.ledger import campaigns, deciding, moving, releases, rooms, season_waiting, touches
from domain.ledger.enrolments import enrolment
from domain.ledger.incentives import incentive_offer
from domain.ledger.lapses import lapse
from domain.ledger.patients import patient
from domain.ledger.touches import touch
from domain.ledger.vault import Vault
from ops.cli.previewing import preview_lines
from producers.preview import Preview, preview

EVERYTHING = Path(__file__).parents[2] / "docs/examples/campaign-with-everything.yaml"
FROM_LIBRARY = EVERYTHING.with_name("campaign-from-library.yaml")
DAY = timedelta(days=1)
OCTOBER = datetime(2026, 10, 7, 16, tzinfo=UTC)


@pytest.fixture
def health(ledger: Engine, vault: Vault) -> Lakeside:
    """Lakeside Health, no campaign running."""
    return Lakeside(ledger, vault, settle(ledger))


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Writes the example with pieces of text replaced: each is given before the one that takes its place."""

    def write(*texts: str) -> Path:
        text = EVERYTHING.read_text()
        for before, after in zip(texts[::2], texts[1::2], strict=True):
            assert before in text
            text = text.replace(before, after, 1)
        path = tmp_path / f"campaign-{len(list(tmp_path.iterdir()))}.yaml"
        path.write_text(text)
        return path

    return write


ALL_YEAR = ("enrol_in: [flu, before-reset, after-reset]", "enrol_in: []")


def seen(health: Lakeside, path: Path = EVERYTHING, now: datetime = OCTOBER) -> Preview:
    return preview(health.engine, path, None, STANDARD, ready=SYSTEMS, public_url="https://reach.example.org", now=now)


def channels(health: Lakeside, reference: int) -> list[tuple[int, str]]:
    return [(each["step"], each["channel"]) for each in health.rows(touch, patient_id=reference)]


def test_steps_are_planned_as_they_come_if_nobody_answers_and_everything_arrives(
    health: Lakeside, written: Any
) -> None:
    health.lapsed(2, mail=True)
    health.start(written(*ALL_YEAR))
    with health.engine.begin() as conn:
        conn.execute(update(patient).where(patient.c.id == 2).values(high_risk=True))

    health.enrol()
    treated = {each["patient_id"] for each in health.rows(enrolment, arm="treatment")}

    wanted = {
        1: [(0, "sms"), (1, "email"), (2, "email"), (3, "phone"), (4, "sms")],
        2: [(0, "sms"), (1, "phone"), (2, "phone"), (3, "phone"), (4, "phone")],
    }
    assert treated
    assert {who: channels(health, who) for who in treated} == {who: wanted[who] for who in treated}


def test_who_lapses_out_of_season_waits_for_the_first_day_of_it(health: Lakeside) -> None:
    health.lapsed(3, mail=True)
    health.start(EVERYTHING)

    in_march = health.enrol()
    still = let_in(health, datetime(2026, 8, 31, 18, tzinfo=UTC))
    let = let_in(health, datetime(2026, 9, 1, 18, tzinfo=UTC))
    in_september = health.enrol(datetime(2026, 9, 1, 18, tzinfo=UTC))

    assert in_march == {"out_of_season": 3}
    assert (still, let) == (0, 3)
    assert sum(in_september.values()) == 3
    assert set(in_september) <= {"treatment", "holdout"}


def test_the_season_of_a_benefit_year_comes_to_each_patient_at_their_own_time(health: Lakeside) -> None:
    health.lapsed(3, mail=True)
    health.start(EVERYTHING)
    with health.engine.begin() as conn:
        conn.execute(update(patient).where(patient.c.id == 1).values(payer="medicaid"))
        conn.execute(update(patient).where(patient.c.id == 2).values(payer="commercial", benefit_month=6))

    # eight weeks before 1 June are 6 April, before 1 July 6 May
    found = [health.enrol(NOW.replace(month=4, day=5))]
    for month, day in ((4, 6), (5, 6)):
        now = datetime(2026, month, day, 18, tzinfo=UTC)
        let_in(health, now)
        found.append(health.enrol(now))

    assert found[0] == {"out_of_season": 3}
    assert [sum(each.values()) for each in found[1:]] == [1, 1]
    assert [each["patient_id"] for each in health.rows(enrolment)] == [2, 1]
    assert [each["declined"] for each in health.rows(lapse, patient_id=3)] == ["out_of_season"]


def test_many_whose_season_has_not_begun_where_they_are_do_not_keep_out_few_whose_it_is(health: Lakeside) -> None:
    numbers = health.lapsed(12, mail=True)
    health.start(EVERYTHING)
    health.enrol()
    with health.engine.begin() as conn:
        first = [each["id"] for each in health.rows(patient)][: len(numbers) - 2]
        conn.execute(update(patient).where(patient.c.id.in_(first)).values(zone="Pacific/Honolulu"))

    # midnight in Denver, and still the last of August in Honolulu
    now = datetime(2026, 9, 1, 7, tzinfo=UTC)
    with health.engine.begin() as conn:
        let = season_waiting.let_in(conn, campaigns.running(conn), now, most=5)

    assert let == 2
    assert [each["patient_id"] for each in health.rows(lapse, declined=None)] == [11, 12]


def test_many_that_an_earlier_campaign_takes_do_not_keep_out_few_that_a_later_one_does(
    health: Lakeside, written: Any
) -> None:
    health.lapsed(12, mail=True)
    health.start(EVERYTHING)
    health.start(written("campaign: autumn-invitation", "campaign: later"))
    health.enrol()
    with health.engine.begin() as conn:
        # the earlier one knows only of the flu, the later one of resets as well
        ours = update(patient).where(patient.c.id > 10).values(payer="commercial", benefit_month=6)
        conn.execute(ours)
        earlier, later = campaigns.running(conn)
        earlier = replace(earlier, definition={**earlier.definition, "enrol_in": ["flu"]})
        of_all = {**later.definition, "enrol_in": ["flu", "before-reset"]}
        later = replace(later, definition=of_all)

        in_may = season_waiting.waiting(later, [earlier], datetime(2026, 4, 20, 18, tzinfo=UTC), 5)
        in_october = season_waiting.waiting(later, [earlier], OCTOBER, 5)
        first = season_waiting.waiting(earlier, [], OCTOBER, 5)

        found = [len(conn.scalars(each).all()) for each in (in_may, in_october, first) if each is not None]

    assert found == [2, 0, 5]


@pytest.mark.parametrize("hour", range(0, 24, 3))
def test_the_query_lets_in_exactly_whom_enrolment_then_finds_in_season(health: Lakeside, hour: int) -> None:
    health.lapsed(24, mail=True)
    health.start(EVERYTHING)
    health.enrol()
    zones = ["Pacific/Honolulu", "America/New_York", "Pacific/Kiritimati", None]
    with health.engine.begin() as conn:
        for nth in range(24):
            kind = {"payer": [None, "medicaid", "commercial"][nth % 3], "benefit_month": [None, 7, 11][nth // 3 % 3]}
            mine = update(patient).where(patient.c.id == nth + 1)
            conn.execute(mine.values(zone=zones[nth % 4], **kind))

        for day in (datetime(2026, 5, 6, hour, tzinfo=UTC), datetime(2026, 9, 6, hour, tzinfo=UTC)):
            (version,) = campaigns.running(conn)
            found = season_waiting.waiting(version, [], day, 100)
            rows = deciding.read_lapses(conn, range(1, 25), lapse.c.closed_at.is_(None))
            wanted = {row.id for row in rows if deciding.is_in_season(version, row, day)}

            assert set(conn.scalars(found) if found is not None else ()) == wanted


def test_out_of_season_another_campaign_that_wants_the_lapse_has_it(health: Lakeside, written: Any) -> None:
    health.lapsed(2, mail=True)
    health.start(EVERYTHING)
    health.start(written(*ALL_YEAR, "campaign: autumn-invitation", "campaign: all-year"))

    health.enrol()

    assert {each["campaign_key"] for each in health.rows(enrolment)} == {"all-year"}


def test_a_call_to_make_wakes_no_round_of_the_clock(health: Lakeside, written: Any) -> None:
    health.lapsed(2)
    health.start(written(*ALL_YEAR))
    health.change(high_risk=True)
    health.enrol()
    with health.engine.begin() as conn:
        assert touches.next_due(conn) is not None

        conn.execute(update(touch).values(channel="phone"))

        assert touches.next_due(conn) is None


def let_in(health: Lakeside, now: datetime) -> int:
    with health.engine.begin() as conn:
        return rooms.let_in(conn, campaigns.running(conn), now)


def gone_out(health: Lakeside, steps: Sequence[int]) -> None:
    """These steps of everybody went out on their days."""
    with health.engine.begin() as conn:
        conn.execute(
            update(touch)
            .where(touch.c.step.in_(steps))
            .values(state="accepted", accepted_at=touch.c.due_at, ended_at=touch.c.due_at)
        )


def test_after_four_unanswered_touches_the_last_step_is_revoked_and_a_reminder_planned(
    health: Lakeside, written: Any
) -> None:
    health.lapsed(1, mail=True)
    health.start(written(*ALL_YEAR))
    health.enrol()
    assert health.rows(touch)
    gone_out(health, [0, 1, 2, 3])

    health.review(NOW + 91 * DAY)

    states = [(each["step"], each["kind"], each["state"], each["reason"]) for each in health.rows(touch)][4:]
    assert states == [(4, "outreach", "cancelled", "unanswered"), (5, "reminder", "planned", None)]
    assert health.only(enrolment)["state"] == "graduated"


def test_three_unanswered_touches_are_not_four(health: Lakeside, written: Any) -> None:
    health.lapsed(1, mail=True)
    health.start(written(*ALL_YEAR))
    health.enrol()
    gone_out(health, [0, 1, 2])

    health.review(NOW + 91 * DAY)

    assert health.only(enrolment)["state"] == "waiting"
    assert not health.rows(touch, kind="reminder")


def test_a_move_finds_one_row_for_a_step_whatever_channel_it_was_planned_on(health: Lakeside, written: Any) -> None:
    health.lapsed(4, mail=True)
    health.start(written(*ALL_YEAR))
    health.enrol()
    other = ("{day: 30, channels: [email, sms], only_if: no_reply}", "{day: 30, channels: [sms]}")
    health.start(written(*ALL_YEAR, *other), NOW + DAY)

    with health.engine.begin() as conn:
        (running,) = campaigns.running(conn)
        moved = moving.move(conn, running, SYSTEMS, STANDARD, who="Maya Ortiz", now=NOW + DAY)

    treated = len(health.rows(enrolment, arm="treatment"))
    assert moved.moved == 4
    assert treated
    assert Counter(each["channel"] for each in health.rows(touch, step=2)) == {"sms": treated}
    assert {each["state"] for each in health.rows(touch)} == {"planned"}


def test_a_preview_tells_who_waits_for_a_season_and_starts_nothing(health: Lakeside) -> None:
    health.lapsed(3, mail=True)
    health.notice()

    result = seen(health, now=NOW)

    assert result.declined == {"out_of_season": 3}
    assert not result.enrolled


def test_a_preview_has_the_words_of_each_days_season_the_calls_and_the_offers(health: Lakeside) -> None:
    health.lapsed(20, mail=True)
    health.change(payer="commercial", high_risk=True)
    health.notice(OCTOBER)

    result = seen(health)

    treated = sum(result.enrolled.values(), Counter())["treatment"]
    bodies = {said.body for _, _, said in result.said if said.channel == "sms"}
    assert any("October is a good month" in body for body in bodies)
    assert sum(count for (_, step, said), count in result.said.items() if said.channel == "phone") == 3 * treated
    assert max(step for kind, step, _ in result.said if kind == "outreach") == 3
    # in its season a seasonal text goes before an offer
    assert not result.offers
    told = "\n".join(preview_lines(result))
    for line in (
        "step 1 goes by email if undelivered",
        "step 2 is sent only if no_reply",
        "a person calls patients at high risk from step 1 on",
        "after 4 touches without reply or click only light reminders follow",
        "it enrols in flu or before-reset or after-reset only",
    ):
        assert f"  {line}\n" in told


def test_a_preview_offers_within_the_ceilings_of_each_patients_year(health: Lakeside, written: Any) -> None:
    health.lapsed(20)
    path = written(*ALL_YEAR)
    health.start(path)
    health.enrol()
    for each in health.rows(enrolment)[:10]:
        with health.engine.begin() as conn:
            conn.execute(
                incentive_offer.insert().values(
                    organisation_id=health.organisation,
                    patient_id=each["patient_id"],
                    enrolment_id=each["id"],
                    incentive="umbrella",
                    cents=7000,
                    year=NOW.year,
                    is_federal=True,
                    offered_at=NOW,
                )
            )
    with health.engine.begin() as conn:
        conn.execute(touch.delete())
        conn.execute(update(enrolment).values(ended_at=NOW, state="finished", reason="finished"))
        conn.execute(update(lapse).values(closed_at=NOW, closed_by="visit"))
        # found inactive again
        for each in conn.execute(lapse.select()).mappings().all():
            again = {"closed_at": None, "closed_by": None, "decided_at": None, "declined": None}
            kept = {name: value for name, value in each.items() if name != "id"}
            conn.execute(lapse.insert().values(**kept | again))

    result = seen(health, path, NOW)

    treated = sum(result.enrolled.values(), Counter())["treatment"]
    told = result.offers["bottle"]
    assert 0 < told["patients"] < treated
    assert told["cents"] == 800 * told["patients"]


@pytest.mark.parametrize(("now", "steps"), [(NOW, {0, 1}), (NOW - 5 * DAY, {1}), (NOW.replace(month=6), set[int]())])
def test_a_recall_stops_what_would_say_a_seasons_words_on_its_day(
    health: Lakeside, tmp_path: Path, now: datetime, steps: set[int]
) -> None:
    path = tmp_path / "campaign.yaml"
    path.write_text(f"{FROM_LIBRARY.read_text()}  - spring-walk@1\n")
    health.lapsed(5)
    health.start(path, now)
    health.enrol(now)
    treated = len(health.rows(enrolment, arm="treatment"))

    with health.engine.begin() as conn:
        found = releases.recall(
            conn, health.organisation, "spring-walk", 1, who="Maya Ortiz", why="a wrong word", now=now
        )

    assert treated
    assert found.stopped == len(steps) * treated
