"""Names: whether an organisation may call itself so in a message that anybody may read over a patient's shoulder.

Every text says who writes, so a name such as one with "Oncology" in it tells about care before the text does. Texts,
mails, voicemails and postcards are unsecured; so such an organisation writes under a neutral name, or not at all.
"""

from __future__ import annotations

from domain.rules.template_lint import name_findings
from producers.lexicon import lexicon


def revealing(name: str) -> str | None:
    """Why a name must not stand in a message, and what to do; None = it tells nothing about anybody's care."""
    found = name_findings(name, lexicon())
    if not found:
        return None
    words = ", ".join(repr(each.words) for each in found)
    return (
        f"every message says it, and {words} would tell of the care of whoever gets one: give the organisation file a "
        "`neutral_name` that says nothing about care"
    )
