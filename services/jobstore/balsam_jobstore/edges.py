"""Dependencies: an edge table, and in each child the number of parents that it still waits for."""

from __future__ import annotations

from collections.abc import Sequence

from balsam.errors import Conflict, InvalidParentsError, InvalidStateError, NotFound
from balsam.states import RUNNABLE, WAITING, Actor, State
from balsam_jobstore.rows import Row, has_failed, is_met
from balsam_jobstore.rules import Needs
from balsam_jobstore.tx import Tx

_PATH_SHOWN = 10


def add(tx: Tx, parent: Row, child: Row) -> None:
    """Adds a dependency; the child waits for the parent if it has not finished.

    Raises:
        Conflict: it is there already.
        InvalidStateError: the child has been started.
        InvalidParentsError: it would close a cycle; names the path.
    """
    if parent.key == child.key:
        raise InvalidParentsError(f"job {child.label} cannot depend on itself", reason="CYCLE", field="parents")
    if tx.sql.run("SELECT 1 FROM edge WHERE child = :child AND parent = :parent", child=child.key, parent=parent.key):
        raise Conflict(f"job {child.label} depends on {parent.label} already", reason="ALREADY_EXISTS")
    if child.state not in WAITING:
        raise InvalidStateError(
            f"job {child.label} is {State(child.state).name}: a parent can be added before the first run only",
            reason="TOO_LATE",
        )
    _refuse_cycle(tx, parent, child)
    met = is_met(parent)
    tx.sql.insert("edge", ("child", "parent", "met"), [(child.key, parent.key, int(met))])
    parent.needs |= int(Needs.CHILDREN)
    child.needs |= int(Needs.PARENTS)
    child.unmet += not met
    waits = not child.needs & Needs.NO_WAIT
    if waits and has_failed(parent) and child.failed_parent is None:
        child.failed_parent = parent.key
    if waits and not met:
        tx.stop_work(child)
    tx.touch(child)


def remove(tx: Tx, parent: Row, child: Row) -> None:
    """Removes a dependency.

    Raises:
        NotFound: there is none.
    """
    found = tx.sql.run(
        "DELETE FROM edge WHERE child = :child AND parent = :parent RETURNING met", child=child.key, parent=parent.key
    )
    if not found:
        raise NotFound(f"job {child.label} does not depend on {parent.label}")
    if not found[0][0]:
        child.unmet -= 1
    if child.state in WAITING:
        tx.look_at_parents(child)
    tx.touch(child)


def replace_parents(tx: Tx, child: Row, parent_ids: Sequence[str]) -> None:
    """Makes these the parents of a job.

    Raises:
        InvalidParentsError: one does not exist, or would close a cycle.
    """
    wanted = tx.keys_of(parent_ids)
    for parent_id in parent_ids:
        if parent_id not in wanted:
            raise InvalidParentsError(f"parents = {parent_id}: no such job", field="parents")
    current = {key for (key,) in tx.sql.run("SELECT parent FROM edge WHERE child = :child", child=child.key)}
    new = [key for key in wanted.values() if key not in current]
    old = [key for key in current if key not in wanted.values()]
    for parent in tx.load(new):
        add(tx, parent, child)
    for parent in tx.load(old):
        remove(tx, parent, child)


def orphan_children(tx: Tx, parent: Row, leaving: set[int]) -> None:
    """A parent is being deleted: the children that wait for it fail with that reason."""
    message = f"parent {parent.label} was deleted"
    for child in tx.children(parent.key, met=0):
        if child.key in leaving:
            continue
        child.unmet -= 1
        if child.failed_parent == parent.key:
            child.failed_parent = None
        if child.state in WAITING and not child.needs & Needs.NO_WAIT:
            held = child.session is not None and child.state in RUNNABLE
            tx.move(child, (int(State.FAILED),), Actor.JOBSTORE, message)
            if held:
                tx.stop_work(child)


def _refuse_cycle(tx: Tx, parent: Row, child: Row) -> None:
    if not child.needs & Needs.CHILDREN:
        return  # nothing depends on the child: no way leads back
    path = _path_down(tx, child.key, parent.key)
    if path:
        rows = tx.load(path)
        shown = " -> ".join(row.label for row in rows[:_PATH_SHOWN]) + (" -> ..." if len(rows) > _PATH_SHOWN else "")
        raise InvalidParentsError(
            f"making {child.label} depend on {parent.label} would close the cycle {shown} -> {child.label}",
            reason="CYCLE",
            field="parents",
        )


def _path_down(tx: Tx, source: int, target: int) -> list[int]:
    """Keys from `source` down to `target` along children; empty if there is no way."""
    came_from = {source: 0}
    level = [source]
    while level and target not in came_from:
        found = tx.sql.run("SELECT parent, child FROM edge WHERE parent = {keys}", keys=level)
        level = []
        for parent, child in found:
            if child not in came_from:
                came_from[child] = parent
                level.append(child)
    if target not in came_from:
        return []
    path = [target]
    while path[-1] != source:
        path.append(came_from[path[-1]])
    return path[::-1]
