"""What every command shares: its settings, errors told in one sentence, and exit codes scripts can trust."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from sqlalchemy import Engine, inspect
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError

from channels.kit.contract import ChannelSettingsError
from domain.ledger.halts import HaltError
from domain.ledger.releases import ReleaseError
from domain.ledger.texts import ChangedTextError
from domain.ledger.vault import VaultError
from domain.rules.replies.sheet import GrammarError
from ops.assembly import Parts, assemble, check_keys
from ops.cli.spelling import misspelt
from ops.migrations import run as migrations
from ops.runtime.amqp import BrokerUnavailable
from ops.runtime.bus_contract import BusError
from ops.runtime.settings import Settings, SettingsError, read_settings
from ops.runtime.yamlfile import FileProblems
from ops.services.start import ServiceError
from producers.campaigns import CampaignError
from producers.templates import TemplateFileError

#: Options that mean the same wherever they stand.
JSON = click.option("--json", "as_json", is_flag=True, help="For machines.")
ORGANISATION = click.option("--organisation", help="Key of the organisation (needed only if there are several).")
ORGANISATION_FILE = click.option(
    "--organisation-file",
    type=click.Path(path_type=Path),
    help="Organisation file whose name is judged, too: every text says it.",
)
LIMIT = click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))


class Exit(IntEnum):
    """Exit codes. 2 is also click's own for a wrong option; 130 and 141 are the shell's."""

    OK = 0
    BREACH = 1
    """A promise is broken, rows were refused, a file names no patient, a template has findings, nobody and nothing was
    found under the name that was asked for, or a choice that was told changes nothing."""
    USAGE = 2
    """A file, option or setting is wrong; nothing was changed."""
    UNAVAILABLE = 3
    """A server the command needs is away; try again."""
    FAILED = 70
    """A bug, shown as one, or output that could not be written (EX_SOFTWARE of sysexits.h)."""
    INTERRUPTED = 130
    """Ctrl-C."""
    UNREAD = 141
    """Nobody reads the output any more, as in `reactivate report | head -1`."""


#: The disk, or whatever else the output goes to, takes no more.
_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


class Terminal(Console):
    """Rich output on standard output; who stops reading it is told about like everywhere else."""

    def on_broken_pipe(self) -> None:
        """Instead of rich's own end, whose exit code says that a promise is broken."""
        raise BrokenPipeError


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


def named(who: str) -> str:
    """The name of who decides, as it is recorded."""
    name = " ".join(who.split())
    if not 2 <= len(name) <= 100:
        fail("--as: give your name, in 2 to 100 characters")
    return name


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
    for sentence in misspelt(settings.environ):
        click.echo(f"reactivate: {sentence}", err=True)
    with assemble(settings) as parts:
        if migrated:
            with parts.engine.connect() as conn:
                if not inspect(conn).has_table("touch"):
                    fail("the ledger has no tables yet: run `reactivate migrate`")
            check_keys(parts.engine, parts.vault)
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
        with _plain_mistakes():
            yield
    except KeyboardInterrupt:
        click.echo("\ninterrupted; what was committed is safe", err=True)
        sys.exit(Exit.INTERRUPTED)
    except BrokenPipeError:
        _write_no_more()
        sys.exit(Exit.UNREAD)
    except (click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except Exception as error:  # noqa: BLE001 - shown in full; Python's own exit code for it means a broken promise here
        if isinstance(error, OSError) and error.errno in _UNWRITABLE:
            _write_no_more()
            fail(f"the output cannot be written: {error.strerror}", Exit.FAILED)
        traceback.print_exc()
        sys.exit(Exit.FAILED)


def _write_no_more() -> None:
    """Let what is still buffered go nowhere, or Python would try again at its end and complain."""
    with suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a device
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


#: Errors whose message says what is wrong and what to do.
_MISTAKES = (
    SettingsError,
    ChannelSettingsError,
    CampaignError,
    TemplateFileError,
    HaltError,
    ReleaseError,
    ChangedTextError,
    GrammarError,
)


@contextmanager
def _plain_mistakes() -> Iterator[None]:
    try:
        yield
    except _MISTAKES as error:
        fail(str(error))
    except VaultError as error:
        fail(f"{error} (REACTIVATE_VAULT_KEYS)")
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
