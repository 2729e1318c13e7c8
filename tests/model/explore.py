"""All states that a protocol can reach, breadth first, and the shortest way to the first that breaks an invariant."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from tests.model.invariants import PROGRESS, broken, finished
from tests.model.protocol import Label, Protocol


@dataclass
class Result:
    """What was found."""

    states: int
    """How many there are, or were looked at."""
    complete: bool
    """All of them were."""
    broken: str = ""
    """The invariant that does not hold; empty: all do."""
    trace: list[Label] = field(default_factory=list)
    """The shortest way there."""
    seen: set[str] = field(default_factory=set)
    """Everything that happened anywhere."""

    def story(self) -> str:
        """The trace, a step a line."""
        lines = [f"broken after {len(self.trace)} steps: {self.broken}"]
        for what, slot, job in self.trace:
            where = [f"launcher {'ABC'[slot]}"] * (slot >= 0) + [f"job {job + 1}"] * (job >= 0)
            lines.append(f"  {what}" + (f"  [{', '.join(where)}]" if where else ""))
        return "\n".join(lines)


def explore(protocol: Protocol, *, most: int = 10_000_000, progress: bool = True) -> Result:
    """Looks at every state; those that differ in the names of launchers only are one.

    Args:
        protocol: what may happen.
        most: how many states to look at before giving up.
        progress: also looks whether the end can be reached from everywhere, which needs all states.
    """
    layout = protocol.layout
    start = layout.start
    index = {start: 0}
    states = [start]
    is_good = [False]
    came_from = array("l", [-1])
    edges = array("l")  # successors of all states, one after the other
    seen: set[str] = set()
    ends = array("l")  # where those of each state end
    at = 0
    while at < len(states) and len(states) < most:
        # Where nothing is left, nothing happens any more.
        steps = [] if is_good[at] and not any(states[at][layout.wire :]) else protocol.steps(states[at])
        for (what, _, _), new in steps:
            seen.add(what)
            place = index.get(new)
            if place is None:
                named, new = new, layout.canonical(new)
                place = index.get(new)
                if place is not None:
                    index[named] = place
            if place is None:
                place = index[new] = len(states)
                states.append(new)
                is_good.append(finished(layout, new))
                came_from.append(at)
                problem = broken(layout, new)
                if problem:
                    return Result(len(states), False, problem, _trace(protocol, states, came_from, place))
            if progress:
                edges.append(place)
        ends.append(len(edges))
        at += 1
    result = Result(len(states), at == len(states), seen=seen)
    if progress and result.complete:
        stuck = _stuck(is_good, edges, ends)
        if stuck is not None:
            result.broken = PROGRESS
            result.trace = _trace(protocol, states, came_from, stuck)
    return result


def _stuck(good: list[bool], edges: array[int], ends: array[int]) -> int | None:
    """The first state from which no good one can be reached."""
    before: list[list[int]] = [[] for _ in good]
    start = 0
    for source, end in enumerate(ends):
        for target in edges[start:end]:
            before[target].append(source)
        start = end
    reached = good[:]
    todo = [place for place, is_good in enumerate(good) if is_good]
    while todo:
        for source in before[todo.pop()]:
            if not reached[source]:
                reached[source] = True
                todo.append(source)
    return next((place for place, is_reached in enumerate(reached) if not is_reached), None)


def _trace(protocol: Protocol, states: list[bytes], came_from: array[int], place: int) -> list[Label]:
    """The steps from the start to a state; launchers keep their names on the way."""
    way = [place]
    while way[-1]:
        way.append(came_from[way[-1]])
    labels: list[Label] = []
    here = states[0]
    for target in way[-2::-1]:
        label, here = next(step for step in protocol.steps(here) if _same(protocol, step[1], states[target]))
        labels.append(label)
    return labels


def _same(protocol: Protocol, one: bytes, other: bytes) -> bool:
    return one == other or protocol.layout.canonical(one) == protocol.layout.canonical(other)
