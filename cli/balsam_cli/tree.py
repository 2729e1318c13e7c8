"""Jobs as a tree of what waits for what. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence


def tree(parents: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str, int]]:
    """Every job once, below its first parent that is among them, in the given order.

    Args:
        parents: job -> its parents; parents that are no keys are outside of the tree.

    Yields:
        (what to draw before the job, job, how many more parents it has beside the one that it stands below).
    """
    children: dict[str, list[str]] = {}
    roots: list[str] = []
    for job, above in parents.items():
        known = [parent for parent in above if parent in parents]
        (children.setdefault(known[0], []) if known else roots).append(job)
    # Not recursive: chains may be longer than Python's stack.
    stack = [(root, "", "") for root in reversed(roots)]
    while stack:
        job, lead, branch = stack.pop()
        inside = any(parent in parents for parent in parents[job])
        yield lead + branch, job, max(0, len(parents[job]) - (1 if inside else 0))
        below = {"": "", "├─ ": "│  ", "└─ ": "   "}[branch]
        stack.extend(_branches(children.get(job, ()), lead + below))


def _branches(jobs: Iterable[str], lead: str) -> list[tuple[str, str, str]]:
    """For a stack: the first child on top."""
    rows = [(job, lead, "├─ ") for job in jobs]
    if rows:
        rows[-1] = (rows[-1][0], lead, "└─ ")
    return rows[::-1]
