"""Campaigns started: an immutable version of a file, whose every text two people have released."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, select

from domain.ledger import campaigns, moving, releases, texts
from domain.ledger.campaigns import Running
from domain.ledger.moving import Moves
from domain.ledger.organisations import organisation
from domain.ledger.releases import ReleaseError, Version
from domain.ledger.texts import ChangedTextError
from domain.rules.rulebook import Rulebook
from domain.rules.vocabulary import Role
from producers.campaign_file import read_campaign
from producers.campaign_form import CampaignFile
from producers.lexicon import lexicon
from producers.names import revealing


class CampaignError(Exception):
    """A campaign cannot be started; the message says what to do."""


def start_campaign(
    engine: Engine,
    path: Path,
    organisation_key: str | None,
    rules: Rulebook,
    now: datetime,
    released_by: Mapping[Role, str] | None = None,
) -> tuple[Running, bool]:
    """Start a campaign file for an organisation; and whether it was new.

    With `released_by`, its texts are released by these people in one go.

    Raises:
        FileProblems: the file is not right; nothing was changed.
        CampaignError: no such organisation, or several and none named; its name tells about care; or a text of it is
            not released.
    """
    with engine.begin() as conn:
        key, organisation_id = found(conn, organisation_key)
        check_name(conn, organisation_id)
        read = read_campaign(path, rules, key)
        definition = read.file.definition()
        checksum = hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()
        try:
            used = [texts.record(conn, organisation_id, news, now) for news in read.news]
            release_all(conn, used, released_by or {}, now)
        except (ChangedTextError, ReleaseError) as error:
            raise CampaignError(str(error)) from None
        held = [
            each for each in releases.versions(conn, organisation_id) if each.id in used and each.state != "released"
        ]
        if held:
            raise CampaignError(_not_released(held, path, read.file))
        return campaigns.start(conn, organisation_id, definition, checksum, used, now)


def move_enrolments(
    engine: Engine, running: Running, systems: Mapping[str, str], rules: Rulebook, who: str, now: datetime
) -> Moves:
    """Move who is enrolled in an older version of a campaign to the one that runs; repeats move nobody twice."""
    with engine.begin() as conn:
        return moving.move(conn, running, systems, rules, who=who, now=now)


def organisation_of(conn: Connection, key: str | None) -> int:
    """The organisation of this key; without one, the only one there is.

    Raises:
        CampaignError: there is none, or several and none named.
    """
    return found(conn, key)[1]


def found(conn: Connection, key: str | None) -> tuple[str, int]:
    """Key and id of the organisation of this key; without one, of the only one there is.

    Raises:
        CampaignError: there is none, or several and none named.
    """
    there = {row.key: row.id for row in conn.execute(select(organisation.c.key, organisation.c.id))}
    key = key or (next(iter(there)) if len(there) == 1 else "")
    if key not in there:
        known = ", ".join(sorted(there)) or "none yet: import an organisation first"
        raise CampaignError(f"name the organisation of the campaign with --organisation (there are: {known})")
    return key, int(there[key])


def check_name(conn: Connection, organisation_id: int) -> None:
    """Let no text go out under a name that tells about care.

    Raises:
        CampaignError: the organisation has such a name in the ledger.
    """
    name = conn.execute(select(organisation.c.name).where(organisation.c.id == organisation_id)).scalar_one()
    if why := revealing(name):
        raise CampaignError(f"the organisation's name: {why}, and import it again")


def release_all(conn: Connection, versions: Sequence[int], people: Mapping[Role, str], now: datetime) -> None:
    """Record that these people release these versions, whose texts the lexicon found nothing wrong with.

    Raises:
        ReleaseError: one of them may not.
    """
    for version_id in versions:
        for role, who in people.items():
            releases.release(conn, version_id, who=who, role=role, lexicon=lexicon().version, now=now)


def _not_released(held: Sequence[Version], path: Path, file: CampaignFile) -> str:
    first = held[0]
    others = f" (and {len(held) - 1} more)" if held[1:] else ""
    if first.state == "recalled":
        return f"{first.name} was recalled{others}: use, or write, a newer version of it"
    source = path if first.key.startswith("campaign:") else file.library and path.parent / file.library
    where = f" --from {source}" if source else ""
    command = f"reactivate template release {first.name}{where} --as NAME --role ROLE"
    at_once = "--released-by marketing=NAME --released-by clinical=NAME"
    return f"{first.name} {first.state}{others} to release it: `{command}`, or start with {at_once}"
