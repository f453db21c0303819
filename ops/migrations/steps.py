"""The steps this release knows: every migration in order, and what each does to the code before it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection

from domain.ledger.schema_steps import Kind, Step

_HERE = Path(__file__).parent


@lru_cache
def steps(beyond: Path | None = None) -> Sequence[Step]:
    """Every migration from the first to the newest, and those in the folder `beyond`.

    Raises:
        RuntimeError: there is none, there is no single newest, or one does not say what it does to older code.
    """
    directory = ScriptDirectory.from_config(config_for(None, beyond))
    heads = directory.get_heads()
    if len(heads) != 1:
        raise RuntimeError(f"there is not one newest migration, but {len(heads)}")
    return [step_of(script) for script in reversed(list(directory.walk_revisions()))]


def step_of(script: Script) -> Step:
    """What a migration says of itself. Raises RuntimeError where it does not, or contradicts itself."""
    kind, needs = getattr(script.module, "kind", None), getattr(script.module, "needs", None)
    if kind not in list(Kind):
        raise RuntimeError(f'migration {script.revision}: kind must be "expand" or "contract"')
    if (kind == Kind.CONTRACT) != isinstance(needs, str):
        raise RuntimeError(
            f'migration {script.revision}: needs = "REVISION" belongs to each contract and to nothing else: the oldest '
            "revision whose code runs with it"
        )
    return Step(script.revision, Kind(kind), needs, (script.doc or "").strip().splitlines()[0].rstrip("."))


def config_for(conn: Connection | None, beyond: Path | None = None) -> Config:
    """Alembic's configuration for migrating on `conn`; None = only to look at the migrations."""
    config = Config()
    # percent signs would be read as interpolation
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    folders = [_HERE / "versions", *([beyond] if beyond else [])]
    config.set_main_option("version_locations", "\n".join(str(each) for each in folders).replace("%", "%%"))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["connection"] = conn
    return config
