"""Bars for work that takes a while: on a terminal only, and gone when the work is done."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, overload

Show = Callable[[int], None]
"""Takes how much is done by now, in the unit of the bar."""

JOBS, BYTES = "jobs", "bytes"
"""Units of a bar."""
_WORTH = {JOBS: 2_000, BYTES: 4_000_000}
"""Less than this is done before a bar could be read."""
_STEP = 500  # jobs between two looks at the bar


@contextlib.contextmanager
def bar(what: str, total: int | None, unit: str, *, quiet: bool) -> Iterator[Show]:
    """A bar on stderr as long as the context lasts.

    Args:
        what: what is done, such as ``adding jobs``.
        total: how much there is to do; None: nobody knows.
        unit: ``JOBS`` or ``BYTES``.
        quiet: shows none, as with ``--json``.
    """
    if quiet or not sys.stderr.isatty() or (total is not None and total < _WORTH[unit]):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    amount = DownloadColumn() if unit == BYTES else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn(compact=True))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)


class Counted(Sequence[Mapping[str, Any]]):
    """Jobs that tell how far somebody has come who goes through them."""

    def __init__(self, jobs: Sequence[Mapping[str, Any]], show: Show) -> None:
        self._jobs = jobs
        self._show = show

    def __len__(self) -> int:
        return len(self._jobs)

    @overload
    def __getitem__(self, index: int) -> Mapping[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Mapping[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> Mapping[str, Any] | Sequence[Mapping[str, Any]]:
        return self._jobs[index]

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for number, job in enumerate(self._jobs):
            if number % _STEP == 0:
                self._show(number)
            yield job
        self._show(len(self._jobs))
