"""What a mail relay may do with a message at each stage of the dialogue, and what must come of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from aiosmtpd.smtp import SMTP
from channel_harness import NOW, Case, Provider, deaf_port, outgoing, refusing_port
from scripted_relay import DROP, HANG, Mail, Relay, ScriptedRelay

from channels.kit.contract import Outcome, OutcomeKind, SideEffect

ACCEPTED, REJECTED, THROTTLED = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED, OutcomeKind.THROTTLED
RETRY, UNCERTAIN = OutcomeKind.RETRY, OutcomeKind.UNCERTAIN
BAD, PAUSE = SideEffect.BAD_ADDRESS, SideEffect.PAUSE_CHANNEL

MESSAGE = outgoing(to="pat@example.com", subject="It is time for a visit")
MESSAGE_ID = "abcdefghijklmnopqrstuvwx27@example.org"
TAKEN = Outcome(ACCEPTED, MESSAGE_ID)
IMPATIENT = {"REACTIVATE_SMTP_TIMEOUT_SECONDS": "0.5"}
#: Long enough for the final dot to be reached, also on a machine that has much else to do.
REACHING = {"REACTIVATE_SMTP_TIMEOUT_SECONDS": "3"}

#: Where there is none: nobody listens, or nobody accepts.
REFUSE, DEAF = "REFUSE", "DEAF"


@asynccontextmanager
async def provider(script: Relay | str) -> AsyncIterator[Provider]:
    """A relay over a real socket that behaves as the script says."""
    if isinstance(script, str):
        async with refusing_port() if script == REFUSE else deaf_port() as port:
            yield Provider(_environ(port))
        return
    over, up, open_ = asyncio.Event(), Provider({}), []

    def accept() -> SMTP:
        open_.append(ScriptedRelay(script, up, over))
        return open_[-1]

    server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
    up.environ = _environ(server.sockets[0].getsockname()[1])
    try:
        yield up
    finally:
        over.set()
        server.close()
        await server.wait_closed()
        for connection in open_:
            await _finish(connection)


async def _finish(connection: SMTP) -> None:
    handler = connection._handler_coroutine
    if connection.transport is not None:
        connection.transport.close()
    if handler is not None:
        handler.cancel()
        await asyncio.gather(handler, return_exceptions=True)


def _environ(port: int) -> dict[str, str]:
    return {
        "REACTIVATE_SMTP_HOST": "localhost",
        "REACTIVATE_SMTP_PORT": str(port),
        "REACTIVATE_SMTP_TLS": "none",
        "REACTIVATE_SMTP_FROM": "Lakeside Health <care@example.org>",
    }


def says(stage: str, reply: str) -> Relay:
    """A relay that answers so at this stage."""
    return Relay({stage: reply})


def _parts(mail: Mail) -> list[str]:
    return [part.get_content().replace("\r\n", "\n") for part in mail.content.iter_parts()]


def _is_the_message(mail: Mail) -> None:
    content = mail.content
    assert (mail.sender, mail.recipients) == ("care@example.org", ["pat@example.com"])
    assert content["From"] == "Lakeside Health <care@example.org>"
    assert content["To"] == "pat@example.com"
    assert content["Subject"] == "It is time for a visit"
    assert content["Date"].datetime == NOW
    assert content["Message-ID"] == f"<{MESSAGE_ID}>"
    assert content["List-Unsubscribe"] is content["Auto-Submitted"] is content["Reply-To"] is None
    assert content.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in content.iter_parts()] == ["text/plain", "text/html"]
    plain, html = _parts(mail)
    assert plain == "Lakeside Health: it is time for a visit. Reply STOP to end.\n"
    assert "<p>Lakeside Health: it is time for a visit. Reply STOP to end.</p>" in html


def _can_be_unsubscribed(mail: Mail) -> None:
    address = b"https://outreach.a-rather-long-name-of-a-health-system.example.org/u/" + b"x" * 22
    assert b"\r\nList-Unsubscribe: <" + address + b">\r\n" in mail.raw
    assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in mail.raw


def _is_an_answer(mail: Mail) -> None:
    assert mail.content["Auto-Submitted"] == "auto-replied"
    assert mail.content["Reply-To"] == "desk@example.org"


def _has_one_subject_and_no_more_headers(mail: Mail) -> None:
    assert mail.content["Subject"] == "Hello Bcc: everyone@example.net X: y"
    assert mail.content["Bcc"] is None
    assert mail.content["X"] is None
    assert mail.recipients == ["pat@example.com"]


def _kept_its_lines(mail: Mail) -> None:
    plain, html = _parts(mail)
    assert plain == ".\n..two\nÁ <b>&\n\nhttps://example.org/b/x?a=1&b=2.\n"
    assert "Á &lt;b&gt;&amp;" in html
    assert '<a href="https://example.org/b/x?a=1&amp;b=2">https://example.org/b/x?a=1&amp;b=2</a>.</p>' in html
    assert '<html lang="es">' in html
    assert mail.raw.isascii()


def _names_the_organisation(mail: Mail) -> None:
    assert mail.content["From"] == "Lakeside Health <care@example.org>"
    assert mail.content["Subject"] == "Lakeside Health"


def _went_to_the_ascii_domain(mail: Mail) -> None:
    assert mail.recipients == ["pat@xn--bcher-kva.example"]


CASES = [
    Case("a message is taken", Relay(), TAKEN, check=_is_the_message),
    Case(
        "one-click unsubscribe",
        Relay(),
        TAKEN,
        message={"unsubscribe_url": "https://outreach.a-rather-long-name-of-a-health-system.example.org/u/" + "x" * 22},
        check=_can_be_unsubscribed,
    ),
    Case(
        "an answer says that it is automatic",
        Relay(),
        TAKEN,
        message={"is_answer": True},
        environ={"REACTIVATE_SMTP_REPLY_TO": "desk@example.org"},
        check=_is_an_answer,
    ),
    Case(
        "a subject cannot add headers",
        Relay(),
        TAKEN,
        message={"subject": "Hello\r\nBcc: everyone@example.net\n\x00X: y\u2028"},
        check=_has_one_subject_and_no_more_headers,
    ),
    Case(
        "dots, markup and letters arrive",
        Relay(),
        TAKEN,
        message={"body": ".\n..two\nÁ <b>&\n\nhttps://example.org/b/x?a=1&b=2.", "language": "es"},
        check=_kept_its_lines,
    ),
    Case(
        "without names the organisation's",
        Relay(),
        TAKEN,
        message={"subject": None},
        environ={"REACTIVATE_SMTP_FROM": "care@example.org"},
        check=_names_the_organisation,
    ),
    Case(
        "an international domain", Relay(), TAKEN, message={"to": "pat@bücher.example"}, check=_went_to_the_ascii_domain
    ),
    Case(
        "a closed window",
        Relay(),
        Outcome(RETRY, code="window_closed"),
        message={"valid_until": NOW},
        calls=0,
    ),
    *(
        Case(
            f"no address {number}",
            Relay(),
            Outcome(REJECTED, code="malformed_address", effect=BAD),
            message={"to": to},
            calls=0,
        )
        for number, to in enumerate(
            [
                "",
                "pat",
                "pat@",
                "@example.com",
                "a b@example.com",
                "pat@example.com>\r\nRCPT TO:<x@example.net",
                "päť@example.com",
                "pat@example..com",
                "pat@-example.com",
                "pat@" + "x" * 64 + ".com",
                "pat\x00@example.com",
            ]
        )
    ),
    # the recipient
    *(
        Case(f"RCPT {code}", says("RCPT", f"550 {code} no"), Outcome(REJECTED, code=code, effect=BAD), calls=0)
        for code in ("5.1.1", "5.1.2", "5.1.6", "5.1.10", "5.2.1")
    ),
    Case(
        "a full mailbox",
        says("RCPT", "452 4.2.2 full"),
        Outcome(RETRY, code="4.2.2", retry_after=timedelta(hours=4)),
        calls=0,
    ),
    Case(
        "a full mailbox, said as final",
        says("RCPT", "552 5.2.2 full"),
        Outcome(RETRY, code="5.2.2", retry_after=timedelta(hours=4)),
        calls=0,
    ),
    Case(
        "greylisting",
        says("RCPT", "450 4.7.1 later"),
        Outcome(THROTTLED, code="4.7.1", retry_after=timedelta(minutes=5)),
        calls=0,
    ),
    Case("temporary", says("RCPT", "451 4.3.0 later"), Outcome(RETRY, code="4.3.0"), calls=0),
    Case("temporary without more", says("RCPT", "450 later"), Outcome(RETRY, code="smtp_450"), calls=0),
    Case("refused without more", says("RCPT", "550 no"), Outcome(REJECTED, code="smtp_550"), calls=0),
    Case("a code that contradicts its reply", says("RCPT", "450 5.1.1 what"), Outcome(RETRY, code="smtp_450"), calls=0),
    Case("reputation at RCPT", says("RCPT", "554 5.7.1 listed"), Outcome(RETRY, code="5.7.1", effect=PAUSE), calls=0),
    Case("a recipient the relay forwards to", says("RCPT", "251 will forward"), TAKEN),
    # the content
    Case("DATA refused", says("DATA", "554 5.6.0 no"), Outcome(REJECTED, code="5.6.0"), calls=0),
    Case("DATA answered as taken", says("DATA", "250 ok"), Outcome(RETRY, code="smtp_250"), calls=0),
    Case(
        "reputation at the dot",
        says("dot", "550 5.7.26 unauthenticated"),
        Outcome(RETRY, code="5.7.26", effect=PAUSE),
    ),
    Case("temporary at the dot", says("dot", "451 4.3.0 later"), Outcome(RETRY, code="4.3.0")),
    Case(
        "rate at the dot",
        says("dot", "450 4.7.28 too fast"),
        Outcome(THROTTLED, code="4.7.28", retry_after=timedelta(minutes=5)),
    ),
    Case(
        "unavailable at the dot",
        says("dot", "421 4.3.2 bye"),
        Outcome(THROTTLED, code="smtp_421", retry_after=timedelta(minutes=1)),
    ),
    Case("content refused at the dot", says("dot", "552 5.3.4 too big"), Outcome(REJECTED, code="5.3.4")),
    Case("nonsense at the dot", says("dot", "ok whatever"), Outcome(UNCERTAIN, code="unreadable")),
    Case("another question at the dot", says("dot", "354 more"), Outcome(UNCERTAIN, code="smtp_354")),
    # the relay itself
    Case(
        "unavailable at the greeting",
        says("greeting", "421 4.3.2 busy"),
        Outcome(THROTTLED, code="smtp_421", retry_after=timedelta(minutes=1)),
        calls=0,
    ),
    Case(
        "refused at the greeting",
        says("greeting", "554 5.7.1 go away"),
        Outcome(RETRY, code="5.7.1", effect=PAUSE),
        calls=0,
    ),
    Case("nonsense at the greeting", says("greeting", "SSH-2.0-x"), Outcome(RETRY, code="unreadable"), calls=0),
    Case(
        "the sender refused", says("MAIL", "550 5.7.1 not yours"), Outcome(RETRY, code="5.7.1", effect=PAUSE), calls=0
    ),
    Case("the sender refused for now", says("MAIL", "451 4.3.0 later"), Outcome(RETRY, code="4.3.0"), calls=0),
    Case("lost at the greeting", says("greeting", DROP), Outcome(RETRY, code="connection_lost"), calls=0),
    Case("lost at MAIL", says("MAIL", DROP), Outcome(RETRY, code="connection_lost"), calls=0),
    Case("lost at RCPT", says("RCPT", DROP), Outcome(RETRY, code="connection_lost"), calls=0),
    Case("lost at DATA", says("DATA", DROP), Outcome(RETRY, code="connection_lost"), calls=0),
    Case("lost after the dot", says("dot", DROP), Outcome(UNCERTAIN, code="connection_lost")),
    Case("silent at the greeting", says("greeting", HANG), Outcome(RETRY, code="timeout"), environ=IMPATIENT, calls=0),
    Case("silent at RCPT", says("RCPT", HANG), Outcome(RETRY, code="timeout"), environ=IMPATIENT, calls=0),
    Case("silent at DATA", says("DATA", HANG), Outcome(RETRY, code="timeout"), environ=IMPATIENT, calls=0),
    Case("silent after the dot", says("dot", HANG), Outcome(UNCERTAIN, code="timeout"), environ=REACHING),
    Case("a refused connection", REFUSE, Outcome(RETRY, code="connection_lost"), calls=0),
    Case("a connection nobody takes", DEAF, Outcome(RETRY, code="timeout"), environ=IMPATIENT, calls=0),
    Case(
        "no STARTTLS on offer",
        Relay(),
        Outcome(RETRY, code="not_offered", effect=PAUSE),
        environ={"REACTIVATE_SMTP_TLS": "starttls"},
        calls=0,
    ),
    Case(
        "no AUTH on offer",
        Relay(),
        Outcome(RETRY, code="not_offered", effect=PAUSE),
        environ={"REACTIVATE_SMTP_USERNAME": "care", "REACTIVATE_SMTP_PASSWORD": "secret"},
        calls=0,
    ),
]
