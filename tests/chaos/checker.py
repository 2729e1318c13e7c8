"""What must hold of a campaign's history. Pure: from plain values to what is wrong with them.

What must hold in every database (histories are paths of the graph, edges, leases) is `tests.support.invariants`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from balsam.states import END, Actor, State
from tests.chaos.plan import BOTH, HANDLED, POST, PRE
from tests.chaos.records import Event, History, Record

LOST, STALE, OVERLAP, OTHER = "lost", "stale", "overlap", "other"

_HARMLESS = ("users", "subscriber", "run", "script")
_MAY_LOSE_GRANTS = 2  # by one fault: the lease that is held, and one that was under way


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: which kind, by which rule, and what."""

    kind: str
    rule: str
    text: str


Check = Callable[[History], Iterator[str]]

CHECKS: dict[str, tuple[str, Check]] = {}
"""Rule -> kind of what breaks it, and its check."""


def rule(kind: str) -> Callable[[Check], Check]:
    """Registers a check under the name of its function."""

    def register(check: Check) -> Check:
        CHECKS[check.__name__] = kind, check
        return check

    return register


def check(history: History) -> list[Finding]:
    """All that is wrong."""
    return [Finding(kind, name, text) for name, (kind, found) in CHECKS.items() for text in found(history)]


def reruns(history: History) -> int:
    """Runs that ended with 0, and of which nothing was accepted: done again for nothing."""
    accepted = Counter(event.job_id for event in _reported(history.events) if State.RUN_DONE in event.states)
    return sum(
        max(0, len(_ends(records)) - accepted[job_id])
        for job_id, records in history.witnesses.items()
        if history.plan[job_id].succeeds
    )


def _reported(events: Iterable[Event]) -> Iterator[Event]:
    return (event for event in events if event.actor == Actor.LAUNCHER)


def _ends(records: Iterable[Record], part: str = "run", code: int = 0) -> set[int]:
    """Attempts with an end of this code."""
    return {record.attempt for record in records if (record.kind, record.part, record.code) == ("end", part, code)}


def _begins(records: Iterable[Record], part: str = "run") -> list[int]:
    return [record.attempt for record in records if (record.kind, record.part) == ("begin", part)]


# Nothing is lost


@rule(LOST)
def acknowledged_jobs_exist(history: History) -> Iterator[str]:
    """A job whose addition was acknowledged is there."""
    for job_id in sorted(history.added - history.jobs.keys()):
        yield f"{job_id} was acknowledged and is gone"


@rule(LOST)
def no_job_came_from_nowhere(history: History) -> Iterator[str]:
    """There are the jobs that were planned, and each of them was acknowledged in the end."""
    for job_id in sorted(history.jobs.keys() - history.plan.keys()):
        yield f"{job_id} was added by nobody"
    for job_id in sorted(history.plan.keys() - history.added):
        yield f"{job_id} was never acknowledged"


@rule(LOST)
def acknowledged_kills_stand(history: History) -> Iterator[str]:
    """A job that was killed stays killed."""
    for job_id in sorted(history.killed):
        row = history.jobs.get(job_id)
        if row is not None and row.state != State.USER_KILLED:
            yield f"{job_id} was acknowledged as killed, and is {State(row.state).name}"


@rule(LOST)
def every_job_has_ended(history: History) -> Iterator[str]:
    """After the drain nothing waits, moves or runs, and nobody holds a job."""
    for row in history.jobs.values():
        if row.state not in END or row.leased:
            held = " and leased" if row.leased else ""
            yield f"{row.job_id} is {State(row.state).name}{held} after the drain"


@rule(LOST)
def ends_are_what_the_story_allows(history: History) -> Iterator[str]:
    """A job that should finish does; one that fails has a reason."""
    hit = {fault.job_id for fault in history.faults if fault.job_id}
    for job_id, row in history.jobs.items():
        job = history.plan.get(job_id)
        if job is None or row.state not in END:
            continue
        failed_parents = [p for p in job.parents if p in history.jobs and history.jobs[p].state in END - _FINISHED]
        reasons = not job.succeeds or job_id in hit or failed_parents or row.restarts > job.max_restarts
        if row.state == State.FAILED and not reasons:
            yield f"{job_id} is FAILED, and nothing that was done to it explains that"
        if row.state == State.USER_KILLED and history.touched.get(job_id) != "kill":
            yield f"{job_id} is USER_KILLED, and nobody did that"
        if row.state == State.JOB_FINISHED and not job.succeeds:
            yield f"{job_id} is JOB_FINISHED, and all its runs end with {job.code}"


_FINISHED = frozenset({State.JOB_FINISHED})


@rule(LOST)
def results_have_a_run(history: History) -> Iterator[str]:
    """What was accepted as the end of an attempt is what the witness of that attempt wrote."""
    for event in _reported(history.events):
        ends = history.witnesses.get(event.job_id, [])
        if State.RUN_DONE in event.states and event.attempt not in _ends(ends):
            yield f"{event.job_id}: RUN_DONE of attempt {event.attempt}, whose run has not ended with 0"
        code = event.exit_code
        if State.RUN_ERROR in event.states and (code is None or code < 128):
            known = code is not None and event.attempt in _ends(ends, code=code)
            if not known:
                yield f"{event.job_id}: RUN_ERROR with {code} of attempt {event.attempt}, whose run has not ended so"


@rule(LOST)
def scripts_were_run(history: History) -> Iterator[str]:
    """A finished job has been through its scripts, to their ends."""
    wanted = {PRE: ("pre",), POST: ("post",), BOTH: ("pre", "post"), HANDLED: ("handle",)}
    for job_id, row in history.jobs.items():
        if row.state != State.JOB_FINISHED or job_id not in history.plan:
            continue
        for part in wanted.get(history.plan[job_id].application, ()):
            if part == "pre" and history.touched.get(job_id) == "restart":
                continue  # to be restarted means: without pre-processing
            if not _ends(history.witnesses.get(job_id, []), part):
                yield f"{job_id} is JOB_FINISHED, and its script `{part}` has never ended with 0"


# Nothing stale is accepted


@rule(STALE)
def one_end_of_each_attempt(history: History) -> Iterator[str]:
    """Of each attempt one result is accepted, and one start; one more where the result came late, after a loss."""
    for job_id, events in history.events_by_job().items():
        count: Counter[tuple[int, int]] = Counter()
        for event in events:
            if event.actor in (Actor.LAUNCHER, Actor.JOBSTORE):
                count.update((event.attempt, state) for state in event.states)
        for attempt in {attempt for attempt, _ in count}:
            starts, losses = count[attempt, State.RUNNING], count[attempt, State.RUN_TIMEOUT]
            results = count[attempt, State.RUN_DONE] + count[attempt, State.RUN_ERROR]
            if results > 1 or losses > 1 or starts > 1 + losses:
                yield f"{job_id}, attempt {attempt}: {starts} starts, {losses} losses, {results} results were accepted"


@rule(STALE)
def accepted_writes_carry_the_newest_attempt(history: History) -> Iterator[str]:
    """What launchers report is of an attempt no older than what they have reported before."""
    for job_id, events in history.events_by_job().items():
        newest = 0
        for event in _reported(events):
            if event.attempt < newest:
                yield f"{job_id}: event {event.sequence} of attempt {event.attempt} was accepted after {newest}"
            newest = max(newest, event.attempt)
        row = history.jobs.get(job_id)
        if row is not None and newest > row.attempt:
            yield f"{job_id}: attempt {newest} was reported, the job is at {row.attempt}"


@rule(STALE)
def children_wait_for_their_parents(history: History) -> Iterator[str]:
    """No child is past AWAITING_PARENTS before each parent has finished once."""
    finished: dict[str, int] = {}
    ready: dict[str, int] = {}
    for event in history.events:
        if State.JOB_FINISHED in event.states:
            finished.setdefault(event.job_id, event.sequence)
        if State.READY in event.states:
            ready.setdefault(event.job_id, event.sequence)
    for job_id, sequence in ready.items():
        for parent in history.plan[job_id].parents if job_id in history.plan else ():
            if finished.get(parent, sequence) >= sequence:
                yield f"{job_id} is READY (event {sequence}) before its parent {parent} has finished"


@rule(STALE)
def what_is_done_is_not_run_again(history: History) -> Iterator[str]:
    """After an accepted end with 0 no attempt begins, unless a user has reset the job."""
    done: dict[str, int] = {}
    for event in _reported(history.events):
        if State.RUN_DONE in event.states:
            done.setdefault(event.job_id, event.attempt)
    for job_id, attempt in done.items():
        later = [a for a in _begins(history.witnesses.get(job_id, [])) if a > attempt]
        if later and history.touched.get(job_id, "kill") == "kill":
            yield f"{job_id}: attempt {attempt} was accepted as done, and attempts {later} have begun"


# One live process set per job


@rule(OVERLAP)
def no_overlaps(history: History) -> Iterator[str]:
    """No run or script found the lock of its job taken."""
    for job_id, records in history.witnesses.items():
        for record in records:
            if record.kind == "overlap":
                yield f"{job_id}: {record.part} {record.attempt} has begun while another process of the job lived"


@rule(OVERLAP)
def attempts_follow_each_other(history: History) -> Iterator[str]:
    """In each witness attempts begin in order, each once, and none ends after a later one has begun."""
    for job_id, records in history.witnesses.items():
        newest = 0
        for record in records:
            if record.part != "run" or record.kind == "overlap":
                continue
            if record.kind == "begin" and record.attempt <= newest:
                yield f"{job_id}: attempt {record.attempt} has begun after {newest}"
            if record.kind == "end" and record.attempt < newest:
                yield f"{job_id}: attempt {record.attempt} has ended after {newest} had begun"
            newest = max(newest, record.attempt)


@rule(OVERLAP)
def no_run_without_a_grant(history: History) -> Iterator[str]:
    """No process exists of which the job store does not know the attempt."""
    for job_id, records in history.witnesses.items():
        known = history.jobs[job_id].attempt if job_id in history.jobs else 0
        for attempt in _begins(records):
            if attempt > known:
                yield f"{job_id}: attempt {attempt} has begun, the job store knows of {known}"


# The rest


@rule(OTHER)
def attempts_stay_in_bounds(history: History) -> Iterator[str]:
    """An attempt that never began was a grant lost with a fault."""
    losing = sum(fault.target not in _HARMLESS for fault in history.faults)
    for job_id, row in history.jobs.items():
        begun = len(_begins(history.witnesses.get(job_id, [])))
        if row.attempt - begun > _MAY_LOSE_GRANTS * losing:
            yield f"{job_id}: {row.attempt} attempts, of which {begun} have begun, with {losing} faults"


@rule(OTHER)
def the_stream_has_no_gap_and_no_repeat(history: History) -> Iterator[str]:
    """The subscriber was told the event log, whole and in order, through all restarts."""
    expected = 1
    for event in history.stream:
        if event.sequence != expected:
            yield f"event {event.sequence} came where {expected} was due"
        expected = event.sequence + 1
    told = {event.sequence: event for event in history.stream}
    for event in history.events:
        if told.get(event.sequence, event) != event:
            yield f"event {event.sequence} was told as {told[event.sequence]}, and is stored as {event}"
    if history.events and history.events[-1].sequence >= expected:
        yield f"the stream ends before event {expected}, the log with {history.events[-1].sequence}"


@rule(OTHER)
def the_log_has_no_gap(history: History) -> Iterator[str]:
    """Nothing was deleted: the sequences of the log are the whole numbers from 1."""
    for expected, event in enumerate(history.events, 1):
        if event.sequence != expected:
            yield f"event {event.sequence} is stored where {expected} was due"
            return


def by_rule(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """Findings, rule by rule."""
    found: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        found[finding.rule].append(finding)
    return found
