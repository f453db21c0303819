"""Exploring: every state that the send model can reach, what is wrong with any, and how it came to be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from send_model import AT_REST, MOST_ATTEMPTS, MOVES, Protocol, State, Step, steps

#: What nobody can count on: the touch must come to rest without.
_NOT_TO_RELY_ON: Final = frozenset({"expire", "stop", "book", "crash", "wipe", "repeat"})

LOST_TOUCH: Final = "a touch is lost"


@dataclass
class Explored:
    """All states, each with the step it was first reached by, and the first trace to each kind of violation."""

    came_by: dict[State, tuple[State, Step] | None]
    steps: int = 0
    violations: dict[str, tuple[Step, ...]] = field(default_factory=dict)
    by_touch: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def trace(self, state: State) -> tuple[Step, ...]:
        """The steps that lead to a state, one of the shortest ways."""
        found = []
        while (before := self.came_by[state]) is not None:
            state, step = before
            found.append(step)
        return tuple(reversed(found))

    def __str__(self) -> str:
        counts = ", ".join(f"{touch} {count:,}" for touch, count in sorted(self.by_touch.items()))
        lines = [f"{len(self.came_by):,} states, {self.steps:,} steps; by state of the touch: {counts}"]
        lines += [f"violation: {name}: {' '.join(map(str, trace))}" for name, trace in self.violations.items()]
        return "\n".join(lines if self.violations else [*lines, "no violation"])


def explore(rules: Protocol, looking_for: str | None = None) -> Explored:
    """Every reachable state, breadth first; what lies behind a violation is not looked at.

    `looking_for`: only this violation counts, and the first ends the search.
    """
    start = rules.start()
    found = Explored({start: None})
    edges: defaultdict[State, list[State]] = defaultdict(list)
    frontier = [start]
    while frontier:
        following: list[State] = []
        for state in frontier:
            for step, after in steps(state, rules):
                found.steps += 1
                if step.name not in _NOT_TO_RELY_ON:
                    edges[after].append(state)
                if after in found.came_by:
                    continue
                found.came_by[after] = state, step
                found.by_touch[after.touch] += 1
                problems = [each for each in _problems(state, after, rules) if looking_for in {None, each}]
                for problem in problems:
                    found.violations.setdefault(problem, found.trace(after))
                if problems and looking_for is not None:
                    return found
                if not problems:
                    following.append(after)
        frontier = following
    if looking_for in {None, LOST_TOUCH} and not found.violations:
        _look_for_the_lost(found, edges)
    return found


def _problems(before: State, state: State, rules: Protocol) -> Iterator[str]:
    """What must never be, whatever happened."""
    if state.breach:
        yield state.breach
    if state.touch != before.touch and state.touch not in MOVES.get(before.touch, ()):
        yield f"{before.touch} became {state.touch}"
    live = state.attempts.count("sending")
    if live != (state.touch == "sending"):
        yield "a touch and its attempts disagree"
    if state.touch == "planned" and any(state.taken) and rules.provider_is_honest:
        yield "what was accepted is planned"
    if state.touch == "accepted" and not any(state.taken):
        yield "what nobody accepted is accepted"
    if state.touch == "rejected" and any(state.taken) and rules.provider_is_honest:
        yield "what was accepted is rejected"
    if any(state.told) and state.touch != "accepted":
        yield "a receipt changed nothing"


def _look_for_the_lost(found: Explored, edges: dict[State, list[State]]) -> None:
    """From every state, by what can be counted on, the touch must be able to come to rest."""
    reached = {state for state in found.came_by if _rests(state)}
    frontier = list(reached)
    while frontier:
        for before in edges.get(frontier.pop(), ()):
            if before not in reached:
                reached.add(before)
                frontier.append(before)
    for state in found.came_by:
        if state not in reached:
            found.violations.setdefault(LOST_TOUCH, found.trace(state))


def _rests(state: State) -> bool:
    is_at_the_bound = state.touch == "planned" and len(state.attempts) == MOST_ATTEMPTS
    return state.touch in AT_REST or is_at_the_bound
