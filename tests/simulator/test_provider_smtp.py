"""The mail provider: TLS, login, mailboxes, and what a reader sees of a message."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import pytest

from ops.simulator.certificate import CERTIFICATE, server_context
from ops.simulator.ehr import World
from ops.simulator.provider_smtp import SmtpFaults, one_click_url, readable_text
from tests.simulator.conftest import LOGIN, Scene, on_stage, run


@asynccontextmanager
async def mail_server(scene: Scene, directory: Path) -> AsyncIterator[int]:
    server = await scene.stage.smtp.listen(server_context(directory))
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def client(port: int, directory: Path, password: str = LOGIN.smtp_password) -> AsyncIterator[aiosmtplib.SMTP]:
    trusted = ssl.create_default_context(cafile=directory / CERTIFICATE)
    smtp = aiosmtplib.SMTP(hostname="localhost", port=port, start_tls=True, tls_context=trusted)
    await smtp.connect()
    try:
        await smtp.login(LOGIN.smtp_user, password)
        yield smtp
    finally:
        await smtp.quit()


def mail(to: str = "ana@example.com", reference: str = "abc") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "care@example.org"
    message["To"] = to
    message["Subject"] = "Está en buenas manos"
    message["Message-ID"] = f"<{reference}@example.org>"
    message["List-Unsubscribe"] = "<mailto:stop@example.org>, <http://x.example/u/1>"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content("Reserve aquí: http://x.example/b/1\n")
    message.add_alternative("<style>p{color:red}</style><p>Reserve <b>hoy</b> &amp; mañana</p>", subtype="html")
    return message


def test_a_mail_is_taken_over_tls_after_login(tmp_path: Path, small_world: World) -> None:
    async def scenario() -> None:
        async with on_stage(tmp_path, small_world) as scene, mail_server(scene, tmp_path) as port:
            async with client(port, tmp_path) as smtp:
                await smtp.send_message(mail())
                await smtp.send_message(mail(reference="def"))

            assert scene.stage.witness.accepted() == {"sms": 0, "email": 2}
            assert scene.stage.witness.references() == ["abc", "def"]

    run(scenario())


def test_nothing_is_taken_without_tls_or_with_a_wrong_password(tmp_path: Path, small_world: World) -> None:
    async def scenario() -> None:
        async with on_stage(tmp_path, small_world) as scene, mail_server(scene, tmp_path) as port:
            plain = aiosmtplib.SMTP(hostname="localhost", port=port, start_tls=False)
            await plain.connect()
            with pytest.raises(aiosmtplib.SMTPException):
                await plain.send_message(mail())
            plain.close()
            with pytest.raises(aiosmtplib.SMTPAuthenticationError):
                async with client(port, tmp_path, password="guess"):
                    pytest.fail("a wrong password opened the door")

            assert scene.stage.witness.accepted()["email"] == 0

    run(scenario())


def test_unknown_mailboxes_and_passing_troubles_are_refused_with_their_codes(
    tmp_path: Path, small_world: World
) -> None:
    async def refusal(faults: SmtpFaults) -> str:
        async with (
            on_stage(tmp_path, small_world, smtp_faults=faults) as scene,
            mail_server(scene, tmp_path) as port,
            client(port, tmp_path) as smtp,
        ):
            await smtp.mail("care@example.org")
            try:
                await smtp.rcpt("ana@example.com")
                await smtp.data(bytes(mail()))
            except aiosmtplib.SMTPResponseException as refused:
                assert scene.stage.witness.accepted()["email"] == 0
                return f"{refused.code} {refused.message[:5]}"
        return "taken"

    assert run(refusal(SmtpFaults(unknown_mailbox=1.0, later=0.0))) == "550 5.1.1"
    assert run(refusal(SmtpFaults(unknown_mailbox=0.0, later=1.0))) == "451 4.3.0"
    assert run(refusal(SmtpFaults.none())) == "taken"


def test_a_reader_sees_subject_text_and_the_words_of_the_html() -> None:
    text = readable_text(mail())

    assert "Está en buenas manos" in text
    assert "http://x.example/b/1" in text
    assert "hoy" in text
    assert "& mañana" in text
    assert "color" not in text


def test_one_click_is_offered_only_with_its_header_and_an_address_of_the_web() -> None:
    offered, silent, by_mail = mail(), mail(), mail()
    del silent["List-Unsubscribe-Post"]
    by_mail.replace_header("List-Unsubscribe", "<mailto:stop@example.org>")

    assert one_click_url(offered) == "http://x.example/u/1"
    assert one_click_url(silent) is None
    assert one_click_url(by_mail) is None


def test_the_key_is_for_its_owner_only(tmp_path: Path) -> None:
    async def scenario() -> None:
        await asyncio.to_thread(server_context, tmp_path)

    run(scenario())

    assert (tmp_path / "localhost.key").stat().st_mode & 0o077 == 0
