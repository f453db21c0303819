"""A Twilio-compatible provider: what it takes on, what it refuses, and what it later says became of a message."""

from __future__ import annotations

import time
from base64 import b64decode
from binascii import Error as BadBase64
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from urllib.parse import parse_qs, parse_qsl, urlsplit

from aiohttp import web

from ops.simulator import twilio
from ops.simulator.agenda import Agenda, Kind
from ops.simulator.calls import Call, Caller
from ops.simulator.draws import Draws
from ops.simulator.sms_account import Bucket, SmsAccount, SmsFaults
from ops.simulator.twilio import Message
from ops.simulator.witness import Accepted, Witness

#: Told of every message that reached a patient: contact point, text.
Reached = Callable[[str, str], None]


class SmsProvider:
    """The provider's side: a web application, its messages, and the calls it makes to us."""

    def __init__(
        self,
        account: SmsAccount,
        *,
        draws: Draws,
        now: Callable[[], datetime],
        agenda: Agenda,
        witness: Witness,
        caller: Caller,
        reached: Reached,
        faults: SmsFaults,
    ) -> None:
        self._account = account
        self._draws = draws
        self._now = now
        self._agenda = agenda
        self._witness = witness
        self._caller = caller
        self._reached = reached
        self._faults = faults
        self._messages: dict[str, list[Message]] = {}
        self._requests: Counter[str] = Counter()
        self._inbound: Counter[str] = Counter()
        self._blocked: dict[str, bool] = {}
        self._bucket = Bucket(account.rate_per_second, account.burst)
        self.refused: Counter[int] = Counter()
        """Answers other than 2xx, by error code (503 for unavailable)."""

    def application(self) -> web.Application:
        """Its HTTP interface."""
        application = web.Application()
        path = f"/{twilio.API}/Accounts/{{account}}/Messages.json"
        application.router.add_post(path, self._create)
        application.router.add_get(path, self._list)
        return application

    def text_from_patient(
        self, number: str, text: str, *, begins: Callable[[], None], answered: Callable[[], None]
    ) -> None:
        """A patient texts us now: the carrier reads keywords for itself, then the webhook is called."""
        word = twilio.keyword(text)
        if word in twilio.STOP_WORDS:
            self._blocked[number] = True
        elif word in twilio.START_WORDS:
            self._blocked[number] = False
        self._inbound[number] += 1
        sid = "SM" + self._draws.token("inbound", number, self._inbound[number]) * 2
        fields = {
            "MessageSid": sid,
            "SmsSid": sid,
            "SmsMessageSid": sid,
            "AccountSid": self._account.sid,
            "From": number,
            "To": self._sender_to(number),
            "Body": text,
            "NumMedia": "0",
            "NumSegments": "1",
            "SmsStatus": "received",
            "ApiVersion": twilio.API,
            "FromCountry": "US",
            "ToCountry": "US",
        }
        call = self._signed("reply", f"{self._caller.public_url}/webhooks/sms/inbound", number, fields)
        call.begins, call.answered = begins, answered
        self._caller.plan(call, self._now())

    async def _create(self, request: web.Request) -> web.StreamResponse:
        arrived = time.monotonic()
        form = dict(parse_qsl((await request.read()).decode("utf-8"), keep_blank_values=True))
        to = form.get("To", "")
        code = self._objection(request, form) or self._mishap(to)
        if code == 503:
            self.refused[503] += 1
            return web.Response(status=503, text="upstream connect error")
        if code:
            return self._refuse(code)
        is_silent = self._draws.happens(self._faults.silent, "silent", to, self._requests[to])
        message = self._take_on(form, arrived, reports=not is_silent)
        if is_silent or self._draws.happens(self._faults.lost_answer, "lost answer", to, self._requests[to]):
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=499)
        return web.json_response(message.as_json(), status=201)

    def _refuse(self, code: int) -> web.Response:
        self.refused[code] += 1
        status, body = twilio.refusal(code)
        headers = {"Retry-After": "1"} if code == 20429 else None
        return web.json_response(body, status=status, headers=headers)

    def _objection(self, request: web.Request, form: dict[str, str]) -> int | None:
        """The code of what is wrong with the request, as Twilio would find it."""
        checks = (
            (self._may_enter(request), 20003),
            (request.match_info["account"] == self._account.sid, 20404),
            (bool(form.get("To")), 21604),
            (twilio.is_number(form.get("To", "")), 21211),
            (bool(form.get("From") or form.get("MessagingServiceSid")), 21603),
            (bool(form.get("Body")), 21602),
            (len(form.get("Body", "")) <= 1600, 21617),
            (_is_validity(form.get("ValidityPeriod", "36000")), 21624),
            (_is_address(form.get("StatusCallback")), 21609),
        )
        for is_fine, code in checks:
            if not is_fine:
                return code
        return 21610 if self._is_blocked(form["To"]) else None

    def _mishap(self, to: str) -> int | None:
        """A trouble of the provider's own; decided by the number and how many requests it had."""
        if not self._bucket.admits(self._now()):
            return 20429
        self._requests[to] += 1
        number = self._requests[to]
        if self._draws.happens(self._faults.throttled, "throttled", to, number):
            return 20429
        if self._draws.happens(self._faults.unavailable, "unavailable", to, number):
            return 503
        return None

    def _may_enter(self, request: web.Request) -> bool:
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        try:
            return scheme == "Basic" and b64decode(encoded).decode() == f"{self._account.sid}:{self._account.token}"
        except (BadBase64, UnicodeDecodeError):
            return False

    def _is_blocked(self, number: str) -> bool:
        known = self._blocked.get(number)
        return self._draws.happens(self._faults.opted_out, "opted out before", number) if known is None else known

    def _take_on(self, form: dict[str, str], arrived: float, *, reports: bool) -> Message:
        now, to = self._now(), form["To"]
        earlier = self._messages.setdefault(to, [])
        message = Message(
            sid="SM" + self._draws.token("message", to, len(earlier)) * 2,
            account=self._account.sid,
            to=to,
            sender=form.get("From", ""),
            service=form.get("MessagingServiceSid"),
            body=form["Body"],
            created_at=now,
        )
        number = len(earlier)
        earlier.append(message)
        callback = form.get("StatusCallback", "")
        reference = parse_qs(urlsplit(callback).query).get("ref", [message.sid])[0]
        self._witness.accept(Accepted(now, "sms", to, reference, message.body, arrived))
        deadline = now + timedelta(seconds=int(form.get("ValidityPeriod", twilio.LONGEST_VALIDITY)))
        self._deliver(message, number, callback if reports else "", reference, deadline)
        return message

    def _deliver(self, message: Message, number: int, callback: str, reference: str, deadline: datetime) -> None:
        """Plan what becomes of the message and which receipts tell so."""
        at, to, happens = message.created_at, message.to, self._draws.happens
        if happens(self._faults.delayed, "delayed", to, number):
            at += timedelta(hours=self._draws.whole(1, 6, "delay", to, number))

        async def end() -> None:
            end_status, error = self._end(message, number, deadline)
            message.status, message.error, message.sent_at = end_status, error, self._now()
            if end_status == "delivered":
                if at > message.created_at:
                    self._witness.delivered(reference, at)
                self._reached(to, message.body)
            if callback:
                for status in self._receipts(to, number, end_status):
                    await self._receipt(message, callback, status, error if status == end_status else None)

        self._agenda.add(at, Kind.RECEIPT, to, end)

    def _end(self, message: Message, number: int, deadline: datetime) -> tuple[str, int | None]:
        if self._draws.happens(self._faults.landline, "landline", message.to):
            return "undelivered", 30006
        if self._draws.happens(self._faults.unreachable, "unreachable", message.to, number):
            return "undelivered", 30003
        if self._now() >= deadline:
            return "undelivered", 30036  # validity period expired
        return "delivered", None

    def _receipts(self, to: str, number: int, end: str) -> list[str]:
        statuses = [end]
        if self._draws.happens(self._faults.sent_receipt, "sent receipt", to, number):
            statuses.insert(0, "sent")
        if self._draws.happens(self._faults.disordered_receipt, "disordered", to, number):
            statuses = [end, "sent"]
        if self._draws.happens(self._faults.repeated_receipt, "repeated", to, number):
            statuses.append(end)
        return statuses

    async def _receipt(self, message: Message, callback: str, status: str, error: int | None) -> None:
        fields = {
            "MessageSid": message.sid,
            "SmsSid": message.sid,
            "MessageStatus": status,
            "SmsStatus": status,
            "AccountSid": message.account,
            "From": message.sender,
            "To": message.to,
            "ApiVersion": twilio.API,
        }
        if error is not None:
            fields["ErrorCode"] = str(error)
        await self._caller.make(self._signed("receipt", callback, message.to, fields))

    def _signed(self, label: str, url: str, key: str, fields: dict[str, str]) -> Call:
        signature = twilio.sign(self._account.token, url, fields.items())
        return Call(label, url, key, form=fields, headers={"X-Twilio-Signature": signature})

    def _sender_to(self, number: str) -> str:
        """The number our messages to this patient came from."""
        senders = [message.sender for message in self._messages.get(number, ()) if message.sender]
        return senders[-1] if senders else "+12125550100"

    async def _list(self, request: web.Request) -> web.Response:
        """The messages, newest first, by To and by day of sending (`DateSent`, `DateSent>`, `DateSent<`: UTC days)."""
        if not self._may_enter(request):
            return self._refuse(20003)
        to = request.query.get("To")
        chosen = self._messages.get(to, []) if to else [m for found in self._messages.values() for m in found]
        for name, value in request.query.items():
            if name.startswith("DateSent"):
                day, sign = date.fromisoformat(value), name.removeprefix("DateSent")
                chosen = [m for m in chosen if _is_on(m.sent_at, day, sign)]
        newest = sorted(chosen, key=lambda message: message.created_at, reverse=True)
        return web.json_response(twilio.page(newest, request.path, dict(request.query)))


def _is_validity(text: str) -> bool:
    return text.isdigit() and 1 <= int(text) <= twilio.LONGEST_VALIDITY


def _is_address(url: str | None) -> bool:
    return url is None or url.startswith(("http://", "https://"))


def _is_on(sent_at: datetime | None, day: date, sign: str) -> bool:
    """Whether a day of sending fits `DateSent` (sign empty), `DateSent>` (that day or later) or `DateSent<`."""
    if sent_at is None:
        return False
    sent = sent_at.date()
    return {"": sent == day, ">": sent >= day, "<": sent <= day}.get(sign, False)
