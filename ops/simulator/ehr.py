"""The record system of a synthetic health system: made from a seed, the same every time, exported as real ones do."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ops.simulator.adopt import adopt
from ops.simulator.draws import Draws
from ops.simulator.history import Care, Story, make_care
from ops.simulator.people import Person, make_people
from ops.simulator.sites import Site, make_sites

_RECIPE = "world.json"


@dataclass(frozen=True, slots=True)
class Recipe:
    """All it takes to make the same world again."""

    seed: int
    sites: int
    patients: int
    start: str
    """ISO 8601 instant, UTC."""
    months: int
    export: str | None = None
    """Folder of the FHIR export whose patients come to life instead of made ones."""
    organisation: str | None = None
    """The organisation file by which that export is read."""


#: The system that numbers the appointments of made worlds, in their exports and in events alike.
SYSTEM = "ehr"


@dataclass(frozen=True, slots=True)
class World:
    """Sites, patients and how they stand in their service lines when the story begins (`start`, UTC)."""

    recipe: Recipe
    start: datetime
    end: datetime
    draws: Draws
    sites: tuple[Site, ...]
    people: list[Person]
    care: list[Care]
    system: str = SYSTEM
    """The record system's name, the same in its exports and its events."""
    own_words: tuple[str, ...] = ()
    """The organisation's name and address, as messages give them."""

    @property
    def lapsed(self) -> list[Care]:
        """The living who are lapsed at the start."""
        return [care for care in self.care if care.story is Story.LAPSED and care.person.deceased_on is None]


def generate(
    seed: int,
    sites: int = 6,
    patients: int = 6000,
    start: datetime = datetime(2025, 1, 6, tzinfo=UTC),
    months: int = 12,
) -> World:
    """Make a world. `start` must be aware; a month is 30.4 days here.

    Raises:
        ValueError: a number is out of range, or `start` is naive.
    """
    if start.tzinfo is None:
        raise ValueError("start: expected an instant with its zone")
    if patients < 1 or months < 1:
        raise ValueError("patients and months: expected at least 1")
    start = start.astimezone(UTC)
    draws = Draws(seed)
    made_sites = make_sites(sites)
    people = make_people(draws, made_sites, patients, start.date())
    return World(
        recipe=Recipe(seed, sites, patients, start.isoformat(), months),
        start=start,
        end=_end(start, months),
        draws=draws,
        sites=made_sites,
        people=people,
        care=[care for person in people for care in make_care(draws, person, start)],
    )


def adopt_export(seed: int, export: Path, organisation: Path, start: datetime, months: int) -> World:
    """A world of the patients in somebody else's FHIR export, as of `start` (aware).

    Raises:
        ValueError: the export or the organisation file cannot be used, or `start` is naive.
        OSError: a file cannot be read.
    """
    if start.tzinfo is None:
        raise ValueError("start: expected an instant with its zone")
    start = start.astimezone(UTC)
    draws = Draws(seed)
    adopted = adopt(export, organisation, draws, start)
    recipe = Recipe(
        seed,
        len(adopted.sites),
        len(adopted.people),
        start.isoformat(),
        months,
        export=str(export.absolute()),
        organisation=str(organisation.absolute()),
    )
    end = _end(start, months)
    return World(
        recipe, start, end, draws, adopted.sites, adopted.people, adopted.care, adopted.system, adopted.own_words
    )


def write_recipe(world: World, directory: Path) -> None:
    """Leave the recipe in `directory`, for another process to make the same world."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / _RECIPE).write_text(json.dumps(asdict(world.recipe), indent=2) + "\n")


def read_world(directory: Path) -> World:
    """Make the world again whose recipe lies in `directory`.

    Raises:
        FileNotFoundError: nobody made a world there.
    """
    path = directory / _RECIPE
    if not path.exists():
        raise FileNotFoundError(f"{path}: no world here; make one with `python -m ops.simulator --make --world DIR`")
    recipe = Recipe(**json.loads(path.read_text()))
    start = datetime.fromisoformat(recipe.start)
    if recipe.export is not None and recipe.organisation is not None:
        return adopt_export(recipe.seed, Path(recipe.export), Path(recipe.organisation), start, recipe.months)
    return generate(recipe.seed, recipe.sites, recipe.patients, start, recipe.months)


def _end(start: datetime, months: int) -> datetime:
    return start + timedelta(days=round(30.4 * months))
