"""Takes jobs from the lines of a file. Parents come before their children, so that nothing runs before its time and
no cycle can be made; each batch is one transaction, after which all that must hold does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from balsam.errors import BalsamError, Conflict, InvalidParentsError, NotFound
from balsam_jobstore.creation import probe
from balsam_jobstore.database import Sql
from balsam_jobstore.moving import checking, records, writing
from balsam_jobstore.moving.format import Line
from balsam_jobstore.moving.records import Record
from balsam_jobstore.refusals import MOST_REFUSALS, Refused, refused
from balsam_jobstore.tx import Tx

_OTHER = ("owner", "create_time", "revision", "description")
"""In which an application here may differ from that of the file: they change no run."""
_DERIVED = ("owner", "has_children", "unmet_parents", "failed_parent")
"""What a job that was imported has by who imports it, and by the jobs around it."""


@dataclass
class Imported:
    """What became of lines."""

    created: int = 0
    existing: int = 0
    applications: int = 0
    launches: int = 0
    refused: int = 0
    refusals: list[Refused] = field(default_factory=list)
    """The first."""

    def refuse(self, line: Line, error: BalsamError) -> None:
        """Counts a line that was refused."""
        self.refused += 1
        if len(self.refusals) < MOST_REFUSALS:
            job_id = line.value.get("job_id", "")
            named = str(line.value.get("name") or job_id)[:200]
            error = type(error)(f"line {line.number}, {line.kind} {named}: {error}", field=error.field)
            self.refusals.append(refused(job_id if isinstance(job_id, str) else "", line.number, error))

    def add(self, other: Imported) -> None:
        """Adds what became of other lines."""
        for name in ("created", "existing", "applications", "launches", "refused"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.refusals = (self.refusals + other.refusals)[:MOST_REFUSALS]


@dataclass
class Seen:
    """What earlier lines of the same file have, where these are only checked and nothing is written."""

    jobs: set[bytes] = field(default_factory=set)
    applications: set[str] = field(default_factory=set)
    launches: set[str] = field(default_factory=set)


def check(sql: Sql, lines: Sequence[Line], seen: Seen) -> Imported:
    """What taking these lines would do; nothing is written."""
    outcome, fresh = _plan(sql, lines, seen)
    outcome.created = len(fresh)
    return outcome


def take(tx: Tx, lines: Sequence[Line], owner: str) -> Imported:
    """Takes lines; those that are here already, and those that are refused, change nothing."""
    outcome, fresh = _plan(tx.sql, lines, None, tx, owner)
    outcome.created = len(fresh)
    if fresh:
        writing.write_jobs(tx, fresh, owner)
    return outcome


def _plan(
    sql: Sql, lines: Sequence[Line], seen: Seen | None, tx: Tx | None = None, owner: str = ""
) -> tuple[Imported, list[Record]]:
    """What becomes of lines, and the jobs to add. Applications and launches are added at once, if there is a `tx`."""
    outcome = Imported()
    batch = Seen() if seen is None else seen
    for line in lines:
        if line.kind == "job":
            continue
        try:
            if line.kind == "application":
                outcome.applications += _application(sql, line.value, batch, tx, owner)
            else:
                outcome.launches += _launch(sql, line.value, batch, tx, owner)
        except BalsamError as error:
            outcome.refuse(line, error)
    return outcome, _plan_jobs(sql, [line for line in lines if line.kind == "job"], batch, outcome)


def _application(sql: Sql, record: Record, seen: Seen, tx: Tx | None, owner: str) -> bool:
    """Whether it is new. Raises Conflict if another one here has its name."""
    checking.check_application(record)
    name = record["name"]
    here = records.application_records(sql, [name])
    if here:
        other = records.differences(here[0], record, _OTHER)
        if other:
            raise Conflict(
                f"the application {name!r} here has another {other[0]} ({here[0][other[0]]!r:.100}, in the file "
                f"{record[other[0]]!r:.100}); make them the same with `balsam app --update`, or remove the one here",
                field=other[0],
            )
        return False
    if tx is not None:
        writing.write_application(tx, record, owner)
    new = name not in seen.applications
    seen.applications.add(name)
    return new


def _launch(sql: Sql, record: Record, seen: Seen, tx: Tx | None, owner: str) -> bool:
    """Whether it is new."""
    for name in ("message", "batch_system"):
        record.setdefault(name, "")  # not in files of versions that did not submit launches
    checking.check_launch(record)
    request = record["request_id"]
    if sql.run("SELECT 1 FROM launch WHERE request_id = :request", request=request):
        return False
    if tx is not None:
        writing.write_launch(tx, record, owner)
    new = request not in seen.launches
    seen.launches.add(request)
    return new


def _plan_jobs(sql: Sql, lines: Sequence[Line], seen: Seen, outcome: Imported) -> list[Record]:
    sound: list[Line] = []
    for line in lines:
        try:
            checking.check_job(line.value)
            sound.append(line)
        except BalsamError as error:
            outcome.refuse(line, error)
    keys = _keys_of(sql, {id_ for line in sound for id_ in (line.value["job_id"], *line.value["parents"])})
    here = {record["job_id"]: record for record in _there(sql, [line.value["job_id"] for line in sound], keys)}
    applications = _applications(sql, {line.value["application"] for line in sound} - {""})
    _, workdirs = probe(sql, [line.value["job_id"] for line in sound])
    launches = _launches(sql, {line.value["queued_launch"] for line in sound} - {None})
    fresh: list[Record] = []
    for line in sound:
        record = line.value
        try:
            if record["job_id"] in here:
                _check_same(here[record["job_id"]], record)
                outcome.existing += 1
                continue
            if _packed(record["job_id"]) in seen.jobs:
                raise Conflict("the job is in the file twice", reason="ALREADY_EXISTS")
            _check_parents(record, keys, seen)
            if record["application"] and record["application"] not in applications | seen.applications:
                raise NotFound(f"application {record['application']!r} is not in the file, nor here")
            if record["queued_launch"] is not None and record["queued_launch"] not in launches | seen.launches:
                raise NotFound(f"its launch {record['queued_launch']} is not in the file, nor here")
            path = record["working_directory"]
            if not path.startswith("/") and path in workdirs:
                raise Conflict(f"another job has the working directory {path}", field="working_directory")
        except BalsamError as error:
            outcome.refuse(line, error)
            continue
        workdirs.add(path)
        seen.jobs.add(_packed(record["job_id"]))
        fresh.append(record)
    return fresh


def _check_same(here: Record, record: Record) -> None:
    if records.has_gone_on(here, record):
        return
    other = records.differences(here, record, _DERIVED)
    if other:
        raise Conflict(
            f"a job with this id is here, and has another {other[0]}; to take that of the file, delete it first "
            "with `balsam rm jobs --id`",
            field=other[0],
        )


def _check_parents(record: Record, keys: dict[str, int], seen: Seen) -> None:
    for parent in record["parents"]:
        if parent not in keys and _packed(parent) not in seen.jobs:
            raise InvalidParentsError(
                f"its parent {parent} is neither before it in the file nor here; "
                "if the parent is in another file, import that one first",
                field="parents",
            )


def _packed(job_id: str) -> bytes:
    return bytes.fromhex(job_id.replace("-", ""))


def _keys_of(sql: Sql, job_ids: set[str]) -> dict[str, int]:
    array = "= {ids}" if sql.is_sqlite else "= ANY(:ids::uuid[])"
    return dict(sql.run(f"SELECT job_id, key FROM job WHERE job_id {array}", ids=sorted(job_ids))) if job_ids else {}


def _there(sql: Sql, job_ids: Sequence[str], keys: dict[str, int]) -> list[Record]:
    return records.job_records(sql, [keys[job_id] for job_id in job_ids if job_id in keys])


def _applications(sql: Sql, names: set[str]) -> set[str]:
    return {name for (name,) in sql.run("SELECT name FROM application WHERE name = {names}", names=sorted(names))}


def _launches(sql: Sql, request_ids: set[str]) -> set[str]:
    array = "= {ids}" if sql.is_sqlite else "= ANY(:ids::uuid[])"
    found = sql.run(f"SELECT request_id FROM launch WHERE request_id {array}", ids=sorted(request_ids))
    return {request for (request,) in found}
