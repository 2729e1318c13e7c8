"""What must hold in every database of a job store at any time, whatever has happened to it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa

from balsam.fields import LAUNCH_OVER
from balsam.site import Site
from balsam.states import WAITING, Actor, State, path_is_allowed
from balsam_jobstore.database import Database, sqlite_url
from balsam_jobstore.history import EventRecord, unpack_states
from balsam_jobstore.rules import Needs, RuleSet
from balsam_jobstore.schema import STATE_COUNTS

Rows = list[dict[str, Any]]


def violations(
    connection: sa.Connection, published: Sequence[EventRecord] | None = None, rules: RuleSet | None = None
) -> list[str]:
    """What does not hold.

    Args:
        connection: to the database.
        published: all that was ever told to subscribers, to be compared with what is stored.
        rules: those in force; what follows by them has followed.
    """
    tables = {
        name: [dict(row) for row in connection.execute(sa.text(f"SELECT * FROM {name}")).mappings()]
        for name in ("job", "job_detail", "edge", "event", "session", "application", "launch", "counter")
    }
    return [
        *_histories(tables),
        *_edges(tables),
        *_leases(tables),
        *_launches(tables),
        *_details(tables),
        *_sequences(tables, published),
        *_counts(tables),
        *_unfollowed(tables, rules or RuleSet()),
    ]


def violations_of_site(site: Site) -> list[str]:
    """What does not hold in the database of a site whose services do not run: SQLite, or a server that does."""
    name = site.settings.database
    database = Database(sqlite_url(site.database) if name == "sqlite" else name)
    try:
        with database.reader() as connection:
            return violations(connection)
    finally:
        database.close()


def _counts(tables: dict[str, Rows]) -> Iterator[str]:
    """How many jobs are in each state is known."""
    counted = Counter(job["state"] for job in tables["job"])
    for state, column in STATE_COUNTS.items():
        if tables["counter"][0][column] != counted[state]:
            yield f"{column} is {tables['counter'][0][column]}, and {counted[state]} jobs are {State(state).name}"


def _histories(tables: dict[str, Rows]) -> Iterator[str]:
    """Every history is a path of the graph, move by move as its actor may, and ends in the state that is stored."""
    histories: dict[int, Rows] = defaultdict(list)
    for event in sorted(tables["event"], key=lambda event: event["sequence"]):
        if event["deleted_id"] is None:
            histories[event["job"]].append(event)
    for job in tables["job"]:
        events = histories.pop(job["key"], [])
        if not events or unpack_states(events[0]["states"]) != (State.CREATED,):
            yield f"the history of {job['name']} does not start with CREATED"
            continue
        state = int(State.CREATED)
        for event in events[1:]:
            states = unpack_states(event["states"])
            if not path_is_allowed(Actor(event["actor"]), state, states):
                names = [State(s).name for s in (state, *states)]
                yield f"{job['name']}: {Actor(event['actor']).name} moved it through {names}"
            state = states[-1] if states else state
        if state != job["state"]:
            yield f"{job['name']} is {State(job['state']).name}, its history ends with {State(state).name}"
    for key in histories:
        yield f"a history of a job that does not exist: {key}"


def _edges(tables: dict[str, Rows]) -> Iterator[str]:
    """`unmet` counts the parents that are waited for; who still waits has the right ones of them marked as met."""
    jobs = {job["key"]: job for job in tables["job"]}
    unmet: Counter[int] = Counter()
    for edge in tables["edge"]:
        child, parent = jobs.get(edge["child"]), jobs.get(edge["parent"])
        if child is None or parent is None:
            yield f"an edge of a job that does not exist: {edge}"
            continue
        unmet[edge["child"]] += not edge["met"]
        finished = parent["state"] == State.JOB_FINISHED and parent["session"] is None
        if child["state"] in WAITING and bool(edge["met"]) != finished:
            yield f"{child['name']} waits, and its edge to {parent['name']} says met = {edge['met']}"
        if not child["needs"] & Needs.PARENTS or not parent["needs"] & Needs.CHILDREN:
            yield f"the needs of {child['name']} and {parent['name']} do not know of their edge"
    for job in jobs.values():
        if job["unmet"] != unmet[job["key"]]:
            yield f"{job['name']}: unmet = {job['unmet']}, but {unmet[job['key']]} edges are"


def _unfollowed(tables: dict[str, Rows], rules: RuleSet) -> Iterator[str]:
    """Nothing waits that could go on, and nothing waits for what has failed."""
    jobs = {job["key"]: job for job in tables["job"]}
    for job in tables["job"]:
        if job["session"] is None and (move := rules.next_move(SimpleNamespace(**job))):
            yield f"{job['name']} is {State(job['state']).name} and could go to {State(move.path[-1]).name}"
    if not rules.rules:
        return
    for edge in tables["edge"]:
        child, parent = jobs[edge["child"]], jobs[edge["parent"]]
        failed = parent["state"] == State.USER_KILLED or (parent["state"] == State.FAILED and parent["session"] is None)
        if failed and child["state"] == State.AWAITING_PARENTS and child["session"] is None:
            yield f"{child['name']} waits for {parent['name']}, which is {State(parent['state']).name}"


def _leases(tables: dict[str, Rows]) -> Iterator[str]:
    """A lease has a session, and what runs has a lease."""
    sessions = {session["key"] for session in tables["session"]}
    for job in tables["job"]:
        if job["session"] is not None and job["session"] not in sessions:
            yield f"{job['name']} is leased by session {job['session']}, which does not exist"
        if job["session"] is None and job["state"] == State.RUNNING:
            yield f"{job['name']} is RUNNING and nobody runs it"


def _launches(tables: dict[str, Rows]) -> Iterator[str]:
    """A job is bound to a launch that may still run it, or to none."""
    alive = {launch["key"] for launch in tables["launch"] if launch["state"] not in LAUNCH_OVER}
    for job in tables["job"]:
        if job["launch"] is not None and job["launch"] not in alive:
            yield f"{job['name']} is bound to launch {job['launch']}, which is over or does not exist"


def _details(tables: dict[str, Rows]) -> Iterator[str]:
    """Both rows of a job say the same, and no two jobs share a working directory."""
    details = {detail["key"]: detail for detail in tables["job_detail"]}
    scripts = {app["key"]: app for app in tables["application"]}
    if details.keys() != {job["key"] for job in tables["job"]}:
        yield "jobs without a detail, or the other way round"
    for job in tables["job"]:
        expected = _needs(details[job["key"]], scripts.get(job["application"]))
        if job["needs"] & ~int(Needs.PARENTS | Needs.CHILDREN) != expected:
            yield f"{job['name']}: needs {Needs(job['needs'])!r}, but its fields say {Needs(expected)!r}"
    shared = Counter(detail["workdir"] for detail in details.values() if not detail["user_workdir"])
    for workdir, count in shared.items():
        if count > 1:
            yield f"{count} jobs have the working directory {workdir}"


def _needs(detail: dict[str, Any], application: dict[str, Any] | None) -> int:
    needs = Needs(0)
    for bit, holds in (
        (Needs.NO_WAIT, not detail["wait_for_parents"]),
        (Needs.NO_TIMEOUT_RETRY, not detail["auto_timeout_retry"]),
        (Needs.ERROR_HANDLER, detail["post_error_handler"]),
        (Needs.TIMEOUT_HANDLER, detail["post_timeout_handler"]),
        (Needs.STAGE_IN_URL, detail["stage_in_url"]),
        (Needs.INPUT_FILES, detail["input_files"]),
        (Needs.STAGE_OUT, detail["stage_out_url"] and detail["stage_out_files"]),
        (Needs.GPUS, detail["gpus_per_rank"]),
        (Needs.BOUND_CORES, detail["cpu_affinity"] == 2),
        (Needs.PREPROCESS, application and application["preprocess"]),
        (Needs.POSTPROCESS, application and application["postprocess"]),
    ):
        needs |= bit if holds else Needs(0)
    return int(needs)


def _sequences(tables: dict[str, Rows], published: Sequence[EventRecord] | None) -> Iterator[str]:
    """Stored events are those that were published, less those of deleted jobs; there was no hole and no repeat."""
    stored = sorted(event["sequence"] for event in tables["event"])
    last = tables["counter"][0]["event_sequence"]
    if stored and stored[-1] > last:
        yield f"event {stored[-1]} is beyond the counter, {last}"
    if published is None:
        return
    if [event.sequence for event in published] != list(range(1, last + 1)):
        yield f"published were {[event.sequence for event in published]}, the counter is at {last}"
    deleted = {event.key for event in published if event.deleted}
    kept = [event.sequence for event in published if event.deleted or event.key not in deleted]
    if stored != kept:
        yield f"stored are {stored}, but published and not deleted {kept}"
