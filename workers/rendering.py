"""Rendering: from a claimed touch to the message its provider is given. The only place where addresses are opened."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Final

from sqlalchemy import Engine

from channels.kit.contract import Outgoing
from domain.ledger import texts
from domain.ledger.claimed import Claimed
from domain.ledger.store import reading
from domain.ledger.vault import Vault, VaultError
from domain.rules.answers import answer_template
from domain.rules.links import make_token
from domain.rules.templates import Template, TemplateError, render
from domain.rules.vocabulary import TouchKind

#: Authenticated with every sealed contact value.
CONTACT = "contact_point.value"

#: Texts kept: those of some twenty campaigns at once. A process that lives for a year meets the texts of every campaign
#: of every organisation, some kilobytes each.
KEPT_TEXTS: Final = 1_024


class Unrenderable(Exception):  # noqa: N818 - a state of one touch, recorded as its reason
    """A touch has no text or no readable address; `reason` is the id that `explain` reads out."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Renderer:
    """Fills in the text that the claim found released (immutable, so it is kept for a while), and opens the address."""

    def __init__(self, engine: Engine, vault: Vault, public_url: str, link_key: bytes) -> None:
        self._engine = engine
        self._vault = vault
        self._public_url = public_url
        self._link_key = link_key
        self._read = lru_cache(KEPT_TEXTS)(self._read_from_ledger)

    def render(self, claimed: Claimed, now: datetime) -> Outgoing:
        """The message of a claimed touch.

        Raises:
            Unrenderable: its campaign has no text for it, or its address does not open.
        """
        try:
            template = self._template(claimed)
            values = self._values(claimed)
            return Outgoing(
                reference=claimed.token,
                to=self._vault.open(claimed.sealed_address, CONTACT),
                body=render(template.body, values),
                subject=render(template.subject, values) if template.subject else None,
                valid_until=claimed.valid_until,
                now=now,
                organisation=claimed.organisation,
                language=template.language,
                unsubscribe_url=self._link("u", "unsubscribe", claimed.touch_id),
                is_answer=claimed.kind == TouchKind.ANSWER,
            )
        except (TemplateError, KeyError):
            raise Unrenderable("no_template") from None
        except VaultError:
            raise Unrenderable("address_sealed") from None

    def _template(self, claimed: Claimed) -> Template:
        if claimed.answer is not None:
            return answer_template(claimed.answer, claimed.language, claimed.channel)
        id_ = claimed.template_id
        if id_ is None:
            raise TemplateError("its campaign has no text for it")
        return self._read(id_)

    def _read_from_ledger(self, template_id: int) -> Template:
        with reading(self._engine) as conn:
            return texts.read(conn, template_id)

    def _values(self, claimed: Claimed) -> dict[str, str]:
        return {
            "organisation": claimed.organisation,
            "phone": claimed.organisation_phone,
            "postal_address": claimed.postal_address,
            "link": self._link("b", "book", claimed.touch_id),
        }

    def _link(self, path: str, purpose: str, number: int) -> str:
        return f"{self._public_url}/{path}/{make_token(self._link_key, purpose, number)}"
