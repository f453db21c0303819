"""Decides whether a webhook request was signed by Twilio, or a provider that signs alike.

The signature is base64(HMAC-SHA1(auth token, URL + names and values of the form's fields, sorted by name)); a body
that is no form is covered by its SHA-256 in the signed URL. Source: twilio.com/docs/usage/security and twilio-python.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import parse_qs, parse_qsl

from channels.kit.contract import WebhookRequest

#: Twilio posts about thirty fields; more than this is nobody's webhook.
_MOST_FIELDS = 200


def is_valid(auth_token: str, request: WebhookRequest) -> bool:
    """Whether X-Twilio-Signature covers this request. Never raises.

    The provider signs the URL with or without its port, so both are tried, always both: the comparison takes the same
    time whichever fits.
    """
    signature = request.headers.get("x-twilio-signature", "").encode(errors="replace")
    fields = _signed_fields(request)
    if fields is None:
        return False
    key = auth_token.encode()
    matches = [
        hmac.compare_digest(_signature(key, url, fields), signature) for url in _with_and_without_port(request.url)
    ]
    return any(matches)


# the signature is checked, then the same fields are read
@lru_cache(maxsize=1)
def form_fields(body: bytes) -> tuple[tuple[str, str], ...] | None:
    """The fields of a form body, or None where it is none."""
    try:
        text = body.decode("ascii")
        return tuple(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS))
    except ValueError:  # covers UnicodeDecodeError
        return None


def query_value(url: str, name: str) -> str:
    """The first value of a query parameter; empty where it is not given."""
    # not urlsplit, which raises for a host it cannot read
    return parse_qs(url.partition("#")[0].partition("?")[2]).get(name, [""])[0]


def _signed_fields(request: WebhookRequest) -> Sequence[tuple[str, str]] | None:
    """The form fields that the signature must cover; None where the body is covered by nothing."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/x-www-form-urlencoded":
        return form_fields(request.body)
    stated = query_value(request.url, "bodySHA256")
    if stated:  # the URL is signed, and it names the body's hash
        found = hashlib.sha256(request.body).hexdigest()
        return [] if hmac.compare_digest(found.encode(), stated.lower().encode(errors="replace")) else None
    return None if request.body else []


def _signature(key: bytes, url: str, fields: Sequence[tuple[str, str]]) -> bytes:
    # a field that comes several times is signed once for each different value
    signed = url + "".join(name + value for name, value in sorted(set(fields)))
    return base64.b64encode(hmac.digest(key, signed.encode(errors="replace"), "sha1"))


def _with_and_without_port(url: str) -> tuple[str, str]:
    scheme, slashes, rest = url.partition("://")
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    bare = re.sub(r":\d*$", "", host)
    with_port = host if bare != host else f"{host}:{443 if scheme == 'https' else 80}"
    tail = rest[len(host) :]
    return scheme + slashes + bare + tail, scheme + slashes + with_port + tail
