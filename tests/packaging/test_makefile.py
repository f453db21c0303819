"""The Makefile: explains itself, and says clearly what is missing."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def test_make_alone_explains_every_target() -> None:
    told = _make(_ROOT).stdout

    phony = re.search(r"^\.PHONY: (.*)$", (_ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    assert set(re.findall(r"^  ([a-z-]+) ", told, re.MULTILINE)) == set(phony[1].split())


def test_without_a_python_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text((_ROOT / "Makefile").read_text())
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "make"):
        (programs / name).symlink_to(_which(name))

    failed = _make(tmp_path, ".venv/bin/python", path=str(programs))

    assert failed.returncode != 0
    assert "No Python 3.11 or later with venv found" in failed.stderr


def _make(directory: Path, *targets: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": path or os.environ["PATH"]}
    make = ["make", "--no-print-directory", *targets]
    return subprocess.run(make, cwd=directory, env=environ, capture_output=True, text=True, timeout=120, check=False)


def _which(name: str) -> Path:
    return next(p / name for p in map(Path, os.environ["PATH"].split(os.pathsep)) if (p / name).exists())
