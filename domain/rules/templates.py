"""Templates: which text a touch gets, and the allow-list of variables it may contain."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from domain.rules.neutral_text import phi_in

#: The only things a message may say about anyone: nothing about the patient is on the list, on purpose.
VARIABLES = frozenset({"organisation", "phone", "postal_address", "link"})

_VARIABLE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Template:
    """One text. Empty `segment` or `step_kind` fits any."""

    channel: str
    language: str
    body: str
    subject: str | None = None
    segment: str = ""
    step_kind: str = ""


class TemplateError(Exception):
    """A template is unusable; the message says which and why."""


def problems(template: Template) -> list[str]:
    """What is wrong with a template, in words; empty when it may be used."""
    text = f"{template.subject or ''}\n{template.body}"
    found = [f"unknown variable {{{name}}}" for name in _VARIABLE.findall(text) if name not in VARIABLES]
    if re.search(r"[{}]", _VARIABLE.sub("", text)):
        found.append("a brace that opens or closes nothing")
    found += [f"tells of care, a clinician or a date: {word!r}" for word in phi_in(_VARIABLE.sub("", text))]
    if "{organisation}" not in text:
        found.append("{organisation} is missing: the patient must see who writes")
    if template.channel == "sms" and "STOP" not in template.body:
        found.append("the text does not say how to stop (Reply STOP)")
    if template.channel == "email" and "{postal_address}" not in template.body:
        found.append("{postal_address} is missing (CAN-SPAM)")
    if template.channel == "email" and not template.subject:
        found.append("an email needs a subject")
    return found


def choose(templates: Iterable[Template], *, channel: str, language: str, segment: str, step_kind: str) -> Template:
    """The most specific template for a touch; another language's only if there is none in the patient's (English).

    Raises:
        TemplateError: the campaign has no text for this channel.
    """
    fitting = [
        template
        for template in templates
        if template.channel == channel
        and template.segment in {"", segment}
        and template.step_kind in {"", step_kind}
        and template.language in {language, "en"}
    ]
    if not fitting:
        raise TemplateError(f"no {channel} template for segment {segment}, step {step_kind}")
    return max(fitting, key=lambda each: (each.language == language, each.segment != "", each.step_kind != ""))


def render(text: str, values: Mapping[str, str]) -> str:
    """`text` with its variables filled in.

    Raises:
        TemplateError: a variable has no value.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in VARIABLES or name not in values:
            raise TemplateError(f"no value for variable {{{name}}}")
        return values[name]

    return _VARIABLE.sub(value, text)
