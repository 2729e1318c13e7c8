"""Verbs on launches, and what it means to bind a job to one. Each runs inside a transaction, on plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from balsam.errors import NotFound
from balsam.fields import LAUNCH_FIELDS, LAUNCH_OVER
from balsam_jobstore import records
from balsam_jobstore.tx import Tx


@dataclass(slots=True)
class Launch:
    """A row of `launch`."""

    key: int
    scheduler_id: str
    project: str
    queue: str
    nodes: int
    wall_minutes: int
    job_mode: str
    wf_filter: str
    sched_flags: str
    command: str
    state: str
    prescheduled_only: int
    from_balsam: int
    message: str
    batch_system: str
    owner: str
    create_us: int
    revision: int


_COLUMNS = tuple(field.name for field in fields(Launch))
_OF_USERS = _COLUMNS[1:-3]


def get(tx: Tx, launch_id: int) -> Launch:
    """A launch. Raises NotFound."""
    rows = records.select(tx, "launch", _COLUMNS, "key = :key", key=launch_id)
    if not rows:
        raise unknown_launch(launch_id)
    return Launch(*rows[0])


def create(tx: Tx, values: Mapping[str, Any], *, request_id: str, owner: str) -> Launch:
    """Records a launch; gives the one that the same request has recorded before, if there is one."""
    known = records.select(tx, "launch", _COLUMNS, "request_id = :request", request=request_id)
    if not known:
        given = {name: values.get(name, LAUNCH_FIELDS[name].default) for name in _OF_USERS}
        row = {**_encoded(given), "owner": owner, "create_us": tx.now_us, "revision": 1, "request_id": request_id}
        tx.sql.insert("launch", tuple(row), [tuple(row.values())])
        known = records.select(tx, "launch", _COLUMNS, "request_id = :request", request=request_id)
    return Launch(*known[0])


def update(tx: Tx, launch_id: int, changes: Mapping[str, Any], *, expected_revision: int = 0) -> Launch:
    """Changes a launch. Jobs are bound to one that is over no longer.

    Raises:
        NotFound: there is none.
        Conflict: the revision is another.
    """
    tx.lock("launch", "key = :key", key=launch_id)
    before = get(tx, launch_id)
    records.check_revision(f"launch {launch_id}", before.revision, expected_revision)
    records.change(tx, "launch", launch_id, _encoded(changes))
    if changes.get("state") in LAUNCH_OVER:
        tx.unbind(launch_id)
    tx.runnable = True  # its launcher may take other jobs now
    return get(tx, launch_id)


def delete(tx: Tx, launch_id: int) -> None:
    """Removes a launch; the jobs that are bound to it are bound to none. Raises NotFound."""
    tx.lock("launch", "key = :key", key=launch_id)
    get(tx, launch_id)
    tx.unbind(launch_id)
    tx.sql.run("DELETE FROM launch WHERE key = :key", key=launch_id)


def _encoded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: int(value) if isinstance(value, bool) else value for name, value in values.items()}


# Binding


def bindable(tx: Tx, launch_ids: Iterable[int | None]) -> dict[int, bool]:
    """Launch -> whether it is still to come or runs, of those that exist."""
    wanted = [launch_id for launch_id in launch_ids if launch_id is not None]
    if not wanted:
        return {}
    tx.lock("launch", "key = {keys}", "SHARE", keys=wanted)
    found = records.select(tx, "launch", ("key", "state"), "key = {keys}", keys=wanted)
    return {key: state not in LAUNCH_OVER for key, state in found}


def launch_to_bind(launches: Mapping[int, bool], launch_id: int | None) -> int | None:
    """What to bind a job to that asks for a launch: to none where that is over, for nobody would run the job.

    Args:
        launches: what `bindable` says of it.
        launch_id: the launch; None: no launch.

    Raises:
        NotFound: there is no such launch.
    """
    if launch_id is None:
        return None
    if launch_id not in launches:
        raise NotFound(
            f"queued_launch = {launch_id}: there is no such launch; `balsam ls launches` shows those that there are",
            field="queued_launch",
        )
    return launch_id if launches[launch_id] else None


def unknown_launch(launch_id: int) -> NotFound:
    """The error for a launch that does not exist."""
    return NotFound(f"launch {launch_id} does not exist; `balsam ls launches` shows those that do", field="launch_id")
