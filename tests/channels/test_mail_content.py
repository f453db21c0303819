"""Whatever a template says arrives as it was written, in lines that every relay takes."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage

import pytest
from channel_harness import outgoing
from hypothesis import given
from hypothesis import strategies as st

from channels.kit.contract import Outgoing
from channels.kit.mail import build_mail

ANY_TEXT = st.text(st.sampled_from("aé漢😀=_-.:/<&> \t\n\r\x85\u2028") | st.characters(codec="utf-8"), max_size=400)


def built(message: Outgoing, recipient: str = "pat@example.com") -> bytes:
    return build_mail(
        sender_name="Lakeside Health",
        sender="care@example.org",
        reply_to="",
        recipient=recipient,
        message_id=f"{message.reference}@example.org",
        message=message,
    )


@given(ANY_TEXT)
def test_a_text_survives_its_encoding_and_cannot_end_its_part(body: str) -> None:
    raw = built(outgoing(body=body))

    mail = email.message_from_bytes(raw, policy=email.policy.SMTP)
    assert isinstance(mail, EmailMessage)
    plain, html = mail.iter_parts()
    received = plain.get_payload(decode=True)
    assert isinstance(received, bytes)
    assert received.splitlines() == (body.encode().splitlines() or [b""])
    assert html.get_content_type() == "text/html"
    assert not mail.defects


@given(ANY_TEXT)
def test_what_goes_out_is_ascii_in_short_lines_that_end_in_crlf(body: str) -> None:
    _, _, content = built(outgoing(body=body)).partition(b"\r\n\r\n")

    assert content.isascii()
    assert all(len(line) <= 76 for line in content.split(b"\r\n"))
    assert not set(b"\r\n") & set(content.replace(b"\r\n", b""))


@pytest.mark.parametrize("recipient", ["pat@example.com\r\nBcc: all@example.net", "pät@example.com"])
def test_an_address_that_is_more_than_an_address_makes_no_mail(recipient: str) -> None:
    with pytest.raises(ValueError, match="To is not printable ASCII"):
        built(outgoing(), recipient)
