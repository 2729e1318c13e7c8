"""What a file says of a job, an application or a launch: names and plain values, and no key of this database."""

from __future__ import annotations

import datetime
import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from balsam.fields import APPLICATION_FIELDS, CPU_AFFINITIES, JOB_FIELDS, LAUNCH_FIELDS, Kind
from balsam.states import Actor, State
from balsam_jobstore.database import Sql
from balsam_jobstore.history import unpack_states
from balsam_jobstore.moving.plain_json import canonical_value
from balsam_jobstore.rules import Needs

Record = dict[str, Any]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)

NARROW = (
    *("name", "workflow", "priority", "num_nodes", "ranks_per_node", "node_packing_count", "wall_time_minutes"),
    *("max_restarts", "attempt", "exit_code", "restarts", "timeouts", "lost", "tries", "fence", "revision"),
)
"""Columns of `job` that a file holds as they are."""
WIDE = (
    *("description", "args", "environ_vars", "data", "wait_for_parents", "input_files", "stage_in_url"),
    *("stage_out_url", "stage_out_files", "user_workdir", "coschedule_num_nodes", "threads_per_rank"),
    *("threads_per_core", "cpu_affinity", "mpi_flags", "gpus_per_rank", "post_error_handler"),
    *("post_timeout_handler", "auto_timeout_retry"),
)
"""Columns of `job_detail` that are fields of a job."""
_APPLICATION = tuple(name for name, field in APPLICATION_FIELDS.items() if field.kind is Kind.TEXT)
_LAUNCH = tuple(name for name in LAUNCH_FIELDS if name not in ("launch_id", "create_time", "revision"))


def time_text(time_us: int) -> str:
    """Microseconds since 1970 as RFC 3339 in UTC."""
    moment = _EPOCH + datetime.timedelta(microseconds=time_us)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def time_us(text: str) -> int:
    """Microseconds since 1970 of a time as `time_text` writes it. Raises ValueError for anything else."""
    found = (datetime.datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
    if time_text(found) != text or found < 0:
        raise ValueError(text)
    return found


def job_records(sql: Sql, keys: Sequence[int]) -> list[Record]:
    """The records of jobs, in the order of their keys as given."""
    columns = ", ".join(f"job.{name}" for name in NARROW) + ", " + ", ".join(f"d.{name}" for name in WIDE)
    rows = sql.run(
        f"""SELECT job.key, job.job_id, job.state, job.needs, failed.job_id, application.name, launch.request_id,
                   d.owner, d.create_us, d.workdir, {columns}
            FROM job JOIN job_detail d ON d.key = job.key LEFT JOIN job failed ON failed.key = job.failed_parent
            LEFT JOIN application ON application.key = job.application LEFT JOIN launch ON launch.key = job.launch
            WHERE job.key = {{keys}}""",
        keys=list(keys),
    )
    parents, unmet = _parents(sql, keys)
    histories = _histories(sql, keys)
    found: dict[int, Record] = {}
    for row in rows:
        key, job_id, state, needs, failed, application, launch, owner, create_us, workdir, *rest = row
        found[key] = {
            "job_id": job_id,
            "state": State(state).name,
            **_fields(rest),
            "application": application or "",
            "queued_launch": launch,
            "owner": owner,
            "create_time": time_text(create_us),
            "working_directory": workdir,
            "parents": sorted(parents[key]),
            "unmet_parents": sorted(unmet[key]),
            "failed_parent": failed,
            "has_children": bool(needs & Needs.CHILDREN),
            "history": histories[key],
        }
    return [found[key] for key in keys if key in found]


def _fields(values: Sequence[Any]) -> Record:
    fields = dict(zip((*NARROW, *WIDE), values, strict=True))
    fields["tries"] = max(fields["tries"], 0)  # what the end of its lease makes of it
    fields["environ_vars"] = json.loads(fields["environ_vars"]) if fields["environ_vars"] else {}
    data = fields["data"]
    fields["data"] = _sorted(json.loads(data) if isinstance(data, str) else data)
    fields["cpu_affinity"] = CPU_AFFINITIES[fields["cpu_affinity"] - 1]
    for name in WIDE:
        if JOB_FIELDS[name].kind is Kind.BOOLEAN:
            fields[name] = bool(fields[name])
    return fields


def _sorted(value: Any) -> Any:
    """A JSON value with its keys in order."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _parents(sql: Sql, keys: Sequence[int]) -> tuple[Mapping[int, list[str]], Mapping[int, list[str]]]:
    """Key -> ids of its parents; and of those that it waits for."""
    parents: dict[int, list[str]] = defaultdict(list)
    unmet: dict[int, list[str]] = defaultdict(list)
    text = """SELECT edge.child, job.job_id, edge.met FROM edge JOIN job ON job.key = edge.parent
              WHERE edge.child = {keys}"""
    for child, parent, met in sql.run(text, keys=list(keys)):
        parents[child].append(parent)
        if not met:
            unmet[child].append(parent)
    return parents, unmet


def _histories(sql: Sql, keys: Sequence[int]) -> Mapping[int, list[Record]]:
    histories: dict[int, list[Record]] = defaultdict(list)
    text = """SELECT job, states, time_us, record_us, actor, attempt, exit_code, message FROM event
              WHERE job = {keys} AND deleted_id IS NULL ORDER BY job, sequence"""
    for key, states, happened, recorded, actor, attempt, exit_code, message in sql.run(text, keys=list(keys)):
        event: Record = {
            "states": [State(state).name for state in unpack_states(states)],
            "time": time_text(happened),
            "recorded": time_text(recorded),
            "actor": Actor(actor).name,
            "attempt": attempt,
        }
        if exit_code is not None:
            event["exit_code"] = exit_code
        if message:
            event["message"] = message
        histories[key].append(event)
    return histories


def application_records(sql: Sql, wanted: Sequence[str] | None = None) -> list[Record]:
    """The records of the applications with these names, or of all, by name."""
    rows = _rows(sql, "application", (*_APPLICATION, "create_us", "revision"), "name", wanted)
    return [_with_time(_APPLICATION, row) for row in rows]


def _rows(
    sql: Sql, table: str, columns: Sequence[str], identity: str, wanted: Sequence[Any] | None
) -> list[tuple[Any, ...]]:
    text = f"SELECT {', '.join(columns)} FROM {table}"
    if wanted is None:
        return sql.run(f"{text} ORDER BY {identity}")
    return sql.run(f"{text} WHERE {identity} = {{wanted}} ORDER BY {identity}", wanted=list(wanted))


def launch_records(sql: Sql, wanted: Sequence[int] | None = None) -> list[Record]:
    """The records of the launches with these numbers, or of all, oldest first."""
    columns = ("key", "request_id", *_LAUNCH)
    records = []
    for row in _rows(sql, "launch", (*columns, "create_us", "revision"), "key", wanted):
        record = {"launch_id": row[0], **_with_time(columns[1:], row[1:])}
        for name, field in LAUNCH_FIELDS.items():
            if field.kind is Kind.BOOLEAN:
                record[name] = bool(record[name])
        records.append(record)
    return records


def _with_time(columns: Sequence[str], row: Sequence[Any]) -> Record:
    *values, create_us, revision = row
    return {**dict(zip(columns, values, strict=True)), "create_time": time_text(create_us), "revision": revision}


def differences(here: Mapping[str, Any], there: Mapping[str, Any], but: Collection[str] = ()) -> list[str]:
    """Names of the values in which two records differ, the most telling first."""
    found = [
        name
        for name in here
        if name not in but
        and here[name] != there.get(name)
        and not (name == "data" and canonical_value(here[name]) == canonical_value(there.get(name)))
    ]
    return sorted(found, key=lambda name: name == "revision")


def has_gone_on(here: Record, there: Record) -> bool:
    """Whether the job here is that of the file, and something has happened to it since the file was written."""
    past: Sequence[Record] = there["history"]
    longer = len(here["history"]) - len(past)
    same_past = here["create_time"] == there["create_time"] and here["history"][: len(past)] == past
    return same_past and longer >= 0 and (longer > 0 or here["revision"] > there["revision"])
