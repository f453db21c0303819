"""The command of the desk: which patient is behind a number, and, on record, which numbers are behind a patient."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import click
from sqlalchemy import Connection

from domain.ledger import directory, disclosures
from domain.ledger.directory import Found, RecordNumber, UnknownPlaceError
from domain.ledger.disclosures import Asking, Disclosed, Past
from domain.ledger.store import reading
from domain.ledger.vault import Vault
from domain.rules.identity import Email, Phone, Problem, normalise_email, normalise_phone
from ops.cli.base import JSON, Exit, fail, parts_of, print_json, print_list

#: No number, address or reason is longer; what is longer is a file sent here by mistake.
LONGEST: Final = 300
LONGEST_NAME: Final = 100

#: A reference is a bare string.
Sought = str | RecordNumber | Phone | Email

_KINDS: Final = {
    str: "reference: find it by --phone, --email or --mrn",
    RecordNumber: "record number at this site",
    Phone: "phone number",
    Email: "mail address",
}


def _record_number(_context: click.Context, option: click.Parameter, given: str | None) -> RecordNumber | None:
    if given is None:
        return None
    site, colon, number = (each.strip() for each in _value(option, given).partition(":"))
    if not (site and colon and number):
        fail("--mrn: expected SITE:NUMBER, the key of a site and the record number it gave, as in north:12345")
    return RecordNumber(site, number)


def phone_given(_context: click.Context, option: click.Parameter, given: str | None) -> Phone | None:
    """Callback of an option for a phone number; `-` reads it from standard input."""
    if given is None:
        return None
    phone = normalise_phone(_value(option, given))
    if isinstance(phone, Problem):
        fail(f"--phone: {phone.reason}; write it in quotes with its area code, as in '+1 303 555 0100'")
    return phone


def email_given(_context: click.Context, option: click.Parameter, given: str | None) -> Email | None:
    """Callback of an option for a mail address; `-` reads it from standard input."""
    if given is None:
        return None
    email = normalise_email(_value(option, given))
    if isinstance(email, Problem):
        fail(f"--email: {email.reason}; write it alone, as in jane@example.org")
    return email


@click.command(epilog="Example: reactivate find --phone '+1 303 555 0100'")
@click.argument("patient", nargs=-1, metavar="[PATIENT]")
@click.option(
    "--mrn", callback=_record_number, metavar="SITE:NUMBER", help="Record number at a site, e.g. north:12345."
)
@click.option("--phone", callback=phone_given, metavar="NUMBER", help="Phone number, e.g. '+1 303 555 0100'.")
@click.option("--email", callback=email_given, metavar="ADDRESS", help="Mail address.")
@click.option("--organisation", metavar="KEY", help="Look only there (default: in every organisation).")
@click.option("--reveal", is_flag=True, help="Show PATIENT's record numbers and contact points; it is put on record.")
@click.option("--why", metavar="TEXT", help="With --reveal: what for, e.g. 'call back, ticket 17'.")
@click.option("--as", "name", metavar="NAME", help="With --reveal: who asks (default: the system's user).")
@click.option("--disclosures", "is_about_past", is_flag=True, help="List what --reveal showed, newest first.")
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="Of disclosures, at most so many."
)
@JSON
@click.pass_context
def find(
    context: click.Context,
    patient: tuple[str, ...],
    mrn: RecordNumber | None,
    phone: Phone | None,
    email: Email | None,
    organisation: str | None,
    reveal: bool,
    why: str | None,
    name: str | None,
    is_about_past: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Find a patient's reference by record number, phone number or mail address, or what is behind a reference.

    Everybody found is told on a line: reference, organisation and home site, open enrolments; a household shares its
    phone. The value itself is never shown. Give - for it, as in `--phone -`, and it is read from standard input: in
    no shell's history and no list of processes. Exits with 1 if nobody is found.

    `reactivate find PATIENT --reveal --why TEXT` is the way back: it shows record numbers and contact points, only
    where nobody reads along, after who asked, when and why is in the ledger. `--disclosures` lists that.
    """
    values: list[Sought] = [each for each in (mrn, phone, email) if each is not None]
    references = references_given(patient)
    if (reveal or is_about_past) and (values or organisation is not None or (reveal and is_about_past)):
        fail("--reveal and --disclosures go with PATIENT alone, and not together: find the reference first")
    if (why is not None or name is not None) and not reveal:
        fail("--why and --as go with --reveal")
    if reveal:
        if not references:
            fail("--reveal: name the PATIENT; --phone, --email and --mrn find the reference")
        _reveal(context, references[0], _asking(why, name), as_json=as_json)
    elif is_about_past:
        _list_disclosures(context, references[0] if references else None, limit, as_json=as_json)
    else:
        sought = [*references, *values]
        if len(sought) != 1:
            fail("give one of PATIENT, --mrn, --phone and --email; a number with spaces needs quotes")
        if references and organisation is not None:
            fail("--organisation goes with --mrn, --phone and --email: a PATIENT belongs to one anyway")
        _find(context, sought[0], organisation, as_json=as_json)


def _find(context: click.Context, sought: Sought, organisation: str | None, *, as_json: bool) -> None:
    with parts_of(context) as parts, reading(parts.engine) as conn:
        try:
            found = _found(conn, parts.vault, sought, organisation)
        except UnknownPlaceError as error:
            fail(str(error))
    if as_json:
        print_json([_as_dict(each) for each in found])
    else:
        for each in found:
            click.echo(_line(each))
    if not found:
        fail(f"no patient has this {_KINDS[type(sought)]}", Exit.BREACH)


def _found(conn: Connection, vault: Vault, sought: Sought, organisation: str | None) -> list[Found]:
    match sought:
        case RecordNumber():
            return directory.by_record_number(conn, vault, sought, organisation)
        case Phone() | Email():
            return directory.by_contact(conn, vault, sought, organisation)
        case _:
            one = directory.by_reference(conn, sought)
            return [] if one is None else [one]


def _reveal(context: click.Context, ref: str, asking: Asking, *, as_json: bool) -> None:
    with parts_of(context) as parts, parts.engine.begin() as conn:
        who = existing(conn, ref)
        if who.merged_into is not None:
            fail(f"{who.ref} was merged into {who.merged_into}, who has all its numbers: name that one")
        shown = disclosures.disclose(conn, parts.vault, who.id, asking, parts.clock.now())
    # only now that the row is committed
    if as_json:
        print_json({"ref": who.ref, **asdict(shown)})
        return
    for line in _revealed(who.ref, shown):
        click.echo(line)


def _list_disclosures(context: click.Context, ref: str | None, limit: int, *, as_json: bool) -> None:
    with parts_of(context) as parts, reading(parts.engine) as conn:
        of_one = None if ref is None else existing(conn, ref).id
        found = disclosures.past(conn, parts.vault, limit, of_one)
    rows = [asdict(each) for each in found]
    print_list(rows, map(_past_line, found), as_json=as_json, nothing="nothing was disclosed")


def existing(conn: Connection, ref: str) -> Found:
    """The patient with this reference; ends the command where there is none."""
    found = directory.by_reference(conn, ref)
    if found is None:
        fail(f"no patient has this {_KINDS[str]}", Exit.BREACH)
    return found


def references_given(words: Sequence[str]) -> Sequence[str]:
    """The reference, if one was given. A number in its place is never repeated: not even in a mistake's sentence."""
    if len(words) > 1:
        fail("name one PATIENT; a number with spaces needs quotes")
    if any(not (word.isascii() and word.isalnum()) for word in words):
        fail("PATIENT: expected a reference such as PEONAQ5EJMULLOM4L; others are found by --phone, --email or --mrn")
    return words


def _asking(why: str | None, name: str | None) -> Asking:
    if not (why or "").strip():
        fail("--reveal is refused without --why TEXT: what the numbers are needed for")
    account = system_account()
    who = account if name is None else tidy("--as", name, LONGEST_NAME)
    return Asking(who, account, tidy("--why", why or "", LONGEST))


def tidy(option: str, text: str, longest: int) -> str:
    """A line of text in one form; ends the command where it is none."""
    line = " ".join(text.split())
    if not line.isprintable() or not 0 < len(line) <= longest:
        fail(f"{option}: expected 1 to {longest} characters that can be printed")
    return line


def system_account() -> str:
    """The system's user, by the process and not by the environment, in which anybody can write."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _value(option: click.Parameter, given: str) -> str:
    """What was given for an option, or the line of standard input it points to."""
    value = _line_of_input(option.opts[0]) if given == "-" else given
    try:
        value.encode()
    except UnicodeEncodeError:
        fail(f"{option.opts[0]}: not readable as UTF-8")
    return value


def _line_of_input(option: str) -> str:
    if sys.stdin is None:
        fail(f"{option} -: standard input is closed")
    if is_typed := sys.stdin.isatty():
        click.echo(f"{option.removeprefix('--')}: ", err=True, nl=False)
    # bytes: what is no text is told in a sentence, too
    line = sys.stdin.buffer.readline(LONGEST)
    is_cut = len(line) == LONGEST and not line.endswith(b"\n")
    if not line.strip() or is_cut or (not is_typed and sys.stdin.buffer.read(1)):
        fail(f"{option} -: expected one line on standard input, at most {LONGEST} characters")
    return line.decode("utf-8", "surrogateescape").strip()


def _as_dict(found: Found) -> dict[str, Any]:
    return {
        "ref": found.ref,
        "organisation": found.organisation,
        "site": found.site,
        "deceased": found.is_deceased,
        "merged_into": found.merged_into,
        "open_enrolments": found.open_enrolments,
        "detached_at": found.detached_at,
    }


def _line(found: Found) -> str:
    count = found.open_enrolments or "no"
    text = f"{found.ref}  {found.organisation}/{found.site}  {count} open enrolment{'' if count == 1 else 's'}"
    if found.is_deceased:
        text += ", deceased"
    if found.merged_into is not None:
        text += f", merged into {found.merged_into}"
    return text + _detached(found.detached_at)


def _revealed(ref: str, shown: Disclosed) -> Iterator[str]:
    yield f"{ref}, disclosure {shown.disclosure}"
    for known in shown.record_numbers:
        yield f"record number {known.site}:{known.number}"
    for point in shown.contacts:
        use = f", {point.use}" if point.use else ""
        yield f"{point.system} {point.value}, rank {point.rank}{use}, {point.quality}{_detached(point.detached_at)}"
    if not shown.contacts:
        yield "no contact point is known"


def _detached(since: datetime | None) -> str:
    return "" if since is None else f", known not to be theirs since {since:%Y-%m-%d}"


def _past_line(each: Past) -> str:
    account = "" if each.who == each.account else f" (account {each.account})"
    return f"{each.id}  {each.at:%Y-%m-%d %H:%M}Z  {each.patient}  {each.who}{account}: {each.why}"
