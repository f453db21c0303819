"""The locked requirements: complete, hashed, and the same wherever they are installed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_every_requirement_is_pinned_and_hashed(lock: str) -> None:
    entries = _entries(lock)

    assert entries
    for name, entry in entries.items():
        assert re.match(r"[a-z0-9-]+==[^ ;]+", entry), name
        assert "--hash=sha256:" in entry, name


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_no_registry_and_no_path_is_named(lock: str) -> None:
    options = [line for line in _text(lock).splitlines() if not re.match(r"[a-z0-9]|    --hash=sha256:", line)]

    assert options == []
    assert "://" not in _text(lock)
    assert " @ " not in _text(lock)


def test_every_dependency_and_the_build_backend_are_locked() -> None:
    project = tomllib.loads(_text("pyproject.toml"))
    asked = [*project["project"]["dependencies"], *project["build-system"]["requires"], *_asked("requirements.in")]

    assert {_name(wish) for wish in asked} - set(_entries("requirements.lock")) == set()


def test_the_tests_run_on_the_very_versions_that_are_shipped() -> None:
    shipped, developed = _entries("requirements.lock"), _entries("requirements-dev.lock")

    assert {_name(wish) for wish in _asked("requirements-dev.in")} - set(developed) == set()
    assert {name: developed.get(name) for name in shipped} == shipped


def _text(name: str) -> str:
    return (_ROOT / name).read_text()


def _asked(name: str) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in _text(name).splitlines())
    return [line for line in lines if line]


def _name(wish: str) -> str:
    return re.split(r"[\[<>=!~ ;]", wish, maxsplit=1)[0].lower().replace("_", "-")


def _entries(lock: str) -> dict[str, str]:
    """Requirement -> its whole entry, continued lines joined."""
    joined = _text(lock).replace("\\\n", " ")
    return {_name(line): line for line in joined.splitlines() if line}
