"""What every command shares: its settings, errors told in one sentence, and exit codes scripts can trust."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, NoReturn

import click
from sqlalchemy import Engine, inspect
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError

from channels.kit.contract import ChannelSettingsError
from ops.assembly import Parts, assemble
from ops.migrations import run as migrations
from ops.runtime.amqp import BrokerUnavailable
from ops.runtime.bus_contract import BusError
from ops.runtime.settings import Settings, SettingsError, read_settings
from ops.runtime.yamlfile import FileProblems
from ops.services.start import ServiceError
from producers.campaigns import CampaignError

#: Options that mean the same wherever they stand.
JSON = click.option("--json", "as_json", is_flag=True, help="For machines.")
LIMIT = click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))


class Exit(IntEnum):
    """Exit codes. 2 is also click's own for a wrong option, 130 the shell's for Ctrl-C."""

    OK = 0
    BREACH = 1
    """A promise is broken, or rows were refused: look at the output."""
    USAGE = 2
    """A file, option or setting is wrong; nothing was changed."""
    UNAVAILABLE = 3
    """A server the command needs is away; try again."""


def fail(message: str, code: Exit = Exit.USAGE) -> NoReturn:
    """End the command with one clear message on standard error."""
    click.echo(f"reactivate: {message}", err=True)
    sys.exit(code)


def print_json(value: Any) -> None:
    """Print for machines; instants in ISO 8601."""
    click.echo(json.dumps(value, indent=2, sort_keys=True, default=_plain))


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_list(rows: Sequence[Mapping[str, Any]], lines: Iterable[str], *, as_json: bool, nothing: str) -> None:
    """Print a list: its rows for machines, else a line for each, or that there is `nothing`."""
    if as_json:
        print_json(rows)
        return
    for line in lines:
        click.echo(line)
    if not rows:
        click.echo(nothing)


def settings_of(home: Path | None, extra: Mapping[str, str] | None = None) -> Settings:
    """The settings of this command: the environment, `--home` over it, then `extra`."""
    environ = {**os.environ, **(extra or {})}
    if home is not None:
        environ["REACTIVATE_HOME"] = str(home)
    return read_settings(environ)


@contextmanager
def parts_of(context: click.Context, *, migrated: bool = True) -> Iterator[Parts]:
    """The assembled parts for this command; by default only if the ledger is migrated."""
    settings = settings_of(context.obj["home"])
    if settings.database_url.startswith("sqlite:///"):
        path = Path(settings.database_url.removeprefix("sqlite:///"))
        if migrated and not path.exists():
            fail(f"there is no ledger at {path}: run `reactivate migrate`, or name another place with --home")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            fail(f"there can be no ledger at {path}: {error.strerror}; name another place with --home")
    with assemble(settings) as parts:
        if migrated:
            with parts.engine.connect() as conn:
                if not inspect(conn).has_table("touch"):
                    fail("the ledger has no tables yet: run `reactivate migrate`")
        yield parts


def migrate_ledger(engine: Engine) -> str:
    """Bring the ledger to the newest schema; one line about what was done."""
    if migrations.upgrade(engine):
        return f"the ledger was brought to revision {migrations.newest()}"
    return f"the ledger is at revision {migrations.newest()}: nothing to migrate"


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what a user can mend into one sentence and an exit code; anything else is a bug and shows as one."""
    try:
        yield
    except (SettingsError, ChannelSettingsError, CampaignError) as error:
        fail(str(error))
    except FileProblems as error:
        fail(f"the file was not used:\n{error}")
    except BrokerUnavailable as error:
        fail(f"{error} (REACTIVATE_AMQP_URL)", Exit.UNAVAILABLE)
    except (BusError, ServiceError) as error:
        fail(str(error), Exit.UNAVAILABLE)
    except OperationalError as error:
        # a file has its own place, which its error names
        named = "" if isinstance(error.orig, sqlite3.Error) else " (REACTIVATE_DATABASE_URL)"
        fail(f"the database cannot be used{named}: {_first_line(error)}", Exit.UNAVAILABLE)
    except DBAPIError as error:
        if error.connection_invalidated:
            fail("the connection to the database was lost; what was committed is safe", Exit.UNAVAILABLE)
        if type(error) is DatabaseError:
            # SQLite's word for a file that is none of its own, or is damaged; every bug of ours has a narrower class
            fail(f"the database cannot be used: {_first_line(error)}")
        raise


def _first_line(error: DBAPIError) -> str:
    # the driver's own words name host and port; parameters and statement stay out
    return str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
