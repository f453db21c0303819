"""Which processes are at work somewhere, as Linux tells; elsewhere none is seen."""

from __future__ import annotations

from pathlib import Path


def working_in(directory: Path) -> set[int]:
    """Every process whose working directory is below `directory`, by id."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            here = (process / "cwd").readlink()
        except OSError:
            continue  # it ended meanwhile, or is not ours to look at
        if here.is_relative_to(directory):
            found.add(int(process.name))
    return found
