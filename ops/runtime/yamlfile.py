"""YAML files people write: read into a typed model, every problem told with its line, field and reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from ops.runtime.filekinds import mistaken
from ops.runtime.yamlreasons import reason_for

M = TypeVar("M", bound=BaseModel)

#: Plain scalars that mean "nothing"; quoted ones are text.
_NOTHING = frozenset({"", "~", "null", "Null", "NULL"})
_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend: the line (from 1), the dotted field, and the reason."""

    line: int
    field: str
    reason: str


def repeated(names: Sequence[str]) -> list[str]:
    """The names that are there more than once, in order of the alphabet."""
    return sorted(name for name, times in Counter(names).items() if times > 1)


class FileProblems(Exception):  # noqa: N818 (it is the list of problems, and its text is what a person reads)
    """A file cannot be used. The text has one `path:line: field: reason` per problem."""

    def __init__(self, path: Path, problems: Sequence[Problem]) -> None:
        self.path = path
        self.problems = tuple(problems)
        super().__init__("\n".join(self._line(problem) for problem in self.problems))

    def _line(self, problem: Problem) -> str:
        field = f"{problem.field}: " if problem.field else ""
        return f"{self.path}:{problem.line}: {field}{problem.reason}"


class Places:
    """Where in a file its values lie, for what is found wrong with them after they were read."""

    def __init__(self, root: yaml.Node) -> None:
        self._root = root

    def problem(self, where: Sequence[str | int], reason: str, nth: int | None = None) -> Problem:
        """A problem of the value at `where`; of the `nth` line of its text (from 0), where each stands on its own."""
        node, line, field, _ = _walk(self._root, where)
        if nth is not None and isinstance(node, yaml.ScalarNode) and node.style == "|":
            line = _line(node) + 1 + nth
        return Problem(line, field, reason)


def read_yaml(path: Path, model: type[M], context: Any = None) -> M:
    """Read `path` into `model`; its validators are given `context`.

    Every scalar reaches the model as the text that was written (unquoted `null`, `~` and nothing at all as None)
    and the model says what it is, so that a record number 007, a state NO or a phone +1… stay what they are.

    Raises:
        FileProblems: the file is missing, is no YAML, repeats a key, is of another kind, or does not fit the model.
    """
    return read_yaml_with_places(path, model, context=context)[0]


def read_yaml_with_places(
    path: Path,
    model: type[M],
    also: Callable[[Any, Places], Iterable[Problem]] = lambda _data, _places: (),
    context: Any = None,
) -> tuple[M, Places]:
    """The same, and where everything lies.

    `also` says what else is wrong with the plain data, so that it is told at once with what does not fit the model.

    Raises:
        FileProblems: as `read_yaml`.
    """
    root = _compose(path)
    problems: list[Problem] = []
    data = _plain(root, "", problems)
    if problems:
        raise FileProblems(path, problems)
    if isinstance(data, dict) and (another := mistaken(path, data, model.model_fields)):
        raise FileProblems(path, [Problem(_line(root), "", another)])
    places = Places(root)
    found = list(also(data, places))
    try:
        read = model.model_validate(data, context=context)
    except ValidationError as error:
        found += (_problem(root, details) for details in _told(error))
    if found:
        raise FileProblems(path, sorted(found, key=lambda problem: problem.line))
    return read, places


def _compose(path: Path) -> yaml.Node:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FileProblems(path, [Problem(1, "", (error.strerror or "it cannot be read").lower())]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise FileProblems(path, [Problem(line, "", "not UTF-8 text")]) from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(part for part in (error.context, error.problem) if part)
        raise FileProblems(path, [Problem(mark.line + 1 if mark else 1, "", f"not YAML: {reason}")]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise FileProblems(path, [Problem(line, "", f"not YAML: {error.reason}")]) from None
    if root is None:
        raise FileProblems(path, [Problem(1, "", "the file is empty")])
    return root


def _plain(node: yaml.Node, field: str, problems: list[Problem], inside: tuple[int, ...] = ()) -> Any:
    """The node as dictionaries, lists and text; repeated, nested or merging keys are noted as problems."""
    if id(node) in inside:
        problems.append(Problem(_line(node), field, "an alias that contains itself"))
        return None
    inside = (*inside, id(node))
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, field, problems, inside)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, f"{field}[{number}]", problems, inside) for number, item in enumerate(node.value)]
    is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
    return None if is_plain and node.value in _NOTHING else node.value


def _mapping(node: yaml.MappingNode, field: str, problems: list[Problem], inside: tuple[int, ...]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    first_lines: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
            problems.append(Problem(_line(key), field, "a key must be plain text (merge keys are not supported)"))
            continue
        name = f"{field}.{key.value}" if field else key.value
        if key.value in first_lines:
            problems.append(Problem(_line(key), name, f"repeated; first on line {first_lines[key.value]}"))
            continue
        first_lines[key.value] = _line(key)
        result[key.value] = _plain(value, name, problems, inside)
    return result


def _told(error: ValidationError) -> Iterator[Any]:
    """What does not fit; of a list that is said to be too short because its entries do not fit, the entries alone."""
    errors = error.errors(include_url=False, include_input=False)
    for each in errors:
        place = each["loc"]
        is_echo = each["type"] == "too_short" and any(
            len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in errors
        )
        if not is_echo:
            yield each


def _problem(root: yaml.Node, details: Any) -> Problem:
    path, is_missing = list(details["loc"]), details["type"] in ("missing", "union_tag_not_found")
    if details["type"].startswith("union_tag_"):
        path.append(details["ctx"]["discriminator"].strip("'"))
    _, line, field, is_there = _walk(root, path)
    if is_missing and not is_there:
        field = f"{field}.{path[-1]}".lstrip(".")
    return Problem(line, field, reason_for(details["type"], details.get("ctx", {})))


def _walk(root: yaml.Node, path: Sequence[str | int]) -> tuple[yaml.Node, int, str, bool]:
    """The node that pydantic's location leads to, its line and field; and whether the last part names one.

    Parts that name no node (a union's member) are passed over.
    """
    node, line, field, is_there = root, _line(root), "", True
    for part in path:
        step = _step(node, part)
        is_there = step is not None
        if step is not None:
            line, node = step
            field = f"{field}[{part}]" if isinstance(part, int) else f"{field}.{part}".lstrip(".")
    return node, line, field, is_there


def _step(node: yaml.Node, part: int | str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        child = node.value[part]
        return _line(child), child
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == str(part):
                return _line(key), value
    return None


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1
