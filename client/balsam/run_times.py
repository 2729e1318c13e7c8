"""How long the runs of each application take, from a sample of the event log.

    times = sample(client)
    times.lengths("simulate", num_nodes=4)      # seconds, sorted
    quantile(times.lengths("simulate"), 0.95)

The sample takes a second or a few, however long the log is. What is made of it is without I/O.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from balsam.history import RUN_ENDS
from balsam.query import AllOf, Test
from balsam.states import State

if TYPE_CHECKING:
    from balsam.client import Client
    from balsam.history import Move

LEAST = 5
"""With fewer runs nothing is said of an application."""
_ENOUGH = 20  # with fewer runs of an application, more are looked for
_WINDOWS, _WINDOW = 40, 500  # so many places of the log, and events from each
_MOST_JOBS = 2000
_OF_ONE = 100  # jobs of an application that are looked for by its name
_MOST_NAMES = 30
_IDS = 1000
_RUN_DONE = int(State.RUN_DONE)
_STATES = ("RUNNING", *RUN_ENDS, "FAILED", "USER_KILLED")


class RunTimes:
    """Lengths of runs that ended in RUN_DONE, by application and number of nodes."""

    def __init__(self) -> None:
        self._lengths: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, application: str, num_nodes: int, seconds: float) -> None:
        """Adds a run."""
        self._lengths[application][num_nodes].append(seconds)

    def lengths(self, application: str, num_nodes: int | None = None) -> list[float]:
        """Of the runs of an application, sorted [s]: of those with so many nodes where there are `LEAST`, else of all.

        Args:
            application: its name; empty: jobs without one.
            num_nodes: nodes of a run; None: any.
        """
        by_nodes = self._lengths.get(application, {})
        exact = by_nodes.get(num_nodes, []) if num_nodes is not None else []
        if len(exact) >= LEAST:
            return sorted(exact)
        return sorted(itertools.chain.from_iterable(by_nodes.values()))

    def minutes(self, share: float) -> dict[str, int]:
        """Application -> whole minutes within which this share of its runs ended, rounded up; of those with `LEAST`.

        Args:
            share: 0 to 1.
        """
        found = {name: self.lengths(name) for name in self._lengths if name}
        return {name: -int(-quantile(one, share) // 60) for name, one in found.items() if len(one) >= LEAST}


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value of sorted ones below which this share of them is, between its neighbours in proportion.

    Args:
        ordered: values, rising; at least one.
        share: 0 to 1.
    """
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def run_lengths(moves: Iterable[Move]) -> dict[str, float]:
    """Job -> how long its last run took that ended in RUN_DONE [s], from moves of each job in their order."""
    started: dict[str, float] = {}
    lengths: dict[str, float] = {}
    for move in moves:
        for state in move.states:
            begun = started.pop(move.job_id, None)
            if state == "RUNNING":
                started[move.job_id] = move.time.timestamp()
            elif state == "RUN_DONE" and begun is not None:
                lengths[move.job_id] = max(0.0, move.time.timestamp() - begun)
    return lengths


# Reading


def sample(client: Client, applications: Iterable[str] = ()) -> RunTimes:
    """Reads a sample of the runs that there were, from all over the history.

    Args:
        client: the site.
        applications: of these some more are looked for, where the sample has few.

    Raises:
        BalsamError: the job store cannot be asked.
    """
    times = RunTimes()
    ids = _thinned(list(dict.fromkeys(_done_somewhere(client))), _MOST_JOBS)
    _add(client, times, ids)
    known = set(ids)
    rare = [name for name in dict.fromkeys(applications) if len(times.lengths(name)) < _ENOUGH]
    for name in rare[:_MOST_NAMES]:
        _add(client, times, [job_id for job_id in _finished(client, name) if job_id not in known])
    return times


def expected_minutes(client: Client) -> dict[str, int]:
    """Application -> minutes in which launchers that have a time limit expect its runs to end, by the history.

    Without the setting `fit_by_history` they expect nothing: it is empty, and nothing is read.

    Raises:
        BalsamError: the job store cannot be asked, or the settings are not valid.
    """
    share = client.site.settings.fit_by_history
    return sample(client).minutes(share) if share > 0 else {}


def _done_somewhere(client: Client) -> Iterator[str]:
    """Ids of jobs of which a run ended well in one of the windows."""
    last = _last_sequence(client)
    step = max(1, last // (_WINDOWS * _WINDOW))
    for number in range(min(_WINDOWS, -(-last // _WINDOW))):
        for event in client.events.page(number * step * _WINDOW, _WINDOW):
            if _RUN_DONE in event.states:
                yield event.job_id


def _last_sequence(client: Client) -> int:
    """Of the last event, or a little less: found by halving, as an index tells at once whether there is more."""
    high = _WINDOW
    while client.events.page(high, 1):
        high *= 8
    low = 0
    while high - low > _WINDOW:
        middle = (low + high) // 2
        low, high = (middle, high) if client.events.page(middle, 1) else (low, middle)
    return high


def _thinned(ids: Sequence[str], most: int) -> list[str]:
    return list(ids[:: -(-len(ids) // most) or 1])


def _finished(client: Client, application: str) -> list[str]:
    """Ids of some jobs of an application that have finished."""
    where = AllOf(
        (Test("application", (), "EXACT", (application,)), Test("state", (), "EXACT", (State.JOB_FINISHED.name,)))
    )
    return [job["job_id"] for job in next(client.jobs.pages(where, page_size=_OF_ONE, fields=()), [])]


def _add(client: Client, times: RunTimes, job_ids: Sequence[str]) -> None:
    for first in range(0, len(job_ids), _IDS):
        ids = job_ids[first : first + _IDS]
        lengths = run_lengths(client.events.moves(ids, _STATES))
        for job_id, (application, nodes) in _shapes(client, ids).items():
            if job_id in lengths:
                times.add(application, nodes, lengths[job_id])


def _shapes(client: Client, ids: Sequence[str]) -> Mapping[str, tuple[str, int]]:
    where = Test("job_id", (), "IN", tuple(ids))
    pages = client.jobs.pages(where, page_size=_IDS, fields=("application", "num_nodes"))
    return {job["job_id"]: (job.get("application", ""), job.get("num_nodes", 1)) for page in pages for job in page}
