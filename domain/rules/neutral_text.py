"""Whether a text stays neutral: a message on an unsecured channel names the organisation and nothing about care.

A condition, specialty, clinician, test, medication or date of birth beside a phone number is protected health
information (45 CFR 160.103). The audit judges templates by this list and not by the one that admits them, so that a
loosened check does not vouch for itself.
"""

from __future__ import annotations

import re

#: Variables that say nothing about a patient.
NEUTRAL_VARIABLES = frozenset({"organisation", "phone", "postal_address", "link", "unsubscribe", "booking_url"})

#: Beginnings of words, in English, Spanish and French, without accents.
_STEMS = """
    abortion addict alcohol allerg alzheimer anaemi anemi antibiotic anxi arthritis asthma autis biops bipolar blood
    botox cancer cardiac cardio chemo cholesterol chronic clinician colonoscop colposcop contracep dementia dental
    dentist
    depress dermatolog diabet diagnos dialysis disabil disorder embaraz endoscop enferm epilep fertil fractur gastro
    glucose gynaec gynec hepat hormon hypertens immuni injur insulin kidney lipid liver mammogra medication medicin
    menopaus mental metformin migraine neurolog obes oncolog ophthalm orthop patholog pediatr paediatr pharmac
    physiother
    podiat pregnan prescri prostat psych radiolog refill rehab rheumat screening seizure sangre stroke surgeon surger
    symptom therap thyroid tobacco toothache treatment tumor tumour ultrasound urolog vaccin vacuna
    receta diente caries grossesse ordonnance medecin
"""
#: Words that count only as a whole: `still` is no STI.
_WHOLE = (
    "a1c aids copd covid dose flu hba1c hiv lab labs mri nurse obgyn pap sida sti std test tests vih virus wound xray"
)
_TERM = re.compile(rf"\b(?:(?:{'|'.join(_STEMS.split())})\w*|(?:{'|'.join(_WHOLE.split())})\b)", re.IGNORECASE)
_CLINICIAN = re.compile(r"\b(?:Dr|Dra|Prof)\.?\s+[A-Z]\w+")
_DATE = re.compile(r"\b\d{1,4}[/.-]\d{1,2}[/.-]\d{2,4}\b")
_VARIABLE = re.compile(r"\{([^{}]*)\}")
_UNACCENTED = str.maketrans("áéíóúüñàèùâêîôûëïçÁÉÍÓÚÜÑ", "aeiouunaeuaeioueicAEIOUUN")


def phi_in(text: str) -> list[str]:
    """What in a template's text says more than it may, in order of appearance; empty when the text is neutral."""
    plain = text.translate(_UNACCENTED)
    named = [f"{{{name}}}" for name in _VARIABLE.findall(text) if name not in NEUTRAL_VARIABLES]
    return [*_TERM.findall(plain), *_CLINICIAN.findall(plain), *_DATE.findall(plain), *named]
