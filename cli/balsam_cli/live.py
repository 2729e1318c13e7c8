"""`balsam ls --watch`: a table that follows the event stream."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from rich.console import Group
from rich.live import Live
from rich.text import Text

from balsam.client import Client
from balsam.errors import NotAllowed
from balsam.query import Key, Node
from balsam.states import ACTIVE, ALL, END, State
from balsam_cli import listing, records, selection
from balsam_cli.output import Listing, Record, console, rich_table, state_style
from balsam_cli.text import count
from balsam_cli.watch import Changes

_AGES = 1.0  # seconds after which ages are drawn again


def watch_jobs(store: Client, wanted: listing.Wanted) -> None:
    """Shows jobs as they change, until interrupted.

    Raises:
        NotAllowed: stdout is not a terminal.
        BalsamError: the job store has stopped.
    """
    if not sys.stdout.isatty():
        raise NotAllowed("--watch draws on a terminal, and stdout is none; use --json or `balsam ls` in a loop")
    where = listing.conditions(store, wanted)
    changes = Changes(store)
    counts: dict[str, int] = {}
    rows: list[Record] = []
    try:
        with Live(console=console(), auto_refresh=False, transient=False) as live:
            while True:
                if changes.wait(_AGES):
                    began = time.monotonic()
                    counts, rows = _look(store, where, _room(live, wanted))
                    changes.looked(began)
                live.update(_drawn(counts, rows, wanted), refresh=True)
    except KeyboardInterrupt:
        pass
    finally:
        changes.close()


def _room(live: Live, wanted: listing.Wanted) -> int:
    rows = max(1, live.console.height - 5)
    return rows if wanted.limit is None else min(rows, wanted.limit)


_NEWEST = (Key("create_time", descending=True),)
_GROUPS: tuple[tuple[frozenset[State], Sequence[Key]], ...] = ((ACTIVE, ()), (ALL - ACTIVE - END, ()), (END, _NEWEST))
"""What is worth a line: what runs, then what waits, then what ended last."""


def _look(store: Client, where: Sequence[Node], most: int) -> tuple[dict[str, int], list[Record]]:
    """Counts by state, and as many jobs as there is room for."""
    counts = listing.states_of(store, where)
    rows: list[Record] = []
    for states, order in _GROUPS:
        group = selection.test("state", "IN", *sorted(state.name for state in states))
        left = most - len(rows)
        found = selection.list_jobs(store, [*where, group], limit=left, fields=listing.ALL_FIELDS, order=order)
        rows += map(records.job_record, found)
    return counts, rows


def _drawn(counts: dict[str, int], rows: list[Record], wanted: listing.Wanted) -> Group:
    line = Text(count(sum(counts.values()), "job"), style="bold")
    for row in listing.state_rows(counts):
        line.append(f"   {row['state']} {row['jobs']:,}", style=state_style(row))
    table = rich_table(Listing(records.job_columns(verbose=wanted.verbose), rows))
    return Group(line, Text(""), table)
