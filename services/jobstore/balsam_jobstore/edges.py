"""Dependencies: an edge table, and in each child the number of parents that it still waits for."""

from __future__ import annotations

from collections.abc import Sequence, Set

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
    add_all(tx, [parent], child)


def add_all(tx: Tx, parents: Sequence[Row], child: Row) -> None:
    """Adds dependencies of one child, all or none. Raises as `add` does."""
    keys = [parent.key for parent in parents]
    if child.key in keys:
        raise InvalidParentsError(f"job {child.label} cannot depend on itself", reason="CYCLE", field="parents")
    known = tx.sql.run("SELECT parent FROM edge WHERE child = :child AND parent = {keys}", child=child.key, keys=keys)
    if known:
        (parent,) = tx.load(known[0])
        raise Conflict(f"job {child.label} depends on {parent.label} already", reason="ALREADY_EXISTS")
    if child.state not in WAITING:
        raise InvalidStateError(
            f"job {child.label} is {State(child.state).name}: a parent can be added before the first run only",
            reason="TOO_LATE",
        )
    _refuse_cycle(tx, parents, child)
    met = [is_met(parent) for parent in parents]
    tx.sql.insert(
        "edge", ("child", "parent", "met"), [(child.key, *edge) for edge in zip(keys, map(int, met), strict=True)]
    )
    for parent in parents:
        parent.needs |= int(Needs.CHILDREN)
    child.needs |= int(Needs.PARENTS)
    child.unmet += met.count(False)
    if not child.needs & Needs.NO_WAIT:
        failed = next((parent.key for parent in parents if has_failed(parent)), None)
        child.failed_parent = failed if child.failed_parent is None else child.failed_parent
        if not all(met):
            tx.stop_work(child)
    tx.touch(child)


def remove(tx: Tx, parent: Row, child: Row) -> None:
    """Removes a dependency.

    Raises:
        NotFound: there is none.
    """
    if not remove_all(tx, [parent.key], child):
        raise NotFound(f"job {child.label} does not depend on {parent.label}")


def remove_all(tx: Tx, parent_keys: Sequence[int], child: Row) -> int:
    """Removes those dependencies of one child that there are; returns how many."""
    found = tx.sql.run(
        "DELETE FROM edge WHERE child = :child AND parent = {keys} RETURNING met",
        child=child.key,
        keys=list(parent_keys),
    )
    child.unmet -= sum(not met for (met,) in found)
    if child.state in WAITING or child.failed_parent in parent_keys:
        tx.look_at_parents(child)
    tx.touch(child)
    return len(found)


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
    old = current.difference(wanted.values())
    if new:
        add_all(tx, tx.load(new), child)
    if old:
        remove_all(tx, sorted(old), child)


def orphan_children(tx: Tx, parent: Row, leaving: set[int]) -> list[Row]:
    """A parent is being deleted: the children that wait for it fail with that reason.

    Gives the children that had failed because of it: whether they fail because of another, too, is to be seen.
    """
    bereft = []
    message = f"parent {parent.label} was deleted"
    for child in tx.children(parent.key, met=0):
        if child.key in leaving:
            continue
        child.unmet -= 1
        if child.failed_parent == parent.key:
            child.failed_parent = None
            if child.state == State.FAILED:
                bereft.append(child)
        if child.state in WAITING and not child.needs & Needs.NO_WAIT:
            held = child.session is not None and child.state in RUNNABLE
            tx.move(child, (int(State.FAILED),), Actor.JOBSTORE, message)
            if held:
                tx.stop_work(child)
    return bereft


def _refuse_cycle(tx: Tx, parents: Sequence[Row], child: Row) -> None:
    if not child.needs & Needs.CHILDREN:
        return  # nothing depends on the child: no way leads back
    tx.lock_graph()
    path = _path_down(tx, child.key, {parent.key for parent in parents})
    if path:
        rows = tx.load(path)
        shown = " -> ".join(row.label for row in rows[:_PATH_SHOWN]) + (" -> ..." if len(rows) > _PATH_SHOWN else "")
        raise InvalidParentsError(
            f"making {child.label} depend on {rows[-1].label} would close the cycle {shown} -> {child.label}",
            reason="CYCLE",
            field="parents",
        )


def _path_down(tx: Tx, source: int, targets: Set[int]) -> list[int]:
    """Keys from `source` down to the first of `targets` along children; empty if there is no way."""
    came_from = {source: 0}
    level = [source]
    reached: int | None = None
    while level and reached is None:
        found = tx.sql.run("SELECT parent, child FROM edge WHERE parent = {keys}", keys=level)
        level = []
        for parent, child in found:
            if child not in came_from:
                came_from[child] = parent
                level.append(child)
        reached = next((key for key in level if key in targets), None)
    if reached is None:
        return []
    path = [reached]
    while path[-1] != source:
        path.append(came_from[path[-1]])
    return path[::-1]
