"""Twilio's wire format, against the vectors of its own libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ops.simulator.twilio import is_number, keyword, refusal, sign

VECTORS = Path(__file__).parents[3] / "shared" / "data" / "providers" / "twilio" / "signature_vectors.json"


def vectors() -> list[Any]:
    if not VECTORS.exists():
        return [pytest.param({}, marks=pytest.mark.skip(reason="../shared/data is absent"))]
    found = json.loads(VECTORS.read_text())
    params = {vector["name"]: vector["params"] for vector in found if "params" in vector}
    # a provider signs the URL it was given; the variants with and without port are for the verifier to try
    signable = [vector for vector in found if vector["valid"] and "port" not in vector["name"]]
    signable = [vector for vector in signable if "signed_with" not in vector["name"]]
    return [
        pytest.param(
            {**vector, "params": vector.get("params") or params.get(vector.get("same_params_as", ""), [])},
            id=vector["name"],
        )
        for vector in signable
    ]


@pytest.mark.parametrize("vector", vectors())
def test_signatures_are_those_of_twilio_s_own_library(vector: dict[str, Any]) -> None:
    fields = [(name, value) for name, value in vector["params"]]

    assert sign(vector["token"], vector["url"], fields) == vector["signature"]


def test_the_order_of_fields_does_not_matter_and_their_values_do() -> None:
    url = "https://example.org/webhooks/sms/inbound"

    assert sign("t", url, [("A", "1"), ("B", "2")]) == sign("t", url, [("B", "2"), ("A", "1")])
    assert sign("t", url, [("A", "1"), ("B", "2")]) != sign("t", url, [("A", "1"), ("B", "3")])
    assert sign("t", url, [("A", "1")]) != sign("u", url, [("A", "1")])


@pytest.mark.parametrize("number", ["+12125550123", "+5215512345678", "+15559784581"])
def test_numbers_in_international_form_are_dialled(number: str) -> None:
    assert is_number(number)


@pytest.mark.parametrize(
    "number", ["", "2125550123", "+1212555012", "+11125550123", "+12121550123", "+0123456789", "+1٢125550123"]
)
def test_other_numbers_are_not(number: str) -> None:
    assert not is_number(number)


def test_the_carrier_ignores_case_and_punctuation() -> None:
    assert keyword("  Stop.") == "STOP"
    assert keyword("stop please") == "STOPPLEASE"


def test_a_refusal_has_twilio_s_shape() -> None:
    status, body = refusal(21610)

    assert status == 400
    assert set(body) == {"code", "message", "more_info", "status"}
