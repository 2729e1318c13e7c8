"""What `balsam ls` lists, and how."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from balsam.client import Client
from balsam.fields import JOB_FIELDS, LAUNCH_FIELDS
from balsam.query import AllOf, Key, Node, Test
from balsam.states import State
from balsam_cli import records, selection
from balsam_cli.output import Column, JsonPrinter, Listing, Printer, Record, state_style
from balsam_cli.terminal import note
from balsam_cli.text import count
from balsam_cli.tree import tree

ROWS = 100
ALL_FIELDS = tuple(JOB_FIELDS)
_EVENTS_PAGE = 10_000
_HISTORIES_AT_ONCE = 500


@dataclass(frozen=True)
class Wanted:
    """The options of a listing."""

    name: str | None = None
    ids: Sequence[str] = ()
    workflow: str | None = None
    states: Sequence[str] = ()
    by_states: bool = False
    tree: bool = False
    history: bool = False
    verbose: bool = False
    limit: int | None = None


def conditions(store: Client, wanted: Wanted) -> list[Node]:
    """The conditions on jobs that the options give; prefixes of ids are looked up."""
    ids = selection.find_ids(store, wanted.ids)
    states = [state for word in wanted.states for state in word.split(",")]
    return selection.job_conditions(name=wanted.name, workflow=wanted.workflow, states=states, ids=ids)


def list_jobs(store: Client, wanted: Wanted, printer: Printer, as_json: bool) -> None:
    """Prints jobs: an array of whole jobs, or a table of at most a hundred."""
    where = conditions(store, wanted)
    limit = wanted.limit if as_json or wanted.limit is not None else ROWS
    jobs = selection.list_jobs(store, where, limit=limit, fields=ALL_FIELDS)
    found: Iterable[Record] = map(records.job_record, jobs)
    if wanted.history:
        found = _with_histories(store, found)
    if isinstance(printer, JsonPrinter):
        printer.rows(Listing((), found))
        return
    rows = list(found)
    if not rows:
        note(selection.why_none(store, wanted.name, wanted.workflow))
        return
    if wanted.tree:
        _print_tree(rows, wanted, printer)
    elif wanted.history:
        _print_histories(rows, printer)
    else:
        printer.rows(Listing(records.job_columns(verbose=wanted.verbose), rows))
    if limit is not None and len(rows) == limit:
        _say_more(selection.count_jobs(store, where) - limit)


def _say_more(more: int) -> None:
    if more > 0:
        note(f"... {more:,} more; show them with --limit N, or --json")


def _print_tree(rows: list[Record], wanted: Wanted, printer: Printer) -> None:
    by_id = {row["job_id"]: row for row in rows}
    drawn = []
    for lead, job_id, more in tree({job_id: row["parents"] for job_id, row in by_id.items()}):
        row = by_id[job_id]
        also = f" (+{count(more, 'parent')})" if more else ""
        drawn.append({**row, "_tree": f"{lead}{row['name'] or 'job'}{also}"})
    columns = [
        column._replace(title="JOB", text=lambda row: str(row["_tree"])) if column is records.NAME else column
        for column in records.job_columns(verbose=wanted.verbose)
    ]
    columns.sort(key=lambda column: column.title != "JOB")
    printer.rows(Listing(columns, drawn))


def _print_histories(rows: list[Record], printer: Printer) -> None:
    blocks = [
        Listing(records.HISTORY_COLUMNS, row["history"], title=f"{row['job_id']}  {row['name'] or 'job'}")
        for row in rows
    ]
    printer.one({}, *blocks)


def _with_histories(store: Client, rows: Iterable[Record]) -> Iterator[Record]:
    """The jobs, each with its `history`; asked for in batches, so that memory stays bounded."""
    rows = iter(rows)
    while batch := list(itertools.islice(rows, _HISTORIES_AT_ONCE)):
        histories = history_of(store, [row["job_id"] for row in batch])
        for row in batch:
            yield row | {"history": histories[row["job_id"]]}


def history_of(store: Client, ids: Sequence[str]) -> dict[str, list[Record]]:
    """The histories of jobs, oldest first."""
    from balsam.v1 import event_service_pb2
    from balsam.v1.event_service_pb2_grpc import EventServiceStub

    histories: dict[str, list[Record]] = {one: [] for one in ids}
    request = event_service_pb2.ListEventsRequest(
        filter=event_service_pb2.EventFilter(job_ids=ids), page_size=_EVENTS_PAGE
    )
    while True:
        page = store.call(EventServiceStub, "ListEvents", request)
        for event in page.events:
            if not event.deleted:
                histories[event.job_id] += records.event_records(event)
        if not page.more or not page.events:
            return histories
        request.after_sequence = page.events[-1].sequence


def states_of(store: Client, where: Sequence[Node]) -> dict[str, int]:
    """State -> number of jobs, in the order of the graph, without those that have none."""
    counts = {state: number for (state,), number in store.jobs.groups(AllOf(tuple(where)), ["state"])}
    return {state.name: counts[state.name] for state in State if counts.get(state.name)}


STATE_COLUMNS = (
    Column("STATE", lambda record: str(record["state"]), style=state_style),
    Column("JOBS", lambda record: f"{record['jobs']:,}", right=True),
)


def state_rows(counts: dict[str, int]) -> list[Record]:
    """The rows of a table of states."""
    return [{"state": state, "jobs": number} for state, number in counts.items()]


def count_states(store: Client, wanted: Wanted, printer: Printer) -> None:
    """Prints how many jobs are in each state."""
    counts = states_of(store, conditions(store, wanted))
    if not counts and not isinstance(printer, JsonPrinter):
        note(selection.why_none(store, wanted.name, wanted.workflow))
        return
    printer.one(counts, Listing(STATE_COLUMNS, state_rows(counts)))


def list_applications(store: Client, wanted: Wanted, printer: Printer) -> None:
    """Prints applications."""
    where = [selection.exact_or_glob("name", wanted.name)] if wanted.name is not None else []
    pages = store.applications.pages(AllOf(tuple(where)))
    found = map(records.application_record, itertools.chain.from_iterable(pages))
    nothing = "no application matches; register one with `balsam app`"
    _print(printer, records.APPLICATION_COLUMNS, itertools.islice(found, wanted.limit), nothing)


def list_launches(store: Client, wanted: Wanted, printer: Printer) -> None:
    """Prints launches as the batch system has them now: of many the newest, and these oldest first."""
    from balsam_cli.launches import bring_up_to_date

    bring_up_to_date(store)
    as_json = isinstance(printer, JsonPrinter)
    limit = wanted.limit if as_json or wanted.limit is not None else ROWS
    states = [state.upper() for word in wanted.states for state in word.split(",")]
    where = [Test("state", (), "IN", tuple(map(LAUNCH_FIELDS["state"].check, states)))] if states else []
    pages = store.launches.pages(AllOf(tuple(where)), [Key("launch_id", descending=True)])
    newest_first = itertools.chain.from_iterable(pages)
    shown = list(itertools.islice(newest_first, limit))
    _print(printer, records.LAUNCH_COLUMNS, map(records.launch_record, reversed(shown)), "no launch matches")
    if shown and not as_json:
        _say_more(sum(1 for _ in newest_first))


def _print(printer: Printer, columns: Sequence[Column], found: Iterable[Record], nothing: str) -> None:
    rows = list(found)
    if rows or isinstance(printer, JsonPrinter):
        printer.rows(Listing(columns, rows))
    else:
        note(nothing)


_WORKFLOW_COLUMNS = (
    Column("WORKFLOW", lambda record: str(record["workflow"])),
    Column("JOBS", lambda record: f"{record['jobs']:,}", right=True),
    Column("STATES", lambda record: "  ".join(f"{state} {n:,}" for state, n in record["states"].items())),
)


def list_workflows(store: Client, wanted: Wanted, printer: Printer) -> None:
    """Prints workflows, each with its jobs by state."""
    workflows: dict[str, dict[str, int]] = {}
    groups = store.jobs.groups(AllOf(tuple(conditions(store, wanted))), ["workflow", "state"])
    for (workflow, state), number in groups:
        workflows.setdefault(workflow, {})[state] = number
    rows = [
        {"workflow": name, "jobs": sum(states.values()), "states": states} for name, states in sorted(workflows.items())
    ]
    if wanted.name is not None:
        rows = [row for row in rows if row["workflow"] == wanted.name]
    as_json = isinstance(printer, JsonPrinter)
    limit = wanted.limit if as_json or wanted.limit is not None else ROWS
    if rows or as_json:
        printer.rows(Listing(_WORKFLOW_COLUMNS, rows[:limit]))
        _say_more(0 if as_json or limit is None else len(rows) - limit)
    else:
        note(selection.why_none(store, None, wanted.workflow or wanted.name))
