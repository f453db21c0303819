"""Which texts say more than that the organisation exists."""

from __future__ import annotations

import pytest

from domain.rules.neutral_text import NEUTRAL_VARIABLES, phi_in
from domain.rules.templates import VARIABLES


@pytest.mark.parametrize(
    "text",
    [
        "{organisation}: we have not seen you for a while. Book: {link} or call {phone}. Reply STOP to end.",
        "{organisation}: ¡le extrañamos! Reserve aquí: {link}. Responda STOP para terminar.",
        "{organisation} : cela fait un moment. Réservez : {link}. ARRET pour arrêter.",
        "Our team speaks fluent Spanish. We are still here to help.",
    ],
)
def test_neutral_texts_pass(text: str) -> None:
    assert phi_in(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Oncology misses you", ["Oncology"]),
        ("Time for your A1C check", ["A1C"]),
        ("Your dental cleaning is overdue", ["dental"]),
        ("Su diabetes necesita control", ["diabetes"]),
        ("Votre médecin vous attend", ["medecin"]),
        ("Dr. Alvarez would like to see you", ["Dr. Alvarez"]),
        ("Born 04/09/1961?", ["04/09/1961"]),
        ("Hello {given_name}", ["{given_name}"]),
        ("Prescription refill at {organisation}", ["Prescription", "refill"]),
    ],
)
def test_whatever_tells_of_care_or_person_is_named(text: str, found: list[str]) -> None:
    assert phi_in(text) == found


def test_every_variable_templates_may_use_is_neutral() -> None:
    assert VARIABLES.keys() <= NEUTRAL_VARIABLES
