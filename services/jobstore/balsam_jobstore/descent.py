"""Which jobs descend from jobs that a run may change: upwards along parents, level by level, until one is met."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from balsam.states import State
from balsam_jobstore.history import pack_states
from balsam_jobstore.rows import Row
from balsam_jobstore.rules import Needs
from balsam_jobstore.tx import Tx

_CREATED = pack_states((int(State.CREATED),))


def from_some_of(tx: Tx, rows: Sequence[Row], *, owner_key: int, workflow: str, run_key: int) -> set[int]:
    """The keys of those rows that are jobs of this owner, and of this workflow or added by a run, or descend from such.

    Args:
        tx: the transaction.
        rows: the jobs in question.
        owner_key: whose the jobs are.
        workflow: of the run's own job.
        run_key: the run's own job.
    """
    tx.flush()
    wanted = {"owner": owner_key, "workflow": workflow, "run": run_key}
    reached = _base(tx, [row.key for row in rows], wanted)
    children: dict[int, list[int]] = {}
    seen = {row.key for row in rows}
    level = [row.key for row in rows if row.key not in reached and row.needs & Needs.PARENTS]
    while level:
        found = tx.sql.run("SELECT parent, child FROM edge WHERE child = {keys}", keys=level)
        for parent, child in found:
            children.setdefault(parent, []).append(child)
        parents = {parent for parent, _ in found} - seen
        seen |= parents
        base = _base(tx, parents, wanted)
        reached |= base
        level = sorted(parents - base)
    return _spread(reached, children) & {row.key for row in rows}


def _base(tx: Tx, keys: Iterable[int], wanted: dict[str, object]) -> set[int]:
    added = f"SELECT 1 FROM event WHERE event.job = job.key AND event.run_key = :run AND states LIKE '{_CREATED}%'"
    text = f"""SELECT key FROM job WHERE key = {{keys}} AND owner_key = :owner
               AND (workflow = :workflow OR EXISTS ({added}))"""
    return {key for (key,) in tx.sql.run(text, keys=sorted(keys), **wanted)}


def _spread(reached: set[int], children: dict[int, list[int]]) -> set[int]:
    todo = list(reached)
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in reached:
                reached.add(child)
                todo.append(child)
    return reached
