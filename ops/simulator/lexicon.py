"""What no unsecured message may say: the patient's own identifiers, and words that betray care."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from ops.simulator.people import Person

#: Beginnings of words (`~`) and whole words that betray a condition, specialty, medicine, test or clinician.
_TERMS = """
    diabet~ prediabet~ hypertens~ hipertens~ cancer~ cáncer tumor~ tumour~ asthma~ asma copd depress~ depresi~ anxiety
    ansiedad hiv aids vih sida hepatitis pregnan~ embaraz~ obes~ stroke arthritis artritis cholesterol colesterol
    chronic crónic~ cronic~ chronique dementia alzheimer~ epilep~ infection infecci~ diagnos~ diagnós~ symptom~
    síntoma~ sintoma~ disease enfermedad maladie overdose addict~ cavit~ caries

    oncolog~ cardiolog~ cardiólog~ dermatolog~ psychiatr~ psiquiatr~ psycholog~ urolog~ gynecolog~ gynaecolog~
    ginecólog~ obstetric~ nephrolog~ endocrin~ orthop~ dental dentist~ dentaire odontólog~ podiatr~ rheumatolog~
    pulmonolog~ neurolog~ pediatr~ paediatr~ geriatric~

    insulin~ metformin~ lisinopril statin~ atorvastatin~ amlodipine losartan albuterol antidepressant~ sertraline
    warfarin antibiotic~ antibiótic~ opioid~ chemo~ vaccine~ vaccination~ vacuna~ prescription~ receta medication~
    medicament~

    mammogra~ mamograf~ colonoscop~ biops~ hba1c a1c xray x-ray mri ultrasound pap glucose glucosa screening~ ecg ekg

    doctor doctora doctors physician~ nurse~ surgeon~ médico médica médecin~ medecin~ hygienist~
"""
_PHRASES = (r"blood\s+(?:pressure|test)s?", r"lab\s+(?:test|result)s?")

_CLINICAL = re.compile(
    r"(?<!\w)(?:" + "|".join((*(term.replace("~", r"\w*") for term in _TERMS.split()), *_PHRASES)) + r")(?!\w)",
    re.IGNORECASE,
)
#: A title before a name; `Lake Dr. Springfield` in an address is a street, hence the digits ruled out before.
_TITLE = re.compile(r"(?<!\w)(?:Dr|Dra|Prof)\.?\s+[A-ZÁÉÍÓÚÑ]")
_STREET = re.compile(r"\d+(?:\s+\w+){1,3}\s+Dr\b\.?")
_WORD = re.compile(r"\w+")
_LINK = re.compile(r"https?://\S+")


@lru_cache(maxsize=4096)
def tells_care(text: str) -> bool:
    """Whether the text names a condition, specialty, medicine, test or clinician. Links are not read.

    Give it an outline where many copies of one text come: it remembers what it has read.
    """
    plain = _STREET.sub(" ", _LINK.sub(" ", text))
    return bool(_CLINICAL.search(plain) or _TITLE.search(plain))


def identifying(text: str, people: Iterable[Person]) -> frozenset[str]:
    """The family names, dates of birth and record numbers of these patients that the text holds, in small letters."""
    folded = _LINK.sub(" ", text).casefold()
    words = {word for person in people for word in identity(person) if word in folded}
    return frozenset(word for word in words if _stands_alone(word, folded))


def _stands_alone(word: str, text: str) -> bool:
    """Whether the text holds it with no letter or digit on either side; a pattern of its own each would be compiled."""
    start = text.find(word)
    while start >= 0:
        around = text[max(start - 1, 0) : start] + text[start + len(word) : start + len(word) + 1]
        if not _WORD.search(around):
            return True
        start = text.find(word, start + 1)
    return False


def outline(text: str, people: Iterable[Person]) -> str:
    """The text without what differs between two copies of it: links and given names."""
    given = {word for person in people for word in person.given.split()}
    return _WORD.sub(lambda word: "<name>" if word[0] in given else word[0], _LINK.sub("<link>", text))


def names(text: str, person: Person) -> bool:
    """Whether the text calls the patient by the given name."""
    return person.given in text and set(person.given.split()) <= set(_WORD.findall(text))


def has_link(text: str) -> bool:
    """Whether the text offers a link."""
    return _LINK.search(text) is not None


def identity(person: Person) -> frozenset[str]:
    """What identifies a patient, in small letters."""
    words = (person.family.casefold(), *(mrn.casefold() for _, mrn in person.registrations), *_birth_dates(person))
    return frozenset(word for word in words if word)


def _birth_dates(person: Person) -> tuple[str, ...]:
    born = person.birth_date
    return (
        born.isoformat(),
        f"{born:%m/%d/%Y}",
        f"{born.month}/{born.day}/{born.year}",
        f"{born:%m/%d/%y}",
        f"{born:%d/%m/%Y}",
        f"{born:%B} {born.day}, {born.year}".casefold(),
    )
