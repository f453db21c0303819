"""The SMS provider: what it takes, refuses, loses and later reports, over real sockets."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import ServerDisconnectedError

from ops.simulator import twilio
from ops.simulator.ehr import World
from ops.simulator.sms_account import SmsFaults
from tests.simulator.conftest import LOGIN, Scene, entry, on_stage, run

TO = "+12125550142"
STATUS = "/webhooks/sms/status"


def statuses(scene: Scene) -> list[str]:
    return [dict(parse_qsl(body.decode()))["MessageStatus"] for body in scene.ours.to(STATUS)]


def with_faults(**faults: float) -> SmsFaults:
    return replace(SmsFaults.none(), **faults)


def test_a_message_is_taken_reported_sent_and_delivered_and_signed_as_twilio_signs(
    tmp_path: Path, small_world: World
) -> None:
    async def scenario() -> None:
        async with on_stage(tmp_path, small_world) as scene:
            status, answer = await scene.text(TO, ref="abc")
            assert (status, answer["status"], answer["to"]) == (201, "accepted", TO)
            assert scene.ours.to(STATUS) == []

            await scene.stage.advance()

            assert statuses(scene) == ["sent", "delivered"]
            method, path, headers, body = next(call for call in scene.ours.calls if call[1].startswith(STATUS))
            signed = twilio.sign(LOGIN.sms.token, scene.ours.url + path, parse_qsl(body.decode()))
            assert (method, path) == ("POST", f"{STATUS}?ref=abc")
            assert headers["X-Twilio-Signature"] == signed
            assert dict(parse_qsl(body.decode()))["MessageSid"] == answer["sid"]
            assert scene.stage.witness.references() == ["abc"]

    run(scenario())


@pytest.mark.parametrize(
    ("fields", "code", "status"),
    [
        ({"To": "+1555"}, 21211, 400),
        ({"To": ""}, 21604, 400),
        ({"From": ""}, 21603, 400),
        ({"Body": ""}, 21602, 400),
        ({"Body": "x" * 1601}, 21617, 400),
        ({"ValidityPeriod": "0"}, 21624, 400),
        ({"ValidityPeriod": "36001"}, 21624, 400),
        ({"ValidityPeriod": "soon"}, 21624, 400),
        ({"StatusCallback": "ftp://example.org"}, 21609, 400),
    ],
)
def test_a_malformed_request_is_refused_with_its_code(
    tmp_path: Path, small_world: World, fields: dict[str, str], code: int, status: int
) -> None:
    async def scenario() -> None:
        async with on_stage(tmp_path, small_world) as scene:
            found, answer = await scene.text(**{"to": TO, **fields})

            assert (found, answer["code"]) == (status, code)
            assert scene.stage.witness.accepted()["sms"] == 0
            assert scene.stage.sms.refused[code] == 1

    run(scenario())


def test_a_list_is_read_page_by_page_newest_first_and_new_messages_move_nothing(
    tmp_path: Path, small_world: World
) -> None:
    async def scenario() -> None:
        async with on_stage(tmp_path, small_world) as scene:
            base = scene.sms_url.partition("/2010-04-01")[0]
            sids = []
            for _ in range(5):
                sids.append((await scene.text(TO))[1]["sid"])
                scene.clock.pass_by(minutes=1)
            await scene.text("+12125550143")
            found, uris = [], []
            path: str | None = scene.sms_url.removeprefix(base) + f"?To=%2B{TO[1:]}&PageSize=2"
            while path is not None:
                async with scene.http.get(base + path, headers=entry()) as response:
                    page = await response.json()
                found += [each["sid"] for each in page["messages"]]
                path = page["next_page_uri"]
                uris.append(path)
                await scene.text(TO)

            assert found == sids[::-1]
            assert [uri is None for uri in uris] == [False, False, True]
            assert "PageToken=PA" in uris[0]
            assert {each["date_sent"] for each in page["messages"]} == {None}

    run(scenario())


def test_a_wrong_password_or_account_is_refused(tmp_path: Path, small_world: World) -> None:
    async def scenario() -> None:
        async with on_stage(tmp_path, small_world) as scene:
            async with scene.http.post(scene.sms_url, data={"To": TO}, headers=entry("guess")) as response:
                assert response.status == 401
            async with scene.http.get(scene.sms_url) as response:
                assert response.status == 401
            elsewhere = scene.sms_url.replace(LOGIN.sms.sid, "AC0")
            async with scene.http.post(elsewhere, data={"To": TO}, headers=entry()) as response:
                assert response.status == 404

    run(scenario())


def test_a_number_that_wrote_stop_is_blocked_until_it_writes_start(tmp_path: Path, small_world: World) -> None:
    async def scenario() -> None:
        async with on_stage(tmp_path, small_world) as scene:
            send = scene.stage.sms.text_from_patient
            send(TO, "stop.", begins=lambda: None, answered=lambda: None)
            assert (await scene.text(TO))[1]["code"] == 21610

            send(TO, "Start", begins=lambda: None, answered=lambda: None)
            assert (await scene.text(TO))[0] == 201

            send(TO, "stop please", begins=lambda: None, answered=lambda: None)
            assert (await scene.text(TO))[0] == 201

    run(scenario())


def test_some_numbers_opted_out_before_the_story_began(tmp_path: Path, small_world: World) -> None:
    async def scenario() -> None:
        async with on_stage(tmp_path, small_world, sms_faults=with_faults(opted_out=1.0)) as scene:
            assert (await scene.text(TO))[1]["code"] == 21610

    run(scenario())


def test_a_reply_is_signed_and_repeated_until_it_is_answered(tmp_path: Path, small_world: World) -> None:
    async def scenario() -> None:
        async with on_stage(tmp_path, small_world) as scene:
            events: list[str] = []
            scene.ours.status = 500
            scene.stage.sms.text_from_patient(
                TO, "ALTO", begins=lambda: events.append("begins"), answered=lambda: events.append("answered")
            )
            await scene.stage.advance()
            assert events == ["begins"]

            scene.ours.status = 200
            await scene.stage.advance()

            assert events == ["begins", "begins", "answered"]
            first, second = (call for call in scene.ours.calls if call[1] == "/webhooks/sms/inbound")
            fields = dict(parse_qsl(first[3].decode()))
            assert (fields["From"], fields["Body"]) == (TO, "ALTO")
            assert first[3] == second[3]
            assert first[2]["X-Twilio-Signature"] == twilio.sign(
                LOGIN.sms.token, f"{scene.ours.url}/webhooks/sms/inbound", fields.items()
            )
            assert scene.stage.caller.failed["reply:500"] == 1
            assert scene.stage.caller.answered["reply"] == 1

    run(scenario())


def test_a_reply_is_repeated_hourly_once_prompt_tries_have_failed(tmp_path: Path, small_world: World) -> None:
    async def scenario() -> None:
        async with on_stage(tmp_path, small_world) as scene:
            scene.ours.status = 403
            answered: list[bool] = []
            scene.stage.sms.text_from_patient(TO, "STOP", begins=lambda: None, answered=lambda: answered.append(True))
            for _ in range(5):
                await scene.stage.advance()
            assert scene.stage.caller.failed["reply:403"] == 3

            scene.ours.status = 204
            scene.clock.pass_by(hours=1)
            await scene.stage.advance()

            assert answered == [True]

    run(scenario())


def test_landlines_and_unreachable_numbers_are_reported_undelivered(tmp_path: Path, small_world: World) -> None:
    async def scenario(fault: str) -> Any:
        async with on_stage(tmp_path, small_world, sms_faults=with_faults(**{fault: 1.0})) as scene:
            assert (await scene.text(TO))[0] == 201
            await scene.stage.advance()
            return [dict(parse_qsl(body.decode())) for body in scene.ours.to(STATUS)]

    sent, undelivered = run(scenario("landline"))
    assert (sent["MessageStatus"], "ErrorCode" in sent) == ("sent", False)
    assert (undelivered["MessageStatus"], undelivered["ErrorCode"]) == ("undelivered", "30006")
    assert run(scenario("unreachable"))[1]["ErrorCode"] == "30003"


def test_receipts_may_come_twice_and_in_disorder(tmp_path: Path, small_world: World) -> None:
    async def scenario() -> None:
        faults = with_faults(repeated_receipt=1.0, disordered_receipt=1.0)
        async with on_stage(tmp_path, small_world, sms_faults=faults) as scene:
            await scene.text(TO)
            await scene.stage.advance()

            assert statuses(scene) == ["delivered", "sent", "delivered"]

    run(scenario())


def test_an_answer_may_get_lost_though_the_message_was_taken(tmp_path: Path, small_world: World) -> None:
    async def scenario() -> None:
        async with on_stage(tmp_path, small_world, sms_faults=with_faults(lost_answer=1.0)) as scene:
            with pytest.raises(ServerDisconnectedError):
                await scene.text(TO, ref="lost")

            assert scene.stage.witness.references() == ["lost"]
            await scene.stage.advance()
            assert statuses(scene) == ["sent", "delivered"]

    run(scenario())


def test_of_a_silent_message_only_the_list_tells(tmp_path: Path, small_world: World) -> None:
    async def scenario() -> None:
        async with on_stage(tmp_path, small_world, sms_faults=with_faults(silent=1.0)) as scene:
            with pytest.raises(ServerDisconnectedError):
                await scene.text(TO, ref="silent")

            await scene.stage.advance()

            assert (scene.stage.witness.references(), statuses(scene)) == (["silent"], [])
            async with scene.http.get(scene.sms_url, params={"To": TO}, headers=entry()) as response:
                listed = (await response.json())["messages"]
            assert [message["status"] for message in listed] == ["delivered"]

    run(scenario())


def test_an_unavailable_or_throttling_provider_has_not_taken_the_message(tmp_path: Path, small_world: World) -> None:
    async def scenario() -> None:
        async with on_stage(tmp_path, small_world, sms_faults=with_faults(throttled=1.0)) as scene:
            assert (await scene.text(TO))[0] == 429
            assert scene.stage.witness.accepted()["sms"] == 0
        async with on_stage(tmp_path, small_world, sms_faults=with_faults(unavailable=1.0)) as scene:
            form = {"To": TO, "From": "+12125550100", "Body": "x"}
            async with scene.http.post(scene.sms_url, data=form, headers=entry()) as response:
                assert response.status == 503
            assert scene.stage.witness.accepted()["sms"] == 0

    run(scenario())


def test_above_the_rate_messages_are_throttled_until_time_passes(tmp_path: Path, small_world: World) -> None:
    login = replace(LOGIN, sms=replace(LOGIN.sms, rate_per_second=2.0, burst=3))

    async def scenario() -> None:
        async with on_stage(tmp_path, small_world, login=login) as scene:
            first = [(await scene.text(TO, ref=str(number)))[0] for number in range(5)]
            scene.clock.pass_by(seconds=1)
            then = [(await scene.text(TO, ref=str(number)))[0] for number in range(3)]

            assert first == [201, 201, 201, 429, 429]
            assert then == [201, 201, 429]

    run(scenario())


def test_a_message_held_up_past_its_validity_is_never_delivered(tmp_path: Path, small_world: World) -> None:
    async def scenario() -> None:
        async with on_stage(tmp_path, small_world, sms_faults=with_faults(delayed=1.0)) as scene:
            await scene.text(TO, ref="short", ValidityPeriod="60")
            await scene.stage.advance()
            assert scene.ours.to(STATUS) == []

            scene.clock.pass_by(hours=6)
            await scene.stage.advance()

            last = dict(parse_qsl(scene.ours.to(STATUS)[-1].decode()))
            assert (last["MessageStatus"], last["ErrorCode"]) == ("undelivered", "30036")

    run(scenario())


def test_messages_are_listed_by_number_and_day_newest_first(tmp_path: Path, small_world: World) -> None:
    async def scenario() -> None:
        async with on_stage(tmp_path, small_world) as scene:

            async def listed(**query: str) -> list[str]:
                async with scene.http.get(scene.sms_url, params=query, headers=entry()) as response:
                    return [message["body"] for message in (await response.json())["messages"]]

            await scene.text(TO, "first", "r1")
            await scene.stage.advance()
            scene.clock.pass_by(days=1)
            await scene.text(TO, "second", "r2")
            await scene.text("+12125550143", "another's", "r3")
            await scene.stage.advance()
            today = scene.clock.at.date()

            assert await listed(To=TO) == ["second", "first"]
            assert await listed(To=TO, DateSent=today.isoformat()) == ["second"]
            assert await listed(**{"To": TO, "DateSent<": (today - timedelta(days=1)).isoformat()}) == ["first"]
            assert await listed(**{"DateSent>": today.isoformat(), "PageSize": "1"}) in (["second"], ["another's"])

    run(scenario())
