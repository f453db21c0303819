"""What every command shares: its settings, errors told in one sentence, and exit codes scripts can trust."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any, NoReturn

import click
from sqlalchemy import inspect
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError

from channels.kit.contract import ChannelSettingsError
from ops.assembly import Parts, assemble
from ops.runtime.amqp import AmqpUrlError, BrokerUnavailable
from ops.runtime.bus_contract import BusError
from ops.runtime.settings import Settings, SettingsError, read_settings
from ops.runtime.yamlfile import FileProblems
from ops.services.start import ServiceError
from producers.campaigns import CampaignError


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
    """Print for machines."""
    click.echo(json.dumps(value, indent=2, sort_keys=True, default=str))


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
        path.parent.mkdir(parents=True, exist_ok=True)
    with assemble(settings) as parts:
        if migrated:
            with parts.engine.connect() as conn:
                if not inspect(conn).has_table("touch"):
                    fail("the ledger has no tables yet: run `reactivate migrate`")
        yield parts


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what a user can mend into one sentence and an exit code; anything else is a bug and shows as one."""
    try:
        yield
    except (SettingsError, ChannelSettingsError, AmqpUrlError, CampaignError) as error:
        fail(str(error))
    except FileProblems as error:
        fail(f"the file was not used:\n{error}")
    except (BrokerUnavailable, BusError, ServiceError) as error:
        fail(str(error), Exit.UNAVAILABLE)
    except OperationalError as error:
        fail(f"the database cannot be used: {_first_line(error)}", Exit.UNAVAILABLE)
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
