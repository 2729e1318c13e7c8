"""What the screen shows: plain values, and what is worked out from them. Pure."""

from __future__ import annotations

import datetime
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from balsam.states import ACTIVE, END, State
from balsam_cli.text import age

RATE_SECONDS = 10.0
"""Over so long a rate is taken."""
BLOCKS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True)
class Run:
    """A job that runs."""

    job_id: str
    name: str
    workflow: str
    application: str
    node: str = ""
    """Names of its nodes; empty: not known here."""
    start_time: datetime.datetime | None = None


@dataclass(frozen=True)
class Cause:
    """Jobs that failed for one cause."""

    jobs: int
    text: str
    example: str
    """Id of one of them."""


@dataclass(frozen=True)
class Launch:
    """A batch launch that is not over."""

    launch_id: int
    state: str
    nodes: int
    wall_minutes: int
    queue: str
    takes: str
    message: str = ""


@dataclass(frozen=True)
class Worker:
    """A scheduler or a launcher at work."""

    kind: str
    place: str
    text: str


@dataclass(frozen=True)
class Picture:
    """A site at one moment."""

    time: float
    """Of a monotonic clock [s]."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """State -> number of jobs."""
    runs: Sequence[Run] = ()
    causes: Sequence[Cause] = ()
    launches: Sequence[Launch] = ()
    workers: Sequence[Worker] = ()

    @property
    def total(self) -> int:
        """How many jobs there are."""
        return sum(self.counts.values())

    @property
    def running(self) -> int:
        """How many of them run; `runs` may hold fewer."""
        return sum(self.counts.get(state.name, 0) for state in ACTIVE)


class Rates:
    """Jobs that end in each way, by the second, over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, Mapping[str, int]]] = deque()

    def add(self, picture: Picture) -> dict[str, float]:
        """End state -> jobs that came to it [1/s], with a new picture. A number that falls counts as no change."""
        self._seen.append((picture.time, picture.counts))
        while len(self._seen) > 2 and picture.time - self._seen[1][0] >= RATE_SECONDS:
            self._seen.popleft()
        since, then = self._seen[0]
        seconds = picture.time - since
        if seconds <= 0:
            return {state.name: 0.0 for state in END}
        return {
            state.name: max(0, picture.counts.get(state.name, 0) - then.get(state.name, 0)) / seconds for state in END
        }

    def clear(self) -> None:
        """Forgets what was: other jobs are counted from now on."""
        self._seen.clear()


def bar(part: int, whole: int, width: int) -> str:
    """A bar of `width` cells for a share of a whole; what is not nothing is seen."""
    if whole <= 0 or part <= 0:
        return " " * width
    eighths = max(1, round(width * 8 * min(part, whole) / whole))
    full, rest = divmod(eighths, 8)
    return (BLOCKS[8] * full + (BLOCKS[rest] if rest else "")).ljust(width)


class Row(NamedTuple):
    """A state with its jobs."""

    state: str
    jobs: int
    rate: float | None
    """Jobs that come to it [1/s]; None: not an end."""


def rows(counts: Mapping[str, int], rates: Mapping[str, float]) -> list[Row]:
    """The states that have jobs, in the order of the graph, and the ends always."""
    shown = [state for state in State if counts.get(state.name) or state in END]
    return [Row(state.name, counts.get(state.name, 0), rates.get(state.name)) for state in shown]


SORTS = ("time", "name", "workflow", "node")
"""What runs may be sorted by."""


def sorted_runs(runs: Iterable[Run], by: str) -> list[Run]:
    """The runs in order: by time the longest first, by a text from a to z."""
    if by == "time":
        never = datetime.datetime.max.replace(tzinfo=datetime.UTC)
        return sorted(runs, key=lambda run: (run.start_time or never, run.job_id))
    return sorted(runs, key=lambda run: (str(getattr(run, by)), run.name, run.job_id))


def since(start: datetime.datetime | None, now: datetime.datetime) -> str:
    """How long something runs."""
    return age((now - start).total_seconds()) if start else ""


def shortened(nodes: Sequence[str]) -> str:
    """Names of nodes in a few words: ``n1``, ``n1, n2``, ``n1 and 3 more``."""
    return ", ".join(nodes) if len(nodes) < 3 else f"{nodes[0]} and {len(nodes) - 1} more"


def launch_of(values: Mapping[str, Any]) -> Launch:
    """A launch from its fields."""
    return Launch(
        int(values["launch_id"]),
        str(values["state"]),
        int(values["nodes"]),
        int(values["wall_minutes"]),
        str(values["queue"]),
        str(values["wf_filter"]) or "all",
        str(values["message"]),
    )
