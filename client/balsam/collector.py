"""Python's collector of reference cycles: rare in processes that hold many objects for long, or end soon."""

from __future__ import annotations

import gc

_ALLOCATIONS, _YOUNG, _MIDDLE = 50_000, 20, 20


def collect_rarely() -> None:
    """Looks for cycles rarely, and never among what has been loaded so far.

    A service makes a few objects for each job, and hardly a cycle: with Python's own setting (each 700 allocations) the
    search takes half of the time of adding jobs. To be called when everything is imported.
    """
    gc.collect()
    gc.freeze()
    collect_seldom()


def collect_seldom() -> None:
    """Looks for cycles rarely from now on: a command makes hardly any beside those of the modules that it loads."""
    gc.set_threshold(_ALLOCATIONS, _YOUNG, _MIDDLE)


def end_without_collecting() -> None:
    """The process is about to end. Searching all that it has loaded for cycles once more, as the interpreter does then,
    would take a tenth of the time of a command. For programs that are ours as a whole: objects in cycles are not told.
    """
    gc.freeze()
