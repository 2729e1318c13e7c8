"""When jobs entered their states, and what can be plotted of that: the report functions of Balsam 0.x.

    from balsam.core.models import throughput_report

    times, done = throughput_report()
    plt.step(times, done, where="post")

Everything is read from the event log, page by page. Times are when things happened, in UTC; counts are numpy arrays
where numpy is installed, else lists. `Tally`, and each report of times that it is given, is without I/O.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from balsam.errors import ValidationError
from balsam.fields import JOB_FIELDS
from balsam.history import RUN_ENDS, Move
from balsam.job import BalsamJob, is_query
from balsam.query import EVERYTHING

if TYPE_CHECKING:
    from balsam.queryset import QuerySet

_IDS = 1000
"""Jobs in one filter of events. With more of them the job store takes longer for each event, not shorter."""
_MINUTE = timedelta(minutes=1)


class JobTimes(dict[str, list[datetime]]):
    """State -> the times at which jobs entered it. A state that none has entered has an empty list.

    Each list goes by job, and for each job from the first time to the last. `run_ends` are the times at which runs
    ended: by RUN_DONE, RUN_ERROR and RUN_TIMEOUT, and by whatever else a running job was moved to.
    """

    def __init__(self) -> None:
        super().__init__()
        self.run_ends: list[datetime] = []

    def __missing__(self, state: str) -> list[datetime]:
        return self.setdefault(state, [])


class Tally:
    """Collects moves of jobs until all of them are known. A job that turns out to be deleted counts nowhere."""

    def __init__(self) -> None:
        self._free = itertools.count()
        self._places: dict[str, int] = {}
        self._deleted: set[int] = set()
        self._entered: dict[str, list[tuple[int, datetime]]] = {}
        self._run_ends: list[tuple[int, datetime]] = []
        self._running: dict[int, datetime] = {}

    def add(self, moves: Iterable[Move], job_ids: Iterable[str] = ()) -> None:
        """Adds moves, of each job in their order. `job_ids` go before jobs that have not been seen yet."""
        for job_id in job_ids:
            self._place(job_id)
        for move in moves:
            if move.deleted:
                self._delete(move.job_id)
            elif move.states:
                self._enter(self._place(move.job_id), move)

    def _place(self, job_id: str) -> int:
        place = self._places.get(job_id)
        if place is None:
            place = self._places[job_id] = next(self._free)
        return place

    def _delete(self, job_id: str) -> None:
        # Its history went with it, but some of that may have been read before. The id may be used again.
        place = self._places.pop(job_id, None)
        if place is not None:
            self._deleted.add(place)

    def _enter(self, place: int, move: Move) -> None:
        for state in move.states:
            started = self._running.pop(place, None)
            if started is not None:
                # A launcher's clock may be ahead of that of who ended the run.
                self._run_ends.append((place, max(started, move.time)))
            if state == "RUNNING":
                self._running[place] = move.time
            self._entered.setdefault(state, []).append((place, move.time))

    def times(self) -> JobTimes:
        """What has been collected."""
        times = JobTimes()
        for state, entries in self._entered.items():
            if remaining := self._by_job(entries):
                times[state] = remaining
        times.run_ends = self._by_job(self._run_ends)
        return times

    def _by_job(self, entries: list[tuple[int, datetime]]) -> list[datetime]:
        return [time for place, time in sorted(entries, key=lambda entry: entry[0]) if place not in self._deleted]


def process_job_times(qs: QuerySet[Any] | None = None) -> JobTimes:
    """When jobs entered their states: of all jobs, or of those that a query gives.

    Args:
        qs: a query, such as ``BalsamJob.objects.filter(workflow="w")``.

    Returns:
        A dict: name of the state -> list of `datetime`, in UTC, one for each time that one of the jobs entered it. The
        lists go by job, in the order of the query (of all jobs: of creation), so those of two states that every job
        entered once belong together item by item. For a state that no job has entered the list is empty.

    Raises:
        ValidationError: `qs` is no query of jobs.
        BalsamError: the jobs cannot be read.
    """
    return _read(qs)


def throughput_report(time_data: Mapping[str, Sequence[datetime]] | None = None) -> tuple[list[datetime], Any]:
    """How many runs have ended in RUN_DONE, over time. A job that was run again counts again.

    Args:
        time_data: what `process_job_times` gave, for the jobs of a query; None: all jobs.

    Returns:
        ``(times, counts)``, equally long, empty if there were none: `times` is a rising list of `datetime`, in UTC; the
        count [runs], rising, is that from this time on.

    Raises:
        ValidationError: `time_data` is no dict of times.
        BalsamError: the jobs cannot be read.
    """
    done = Counter(_times_of(time_data, "RUN_DONE"))
    times = sorted(done)
    return times, _array(itertools.accumulate(done[time] for time in times))


def utilization_report(time_data: Mapping[str, Sequence[datetime]] | None = None) -> tuple[list[datetime], Any]:
    """How many jobs were RUNNING, over time.

    A run ends when its job leaves RUNNING, however it does. A plain dict as `time_data` does not tell which state came
    after which: of that, RUN_DONE, RUN_ERROR and RUN_TIMEOUT count as ends, as in Balsam 0.x.

    Args:
        time_data: what `process_job_times` gave, for the jobs of a query; None: all jobs.

    Returns:
        ``(times, counts)``, equally long, empty if no job has run: `times` is a rising list of `datetime`, in UTC; the
        count [jobs], never negative, is that from this time until the next.

    Raises:
        ValidationError: `time_data` is no dict of times.
        BalsamError: the jobs cannot be read.
    """
    data = _read(None) if time_data is None else _checked(time_data)
    starts, ends = Counter(data.get("RUNNING", ())), Counter(_run_ends(data))
    times = sorted({*starts, *ends})
    started = itertools.accumulate(starts[time] for time in times)
    ended = itertools.accumulate(ends[time] for time in times)
    return times, _array(max(begun - over, 0) for begun, over in zip(started, ended, strict=True))


def error_report(time_data: Mapping[str, Sequence[datetime]] | None = None) -> tuple[list[datetime], Any]:
    """How many runs ended in RUN_ERROR, minute by minute: a histogram.

    Args:
        time_data: what `process_job_times` gave, for the jobs of a query; None: all jobs.

    Returns:
        ``(times, counts)``, both empty if there was no error (0.x: None). Otherwise `times` is a list of `datetime`, in
        UTC, one longer than the counts: the edges of minutes, of which the first begins with the first error.
        ``counts[i]`` [runs] is of ``times[i] <= t < times[i + 1]``, and in the last minute of its end, too.

    Raises:
        ValidationError: `time_data` is no dict of times.
        BalsamError: the jobs cannot be read.
    """
    errors = sorted(_times_of(time_data, "RUN_ERROR"))
    if not errors:
        return [], _array(())
    first = errors[0]
    minutes = max(-((first - errors[-1]) // _MINUTE), 1)  # rounded up
    counts = Counter(min((time - first) // _MINUTE, minutes - 1) for time in errors)
    return [first + minute * _MINUTE for minute in range(minutes + 1)], _array(counts[i] for i in range(minutes))


def _times_of(time_data: Mapping[str, Sequence[datetime]] | None, state: str) -> Sequence[datetime]:
    data = _read(None, [state]) if time_data is None else _checked(time_data)
    return data.get(state, ())


def _checked(time_data: Mapping[str, Sequence[datetime]]) -> Mapping[str, Sequence[datetime]]:
    if not isinstance(time_data, Mapping):
        # Its representation might be thousands of jobs.
        raise ValidationError(
            f"time_data is a {type(time_data).__name__}: must be what process_job_times(query) returns",
            field="time_data",
        )
    return time_data


def _run_ends(time_data: Mapping[str, Sequence[datetime]]) -> Iterable[datetime]:
    if isinstance(time_data, JobTimes):
        return time_data.run_ends
    return itertools.chain.from_iterable(time_data.get(state, ()) for state in RUN_ENDS)


def _array(counts: Iterable[int]) -> Any:
    values = list(counts)
    try:
        import numpy
    except ImportError:
        return values
    return numpy.array(values, dtype=int)


# Reading


def _read(qs: QuerySet[Any] | None, states: Sequence[str] = ()) -> JobTimes:
    jobs: QuerySet[Any] = BalsamJob.objects if qs is None else qs
    if not is_query(jobs) or jobs.model._kind != BalsamJob._kind:
        raise ValidationError(
            f"qs is a {type(qs).__name__}: must be a query of jobs, such as BalsamJob.objects.filter(workflow='w')",
            field="qs",
        )
    events = jobs.model._client().events
    tally = Tally()
    if jobs._as_condition(JOB_FIELDS, "job_id") == EVERYTHING and not jobs._order:
        tally.add(events.moves(states=states))
    else:
        for ids in _batches(jobs):
            tally.add(events.moves(ids, states), ids)
    return tally.times()


def _batches(jobs: QuerySet[Any]) -> Iterator[list[str]]:
    """The ids of a query, each once: a job that changes meanwhile may come again on a later page."""
    seen: set[str] = set()
    rows = map(str, jobs.values_list("pk", flat=True).iterator(_IDS))
    while page := list(itertools.islice(rows, _IDS)):
        if fresh := [job_id for job_id in dict.fromkeys(page) if job_id not in seen]:
            yield fresh
        seen.update(fresh)
