"""What `balsam ls` lists, and how."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from balsam.client import Client
from balsam.errors import ValidationError
from balsam.fields import JOB_FIELDS, LAUNCH_FIELDS
from balsam.query import AllOf, Key, Node, Test
from balsam.states import State
from balsam_cli import records, selection
from balsam_cli.output import Column, JsonPrinter, Listing, Printer, Record, state_style
from balsam_cli.terminal import hint, note
from balsam_cli.text import count
from balsam_cli.tree import tree

ROWS = 100
ENV_ROWS = "BALSAM_LS_LIMIT"
"""How many rows tables have where no --limit is given: as in Balsam 0.x."""
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


def rows_shown(wanted: Wanted, as_json: bool) -> int | None:
    """How many rows are printed at most; None: all.

    Raises:
        ValidationError: BALSAM_LS_LIMIT is no number.
    """
    if as_json or wanted.limit is not None:
        return wanted.limit
    given = os.environ.get(ENV_ROWS, "").strip()
    if given and not given.isdecimal():
        raise ValidationError(f"{ENV_ROWS} = {given!r}: must be a whole number of rows")
    return int(given) if given else ROWS


def list_jobs(store: Client, wanted: Wanted, printer: Printer, as_json: bool) -> None:
    """Prints jobs: an array of whole jobs, or a table of at most a hundred."""
    where = conditions(store, wanted)
    limit = rows_shown(wanted, as_json)
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
    if any(row["state"] == State.FAILED.name for row in rows):
        hint("`balsam failures` groups what failed by cause")


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
        records.NAME._replace(title="JOB", text=lambda row: str(row["_tree"]), spare=False)
        if column.text is records.NAME.text
        else column
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
    as_json = isinstance(printer, JsonPrinter)
    limit = rows_shown(wanted, as_json)
    found = map(records.application_record, _applications(store, wanted.name))
    shown = list(itertools.islice(found, limit))
    if shown or as_json:
        printer.rows(Listing(records.APPLICATION_COLUMNS, shown))
        _say_more(0 if as_json else sum(1 for _ in found))
    else:
        note(_no_application(store, wanted.name))


def _applications(store: Client, name: str | None) -> Iterator[Record]:
    where = [selection.exact_or_glob("name", name)] if name is not None else []
    return itertools.chain.from_iterable(store.applications.pages(AllOf(tuple(where))))


def _no_application(store: Client, name: str | None) -> str:
    if name is None or selection.is_glob(name):
        return "no application matches; register one with `balsam app`"
    loose = f"*{name}*"
    return f"no application matches; name {loose!r} would match {sum(1 for _ in _applications(store, loose)):,}"


def list_launches(store: Client, wanted: Wanted, printer: Printer) -> None:
    """Prints launches as the batch system has them now: of many the newest, and these oldest first."""
    from balsam_cli.launches import bring_up_to_date

    bring_up_to_date(store)
    as_json = isinstance(printer, JsonPrinter)
    limit = rows_shown(wanted, as_json)
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
    """Prints workflows, each with its jobs by state; `name` and `workflow` both name workflows here."""
    named = [selection.exact_or_glob("workflow", wanted.name)] if wanted.name is not None else []
    workflows: dict[str, dict[str, int]] = {}
    where = [*conditions(store, replace(wanted, name=None)), *named]
    groups = store.jobs.groups(AllOf(tuple(where)), ["workflow", "state"])
    for (workflow, state), number in groups:
        workflows.setdefault(workflow, {})[state] = number
    rows = [
        {"workflow": name, "jobs": sum(states.values()), "states": states} for name, states in sorted(workflows.items())
    ]
    as_json = isinstance(printer, JsonPrinter)
    limit = rows_shown(wanted, as_json)
    if rows or as_json:
        printer.rows(Listing(_WORKFLOW_COLUMNS, rows[:limit]))
        _say_more(0 if as_json or limit is None else len(rows) - limit)
    else:
        note(selection.why_none(store, None, wanted.name if wanted.workflow is None else wanted.workflow))
