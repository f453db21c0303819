"""What no unsecured message may say: the patient's own identifiers, and words that betray care."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ops.simulator.people import Person

_CONDITIONS = (
    "diabet\\w* prediabet\\w* hypertens\\w* hipertensi\\w* cancer\\w* c[áa]ncer tumou?r\\w* asthma\\w* asma copd depress\\w*"
    " depresi\\w* anxiety ansiedad hiv aids vih sida hepatitis pregnan\\w* embaraz\\w* obes\\w* stroke arthritis artritis"
    " cholesterol colesterol chronic cr[óo]nic\\w* chronique dementia alzheimer\\w* epilep\\w* infection infecci[óo]n"
    " diagnos\\w* diagn[óo]stic\\w* symptom\\w* s[íi]ntoma\\w* disease enfermedad maladie overdose addict\\w* cavit\\w* caries"
).split()
_SPECIALTIES = (
    "oncolog\\w* cardiolog\\w* cardi[óo]log\\w* dermatolog\\w* psychiatr\\w* psiquiatr\\w* psycholog\\w* urolog\\w*"
    " gyn[ae]+colog\\w* ginec[óo]log\\w* obstetric\\w* nephrolog\\w* endocrin\\w* orthop[ae]*dic\\w* dental dentist\\w*"
    " dentaire odont[óo]log\\w* podiatr\\w* rheumatolog\\w* pulmonolog\\w* neurolog\\w* p[ae]+diatric\\w* geriatric\\w*"
).split()
_MEDICINES = (
    "insulin\\w* metformin\\w* lisinopril statin\\w* atorvastatin\\w* amlodipine losartan albuterol antidepressant\\w*"
    " sertraline warfarin antibiotic\\w* antibi[óo]tic\\w* opioid\\w* chemo\\w* vaccine? vaccination\\w* prescription\\w*"
    " receta medication\\w* medicament\\w*"
).split()
_TESTS = (
    "mammogra\\w* mamograf\\w* colonoscop\\w* biops\\w* hba1c a1c x-?rays? mri ultrasound pap blood\\s+pressure"
    " blood\\s+test\\w* lab\\s+(?:test|result)s? glucose glucosa screening\\w* ecg ekg"
).split(" ")
_CLINICIANS = "doctor(?:a|s)? physician\\w* nurse\\w* surgeon\\w* m[ée]dic[oa]s? hygienist\\w* m[ée]decin\\w*".split()

_CLINICAL = re.compile(
    r"(?<!\w)(?:" + "|".join((*_CONDITIONS, *_SPECIALTIES, *_MEDICINES, *_TESTS, *_CLINICIANS)) + r")(?!\w)",
    re.IGNORECASE,
)
#: A title before a name; `Lake Dr. Springfield` in an address is a street, hence the digits ruled out before.
_TITLE = re.compile(r"(?<!\w)(?:Dr|Dra|Prof)\.?\s+[A-ZÁÉÍÓÚÑ]")
_STREET = re.compile(r"\d+(?:\s+\w+){1,3}\s+Dr\b\.?")
_LINK = re.compile(r"https?://\S+")


def tells_care(text: str) -> bool:
    """Whether the text names a condition, specialty, medicine, test or clinician. Links are not read."""
    plain = _STREET.sub(" ", _LINK.sub(" ", text))
    return bool(_CLINICAL.search(plain) or _TITLE.search(plain))


def tells_identity(text: str, people: Iterable[Person]) -> bool:
    """Whether the text holds a family name, date of birth or record number of one of these patients."""
    plain = _LINK.sub(" ", text)
    folded = plain.casefold()
    return any(_identifies(folded, person) for person in people)


def outline(text: str, people: Iterable[Person]) -> str:
    """The text without what differs between two copies of it: links and given names."""
    plain = _LINK.sub("<link>", text)
    for person in people:
        plain = re.sub(rf"(?<!\w){re.escape(person.given)}(?!\w)", "<name>", plain)
    return plain


def has_link(text: str) -> bool:
    """Whether the text offers a link."""
    return _LINK.search(text) is not None


def _identifies(folded: str, person: Person) -> bool:
    words = [person.family.casefold(), *(mrn.casefold() for _, mrn in person.registrations), *_birth_dates(person)]
    return any(word in folded and re.search(rf"(?<!\w){re.escape(word)}(?!\w)", folded) for word in words)


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
