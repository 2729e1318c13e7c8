"""Python's collector of reference cycles, in processes that hold many objects for long."""

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
    gc.set_threshold(_ALLOCATIONS, _YOUNG, _MIDDLE)
