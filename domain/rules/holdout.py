"""The holdout draw: who is left alone so that the effect of outreach can be measured."""

from __future__ import annotations

import hashlib

from domain.rules.vocabulary import Arm

_SCALE = 2**64


def draw(*parts: str) -> float:
    """A uniform number in [0, 1) that depends on nothing but `parts`: the same today, tomorrow, on any machine."""
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / _SCALE


def arm(campaign_key: str, patient_ref: str, holdout: float) -> Arm:
    """The patient's arm in this campaign: stable across versions, restarts and re-enrolments."""
    return Arm.HOLDOUT if draw("holdout", campaign_key, patient_ref) < holdout else Arm.TREATMENT
