"""How the population behaves over a year: who returns unasked, what outreach adds, and that order changes nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from domain.rules.replies.intent import understand
from domain.rules.vocabulary import Effect, Intent
from ops.simulator import texts
from ops.simulator.agenda import SLOT_HOURS
from ops.simulator.calls import Call, Caller
from ops.simulator.draws import Draws
from ops.simulator.ehr import World, generate
from ops.simulator.news import News
from ops.simulator.people import Person
from ops.simulator.provider_smtp import Mail
from ops.simulator.stage import Stage
from tests.simulator.conftest import LOGIN, Clock, Scene, on_stage, run

START = datetime(2025, 1, 6, tzinfo=UTC)
URL = "http://ours.example"
#: Day and channel of the cadence, the light reminder included.
CADENCE = ((1, "sms"), (11, "email"), (31, "sms"), (91, "email"), (181, "sms"), (301, "email"))


@dataclass
class Year:
    """What a year on stage came to."""

    news: list[News]
    did: Counter[str]
    calls: list[tuple[str, str]]

    def returned(self, people: Sequence[Person]) -> float:
        came = {item.about for item in self.news if item.name == "appointment.fulfilled"}
        return sum(person.key in came for person in people) / len(people)


class AnsweringCaller(Caller):
    """Every call is answered 204 at once."""

    seen: list[tuple[str, str]]

    async def _request(self, call: Call) -> int:
        self.seen.append((call.label, call.url))
        return 204


def live_through_a_year(
    world: World, treated: Sequence[Person], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> Year:
    """The stage without sockets: messages reach their readers, calls are answered at once."""
    monkeypatch.setattr("ops.simulator.stage.Caller", AnsweringCaller)
    news: list[News] = []
    clock = Clock(world.start)

    async def scenario() -> Year:
        stage = Stage(world, directory, clock.now, LOGIN)
        caller = stage.caller
        assert isinstance(caller, AnsweringCaller)
        caller.seen = []
        stage.diary.tell = news.append
        await stage.begin(URL, {"transport": "http"})
        touches = [(world.start + timedelta(days=day, hours=17), channel) for day, channel in CADENCE]
        while True:
            await stage.advance()
            due = [at for at in (stage.agenda.next_at(), touches[0][0] if touches else None) if at is not None]
            if not due or min(due) > world.end:
                break
            clock.at = max(clock.at, min(due))
            if touches and touches[0][0] <= clock.at:
                deliver(stage, touches.pop(0)[1], treated)
        await stage.close()
        return Year(news, stage.patients.did, caller.seen)

    return asyncio.run(scenario())


def deliver(stage: Stage, channel: str, treated: Sequence[Person]) -> None:
    for person in treated:
        if stage.witness.is_opted_out(person.phone or "") or stage.witness.is_opted_out(person.email or ""):
            continue
        if channel == "sms" and person.phone:
            stage.patients.text_arrived(person.phone, f"Hi {person.given}: {URL}/b/{person.key}")
        elif person.email:
            text = f"Hi {person.given}: {URL}/b/{person.key}"
            stage.patients.mail_arrived(Mail(person.email, text, f"{URL}/u/{person.key}"))


@pytest.fixture(scope="module")
def world() -> World:
    return generate(21, patients=6000, start=START)


@pytest.fixture
def lapsed(world: World) -> list[Person]:
    return list({care.person.key: care.person for care in world.lapsed}.values())


def test_one_in_five_returns_unasked_and_outreach_adds_six_to_nine_points(
    world: World, lapsed: list[Person], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = live_through_a_year(world, [], tmp_path, monkeypatch)
    reached = live_through_a_year(world, lapsed, tmp_path, monkeypatch)

    unasked, asked = alone.returned(lapsed), reached.returned(lapsed)

    assert 0.17 < unasked < 0.23
    assert 0.055 < asked - unasked < 0.095
    assert reached.did["stop"] > 10
    assert reached.did["unsubscribe"] > 10
    assert not alone.did


def test_a_year_brings_no_more_news_than_a_health_system_of_this_size_has(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    year = live_through_a_year(world, [], tmp_path, monkeypatch)

    names = Counter(item.name for item in year.news)

    assert 8_000 < len(year.news) < 15_000
    assert len({item.id for item in year.news}) == len(year.news)
    assert {"appointment.booked", "appointment.fulfilled", "appointment.noshow", "appointment.cancelled"} <= set(names)
    assert {"patient.deceased", "patient.updated", "caregap.closed", "caregap.opened"} <= set(names)
    assert all(item.at == item.at.replace(minute=0, second=0, microsecond=0) for item in year.news)


def test_the_order_in_which_messages_arrive_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = generate(21, patients=800, start=START)
    # households are left out: who answers on a shared phone depends on whom the message is for
    phones = Counter(person.phone for person in small.people)
    mails = Counter(person.email for person in small.people)
    treated = [
        person
        for person in {care.person.key: care.person for care in small.lapsed}.values()
        if phones[person.phone] == 1 and mails[person.email] == 1
    ]

    forwards = live_through_a_year(small, treated, tmp_path, monkeypatch)
    backwards = live_through_a_year(small, treated[::-1], tmp_path, monkeypatch)

    assert forwards.did == backwards.did
    assert {(item.id, item.at) for item in forwards.news} == {(item.id, item.at) for item in backwards.news}
    assert sorted(forwards.calls) == sorted(backwards.calls)


def with_reaction(reaction: str) -> Callable[..., float]:
    """A draw that makes every patient react in one way to a text, an hour after it."""
    chances = {"book": 0.001, "link": 0.025, "stop": 0.038, "help": 0.0435}

    def fraction(_: Draws, purpose: str, *_about: object) -> float:
        return {"reaction": chances[reaction], "after": 0.0}.get(purpose, 0.5)

    return fraction


def someone_lapsed(scene: Scene) -> Person:
    return next(
        care.person
        for care in scene.world.lapsed
        if care.person.phone and care.person.language == "en" and scene.stage.diary.wants_back(care.person)
    )


async def react(scene: Scene, monkeypatch: pytest.MonkeyPatch, reaction: str) -> Person:
    """Text someone who is lapsed and let time pass until they have reacted."""
    person = someone_lapsed(scene)
    monkeypatch.setattr(Draws, "fraction", with_reaction(reaction))
    await scene.text(person.phone or "", f"Hi {person.given}: {scene.ours.url}/b/xyz Reply STOP to opt out")
    await scene.stage.advance()
    scene.clock.pass_by(hours=SLOT_HOURS)
    await scene.stage.advance()
    return person


def test_who_answers_yes_is_booked_at_the_desks_next_slot(
    tmp_path: Path, small_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with on_stage(tmp_path, small_world) as scene:
            person = await react(scene, monkeypatch, "book")
            (reply,) = scene.ours.to("/webhooks/sms/inbound")
            said = understand(dict(parse_qsl(reply.decode()))["Body"])
            assert said.intent is Intent.BOOK
            assert scene.stage.diary.wants_back(person)

            scene.clock.pass_by(hours=SLOT_HOURS)
            await scene.stage.advance()

            assert not scene.stage.diary.wants_back(person)
            assert any(b"appointment.booked" in body and person.mrn_at(person.site).encode() in body
                       for body in scene.ours.to("/events"))  # fmt: skip

    run(scenario())


def test_who_follows_the_link_is_booked_and_who_meets_an_error_is_not(
    tmp_path: Path, small_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(status: int) -> bool:
        async with on_stage(tmp_path, small_world) as scene:
            scene.ours.status = status
            person = await react(scene, monkeypatch, "link")
            assert len(scene.ours.to("/b/xyz")) == 1
            scene.clock.pass_by(hours=SLOT_HOURS)
            await scene.stage.advance()
            return scene.stage.diary.wants_back(person)

    assert run(scenario(302)) is False
    monkeypatch.undo()
    assert run(scenario(404)) is True


def test_who_stops_is_known_to_the_witness_only_once_our_web_has_answered(
    tmp_path: Path, small_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with on_stage(tmp_path, small_world) as scene:
            scene.ours.status = 503
            person = await react(scene, monkeypatch, "stop")
            assert not scene.stage.witness.is_opted_out(person.phone or "")

            scene.ours.status = 200
            await scene.stage.advance()

            assert scene.stage.witness.is_opted_out(person.phone or "")

    run(scenario())


def test_an_answer_to_one_s_own_words_is_not_answered(
    tmp_path: Path, small_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with on_stage(tmp_path, small_world) as scene:
            person = await react(scene, monkeypatch, "help")
            await scene.text(person.phone or "", "Call us any time.", ref="r2")
            await scene.stage.advance()
            scene.clock.pass_by(days=3)
            await scene.stage.advance()

            assert len(scene.ours.to("/webhooks/sms/inbound")) == 1
            assert scene.stage.witness.answers() == 1

    run(scenario())


def test_a_mail_program_unsubscribes_with_one_post_and_a_scanner_changes_nothing(
    tmp_path: Path, small_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(reaction: float, scans: float) -> tuple[list[str], bool]:
        def fraction(_: Draws, purpose: str, *_about: object) -> float:
            return {"reaction": reaction, "scans links": scans, "after": 0.0}.get(purpose, 0.5)

        async with on_stage(tmp_path, small_world) as scene:
            person = next(care.person for care in scene.world.lapsed if care.person.email)
            with monkeypatch.context() as patch:
                patch.setattr(Draws, "fraction", fraction)
                url = f"{scene.ours.url}/u/1"
                scene.stage.patients.mail_arrived(Mail(person.email or "", f"{scene.ours.url}/b/1", url))
                scene.clock.pass_by(hours=SLOT_HOURS)
                await scene.stage.advance()
            asked = [f"{method} {path}" for method, path, _, _ in scene.ours.calls if path.startswith(("/u", "/b"))]
            return sorted(asked), scene.stage.witness.is_opted_out(person.email or "")

    assert run(scenario(reaction=0.0245, scans=0.9)) == (["POST /u/1"], True)
    assert run(scenario(reaction=0.9, scans=0.0)) == (["GET /b/1", "GET /u/1"], False)


@pytest.mark.parametrize("words", [word for forms in texts.STOP.values() for word in forms])
def test_every_refusal_the_witness_holds_us_to_is_one_we_promise_to_understand(words: str) -> None:
    said = understand(words)

    assert said.intent is Intent.OPT_OUT


@pytest.mark.parametrize("words", [word for forms in texts.REFUSAL.values() for word in forms])
def test_a_refusal_in_free_words_is_understood_too(words: str) -> None:
    said = understand(words)

    assert (said.intent, said.is_keyword) == (Intent.OPT_OUT, False)


@pytest.mark.parametrize(
    ("words", "effect"),
    [
        (word, effect)
        for wording, effect in (
            (texts.DANGER, Effect.URGENT),
            (texts.WRONG_NUMBER, Effect.WRONG_NUMBER),
            (texts.DIED, Effect.DECEASED),
        )
        for forms in wording.values()
        for word in forms
    ],
)
def test_what_concerns_the_owner_of_a_number_is_understood(words: str, effect: Effect) -> None:
    assert effect in understand(words).effects


@pytest.mark.parametrize("words", [word for forms in texts.OTHER.values() for word in forms])
def test_what_else_patients_write_is_no_choice(words: str) -> None:
    said = understand(words)

    assert {Effect.OPT_OUT, Effect.OPT_IN, Effect.BOOK}.isdisjoint(said.effects)
