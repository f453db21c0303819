"""Caps: how often one person, and one contact point, may be reached over rolling windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `count` within any `window`; `rule` is the id that explains a wait."""

    rule: str
    count: int
    window: timedelta


#: One a day and three a week: 47 CFR 64.1200(a)(9)(iv)(C), kept as the default for all outreach.
PATIENT_CAPS = (Cap("cap_day", 1, timedelta(hours=24)), Cap("cap_week", 3, timedelta(days=7)))
CONTACT_CAPS = (Cap("cap_contact_day", 1, timedelta(hours=24)), Cap("cap_contact_week", 3, timedelta(days=7)))

#: No cap looks further back than this.
LONGEST = max(cap.window for cap in PATIENT_CAPS + CONTACT_CAPS)


def blocked_until(now: datetime, sent: Sequence[datetime], caps: Sequence[Cap]) -> tuple[datetime, str] | None:
    """When the last of `caps` lets go again and its rule id, or None if nothing blocks at `now`.

    `sent` holds the instants of everything that reached, or may have reached, the subject.
    """
    blocks = [block for cap in caps if (block := _block(now, sent, cap)) is not None]
    return max(blocks, default=None)


def _block(now: datetime, sent: Sequence[datetime], cap: Cap) -> tuple[datetime, str] | None:
    recent = sorted((instant for instant in sent if instant > now - cap.window), reverse=True)
    if len(recent) < cap.count:
        return None
    return recent[cap.count - 1] + cap.window, cap.rule
