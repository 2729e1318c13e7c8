"""The jobs of a workflow as a graph that fits on a page: job by job, or jobs of like names together. Pure."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

MOST_JOBS = 200_000
"""Jobs of which a graph is made."""
MOST_BOXES = 200
"""Boxes in a picture; with more jobs, those of like names are drawn as one."""
MOST_ON_LEVEL = 30
"""Boxes on one level; with more, nobody can follow the lines."""

_NUMBER = re.compile(r"\d+")


class Node(NamedTuple):
    """A job.

    Attributes:
        job_id: its id.
        name: its name.
        state: its state, by name.
        parents: ids of its parents.
    """

    job_id: str
    name: str
    state: str
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Box:
    """What is drawn as one: a job, or jobs of like names.

    Attributes:
        name: of the job; of several, with `#` for numbers.
        states: how many of them are in which state.
        level: boxes that it depends on have lower ones; from 0.
        chained: some of them depend on others of them.
    """

    name: str
    states: Counter[str]
    level: int
    chained: bool = False

    @property
    def count(self) -> int:
        """How many jobs it stands for."""
        return self.states.total()


@dataclass(frozen=True)
class Picture:
    """Boxes and what depends on what.

    Attributes:
        boxes: from the first level to the last.
        edges: places of parent and child -> how many dependencies that is. The parent's level is the lower one.
        jobs: how many there are in all.
        left_out: so many of them are in no box: those of the rarest names.
    """

    boxes: tuple[Box, ...]
    edges: dict[tuple[int, int], int]
    jobs: int
    left_out: int = 0

    @property
    def is_summary(self) -> bool:
        """Whether a box may stand for several jobs."""
        return any(box.count > 1 for box in self.boxes)


def levels(nodes: Sequence[Node]) -> list[int]:
    """The level of each node: the length of the longest way from a node without parents. Parents that are not among the
    nodes do not count. What is in a cycle, which the job store refuses to make, is at level 0."""
    places = {node.job_id: place for place, node in enumerate(nodes)}
    children: dict[int, list[int]] = defaultdict(list)
    unmet = [0] * len(nodes)
    for place, node in enumerate(nodes):
        for parent in node.parents:
            if parent in places:
                children[places[parent]].append(place)
                unmet[place] += 1
    found = [0] * len(nodes)
    ready = [place for place, count in enumerate(unmet) if not count]
    while ready:
        place = ready.pop()
        for child in children[place]:
            found[child] = max(found[child], found[place] + 1)
            unmet[child] -= 1
            if not unmet[child]:
                ready.append(child)
    return found


def picture(nodes: Sequence[Node], most: int = MOST_BOXES) -> Picture:
    """The graph in at most so many boxes.

    Jobs are drawn one by one where they are few, and few on each level; else those of like names on one level
    together; else all of like names; and of those, the ones that stand for most jobs.
    """
    level_of = levels(nodes)
    stems = [_NUMBER.sub("#", node.name) for node in nodes]
    keys: Sequence[object] = [node.job_id for node in nodes]
    for coarser in (list(zip(stems, level_of, strict=True)), stems):
        if len(set(keys)) > most or _widest(keys, level_of) > MOST_ON_LEVEL:
            keys = coarser
    named = [node.name for node in nodes] if len(set(keys)) == len(nodes) else stems
    kept = [key for key, _ in Counter(keys).most_common(most)]
    return _joined(nodes, keys, named, level_of, set(kept))


def _widest(keys: Sequence[object], level_of: Sequence[int]) -> int:
    """How many boxes the longest level has."""
    return max(Counter(level for _, level in set(zip(keys, level_of, strict=True))).values(), default=0)


def _joined(
    nodes: Sequence[Node], keys: Sequence[object], names: Sequence[str], level_of: Sequence[int], kept: set[object]
) -> Picture:
    states: dict[object, Counter[str]] = {}
    first: dict[object, int] = {}
    for place, (node, key) in enumerate(zip(nodes, keys, strict=True)):
        if key in kept:
            states.setdefault(key, Counter())[node.state] += 1
            if key not in first or level_of[place] < level_of[first[key]]:
                first[key] = place
    order = sorted(first, key=lambda key: (level_of[first[key]], first[key]))
    place_of = {key: place for place, key in enumerate(order)}
    key_of = {node.job_id: key for node, key in zip(nodes, keys, strict=True)}
    edges: Counter[tuple[int, int]] = Counter()
    chained: set[object] = set()
    for node, key in zip(nodes, keys, strict=True):
        for parent in node.parents:
            other = key_of.get(parent)
            if other is None or other not in place_of or key not in place_of:
                continue
            if other == key:
                chained.add(key)
            elif level_of[first[other]] < level_of[first[key]]:
                edges[place_of[other], place_of[key]] += 1
            # What goes back, from jobs of one name to those of an earlier one, is left out.
    boxes = tuple(
        Box(
            names[first[key]] if states[key].total() == 1 else _NUMBER.sub("#", names[first[key]]),
            states[key],
            level_of[first[key]],
            key in chained,
        )
        for key in order
    )
    return Picture(boxes, dict(edges), len(nodes), len(nodes) - sum(box.count for box in boxes))
