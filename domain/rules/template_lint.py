"""Whether a template may be sent to anybody: what is wrong with its words, its form and its length, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain

from domain.rules.neutral_text import phi_in
from domain.rules.sms_text import Encoding, fold, outside_gsm, segments
from domain.rules.templates import PLACEHOLDER, SAMPLES, VARIABLES, Template, TemplateError, render
from domain.rules.wording import Text, WordRule, without_accents


@dataclass(frozen=True, slots=True)
class Form:
    """What a text of one channel must have, and how long it may be."""

    most_segments: int | None = None
    most_characters: int | None = None
    """Of the body, with sample values."""
    most_in_subject: int | None = None
    """Characters; None = the channel has no subject."""
    variables: frozenset[str] = frozenset(VARIABLES)
    needs: frozenset[str] = frozenset({"organisation"})
    opt_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Language -> phrases of which one must be there; empty = the channel itself offers a way out."""


@dataclass(frozen=True)
class Lexicon:
    """Everything a lint judges by: word rules, forms of channels, and how loud a text may be."""

    version: str
    """A checksum of its content: another lexicon is another version."""
    rules: Sequence[WordRule]
    forms: Mapping[str, Form]
    loud_words: frozenset[str]
    """Words that may stand in capitals."""
    most_exclamations: int

    @cached_property
    def languages(self) -> frozenset[str]:
        """Languages whose clinical words are known; nobody could judge another's."""
        return frozenset(rule.language for rule in self.rules if rule.is_about_care)

    def rules_for(self, language: str) -> Iterator[WordRule]:
        """Every language's words of care (diabetes is no secret in another language), and this one's tone."""
        own = (rule for rule in self.rules if rule.language == language)
        return chain(own, (rule for rule in self.rules if rule.is_about_care and rule.language != language))


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that keeps a template from being released."""

    rule: str
    """`clinical.condition`, `tone.pressure`, `length.segments`, …"""
    words: str
    """The offending words, or what is missing."""
    advice: str
    """What is wrong with it and what to do."""
    line: int | None = None
    """Of the body, from 0; None: of the subject, or of the text as a whole."""
    field: str = "body"
    """What of the text to mend."""

    def __str__(self) -> str:
        return f"{self.rule}: {self.words!r}: {self.advice}" if self.words else f"{self.rule}: {self.advice}"


def lint(template: Template, lexicon: Lexicon) -> list[Finding]:
    """Everything that is wrong with a template; empty when it may be released."""
    if template.language not in lexicon.languages:
        known = ", ".join(sorted(lexicon.languages))
        why = f"no lexicon tells which words of this language are about care: write it in one of {known}"
        return [Finding("language.unknown", template.language, why, field="language")]
    form = lexicon.forms.get(template.channel)
    if form is None:
        known = ", ".join(sorted(lexicon.forms))
        return [Finding("channel.unknown", template.channel, f"no such channel; there are {known}", field="channel")]
    found = [*variables(template), *_form(template, form), *_tone(template, lexicon)]
    for name, text in (("body", template.body), ("subject", template.subject or "")):
        words = [*_words(text, template.language, lexicon), *_elsewhere(text)]
        found += (_in_field(each, name) for each in (*words, *_audited(text, words)))
    # two languages may have the same word; the text's own comes first and gives the advice
    return list({(each.rule, each.words, each.field, each.line): each for each in reversed(found)}.values())[::-1]


def name_findings(name: str, lexicon: Lexicon) -> list[Finding]:
    """What an organisation's name, which every text says, tells about their care; empty = nothing."""
    every = (_words(name, language, lexicon) for language in sorted(lexicon.languages))
    told = [each for each in chain.from_iterable(every) if each.rule.startswith("clinical.")]
    return list({each.words: each for each in (*told, *_audited(name, told))}.values())


def _in_field(finding: Finding, name: str) -> Finding:
    return replace(finding, field=name, line=finding.line if name == "body" else None)


def variables(template: Template) -> Iterator[Finding]:
    """What is wrong with the variables of a template, whatever its channel."""
    text = f"{template.subject or ''}\n{template.body}"
    for name in PLACEHOLDER.findall(text):
        if name not in VARIABLES:
            allowed = ", ".join(f"{{{each}}}" for each in VARIABLES)
            yield Finding("variable.unknown", f"{{{name}}}", f"unknown variable; there are {allowed}")
    if re.search(r"[{}]", PLACEHOLDER.sub("", text)):
        yield Finding("variable.brace", "", "a brace that opens or closes nothing")
    if "{organisation}" not in text:
        yield Finding("organisation.missing", "", "{organisation} is missing: the patient must see who writes")


def _form(template: Template, form: Form) -> Iterator[Finding]:
    used = set(PLACEHOLDER.findall(template.body))
    for name in sorted(form.needs - used - {"organisation"}):
        yield Finding(f"{name}.missing", "", f"{{{name}}} is missing: it must be in every {template.channel} text")
    everywhere = used | set(PLACEHOLDER.findall(template.subject or ""))
    for name in sorted(everywhere & VARIABLES.keys() - form.variables):
        yield Finding("variable.channel", f"{{{name}}}", f"may not stand in a {template.channel} text: leave it out")
    phrases = form.opt_out.get(template.language, form.opt_out.get("en", ()))
    if phrases and not any(phrase in template.body for phrase in phrases):
        advice = f"the text does not say how to stop: write {' or '.join(map(repr, phrases))}"
        yield Finding("optout.missing", "", advice)
    yield from _subject(template, form)
    yield from _length(template, form)


def _subject(template: Template, form: Form) -> Iterator[Finding]:
    if form.most_in_subject is None:
        if template.subject:
            advice = f"a {template.channel} text has no subject: drop it"
            yield Finding("subject.unwanted", template.subject, advice, field="subject")
    elif not template.subject:
        yield Finding("subject.missing", "", f"every {template.channel} has a subject: give it one", field="")
    elif len(_filled(template.subject)) > form.most_in_subject:
        advice = f"longer than {form.most_in_subject} characters: it is cut off on a phone, shorten it"
        yield Finding("length.subject", template.subject, advice, field="subject")


def _length(template: Template, form: Form) -> Iterator[Finding]:
    body = _filled(template.body)
    if form.most_characters is not None and len(body) > form.most_characters:
        advice = f"{len(body)} characters, {form.most_characters} are enough: shorten it"
        yield Finding("length.characters", "", advice)
    if form.most_segments is None:
        return
    counted = segments(fold(body))
    if counted.segments > form.most_segments:
        cause = ""
        if counted.encoding == Encoding.UCS_2:
            cause = f" (less fits into one because of {' '.join(outside_gsm(fold(body)))})"
        advice = f"{counted.segments} segments{cause}, {form.most_segments} are allowed: shorten it"
        yield Finding("length.segments", "", advice)


def _filled(text: str) -> str:
    """`text` with sample values; as it is where a variable is wrong, which is told anyway."""
    try:
        return render(text, SAMPLES)
    except TemplateError:
        return text


def _tone(template: Template, lexicon: Lexicon) -> Iterator[Finding]:
    text = f"{template.subject or ''}\n{PLACEHOLDER.sub(' ', template.body)}"
    if text.count("!") > lexicon.most_exclamations:
        advice = f"more than {lexicon.most_exclamations}: say it with a full stop"
        yield Finding("tone.exclamation", "!" * text.count("!"), advice)
    for number, line in enumerate(text.splitlines()):
        for word in re.findall(r"[^\W\d_]{2,}", line):
            if word.isupper() and word not in lexicon.loud_words:
                told = Finding("tone.capitals", word, "reads as shouting: write it in lower case", number - 1)
                yield told if number else _in_field(told, "subject")


def _words(text: str, language: str, lexicon: Lexicon) -> Iterator[Finding]:
    read = Text(PLACEHOLDER.sub(" . ", text))
    for rule in lexicon.rules_for(language):
        for match in rule.matches(read):
            yield Finding(rule.id, match.words, f"it {rule.tells}: {rule.instead}", match.line)


def _audited(text: str, told: Sequence[Finding]) -> Iterator[Finding]:
    """What the audit, which judges by a list of its own, would find and no rule has told yet."""
    known = {word for each in told for word in _bare(each.words)}
    for words in phi_in(PLACEHOLDER.sub(" ", text)):
        if not _bare(words) <= known:
            line = next((nth for nth, each in enumerate(text.splitlines()) if words in without_marks(each)), 0)
            advice = "it tells of care, a clinician or a date: leave it out"
            yield Finding("clinical.neutral", words, advice, line)


def _bare(words: str) -> set[str]:
    return {without_accents(word) for word in re.findall(r"\w+", words)}


def without_marks(text: str) -> str:
    """`text` without its accents, letter by letter."""
    return "".join(without_accents(char) if char.islower() else char for char in text)


_FOREIGN = (
    (
        "link.foreign",
        re.compile(
            r"(?i)\b(?:https?://|www\.)\S+|\b[\w-]+\.(?:com|org|net|health|io|us|info|gov|edu|co|ly|me|app|link)\b"
        ),
        "a link other than ours: use {link}, which is signed and leads to the patient's own page",
    ),
    ("link.address", re.compile(r"\S+@\S+\.\w+"), "a mail address: let them call {phone} or use {link}"),
    ("clinical.date", re.compile(r"\b\d{1,4}[/.-]\d{1,2}[/.-]\d{2,4}\b"), "it tells a date: leave it out"),
    ("number.foreign", re.compile(r"\+?\d[\d\s().-]{5,}\d"), "a number: use {phone}, or leave the date out"),
)
_OTHER_SCRIPT = re.compile(r"[^\W\d_]+")


def _elsewhere(text: str) -> Iterator[Finding]:
    """Links, addresses, numbers, and letters of other alphabets, which only look like ours."""
    for number, line in enumerate(PLACEHOLDER.sub(" ", text).splitlines()):
        for rule, pattern, advice in _FOREIGN:
            for match in pattern.finditer(line):
                yield Finding(rule, match.group().strip(), advice, number)
        for word in _OTHER_SCRIPT.findall(line):
            if any(not _is_latin(char) for char in word):
                yield Finding("letters.foreign", word, "letters of another alphabet: type it anew", number)


def _is_latin(char: str) -> bool:
    return ord(without_accents(char)[:1] or "a") < 0x250 or char in "ﬁﬂ"
