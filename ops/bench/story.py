"""The twelve-month story in one process on SQLite: patients per second, of twenty times as many as well."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

from ops.bench.children import python, together
from ops.bench.figures import Bar, BenchError, Figure, compared
from ops.bench.ground import Ground

_PATIENCE = 1_500.0


def measure(ground: Ground) -> list[Figure]:
    """One comparison: patients per second of a large story, beside a small one told before and after it."""
    few, many, months = ground.size.pick((1_000, 20_000, 12), (300, 1_500, 3), (50, 100, 1))
    before = _told(ground, few, months)
    large = _told(ground, many, months)
    after = _told(ground, few, months)
    named = {f"{many:,} patients": [large], f"{few:,} patients": [before, after]}
    ground.say(f"story: {large:.1f} patients/s of {many:,}, {median([before, after]):.1f} of {few:,}")
    what = f"patients per second of a story of {months} months, {many:,} patients : {few:,}; 1 is linear growth"
    return [compared("embedded story", what, "patients/s", named, 1.0, Bar.AT_LEAST)]


def _told(ground: Ground, patients: int, months: int) -> float:
    out = ground.directory / f"story-{patients}"
    sizes = ["--patients", str(patients), "--months", str(months)]
    (report,) = together([python("ops.cli.main", "demo", *sizes, "--out", str(out), "--json")], {}, _PATIENCE)
    _check(report["promises"], out)
    return patients / float(report["seconds"])


def _check(promises: dict[str, int], out: Path) -> None:
    broken = {name: count for name, count in promises.items() if count}
    if broken:
        raise BenchError(f"the story in {out} broke promises: {json.dumps(broken)}")
