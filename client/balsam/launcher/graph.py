"""Changes of the graph of jobs: dependencies, copies, kills. `balsam.launcher.dag` gives them to users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from balsam.errors import BalsamError, InvalidParentsError, ValidationError
from balsam.fields import JOB_FIELDS, Phase
from balsam.job import BalsamJob, ids_of, selected

if TYPE_CHECKING:
    from collections.abc import Mapping

    from balsam.queryset import QuerySet


class DependencyRefused(InvalidParentsError, RuntimeError):
    """A dependency that exists already, or that would close a cycle."""


_NOT_CLONED = {name for name, field in JOB_FIELDS.items() if field.phase in (Phase.NEVER, Phase.CREATION)}
_NOT_CLONED |= {"state", "user_workdir"}


def clone(job: BalsamJob, **fields: Any) -> BalsamJob:
    """A new job, not yet saved, with the fields of `job` but for its identity, state and directory.

    `data` is copied deeply. `fields` replace what was copied.
    """
    from balsam.convert import plain

    copied = [name for name in JOB_FIELDS if name not in _NOT_CLONED]
    job.parents  # noqa: B018  (read from the store if they were not yet)
    return type(job)(**{**plain(job._values, JOB_FIELDS, copied), **fields})


def kill(job: Any, recursive: bool = True) -> int:
    """Kills a job (or id, or query), by default with all that depend on it; returns how many were killed.

    Jobs that had ended already are left as they are.
    """
    selection = selected(job)
    return _model(job)._calls().kill(selection, recursive).check("killed") if selection else 0


def _model(value: Any) -> type[BalsamJob]:
    """The class of a job or query; of anything else the plain one."""
    if isinstance(value, BalsamJob):
        return type(value)
    model: type[BalsamJob] = getattr(value, "model", BalsamJob)
    return model


def _one_id(value: Any, role: str) -> str:
    ids = ids_of([value] if isinstance(value, str) else value)
    if len(ids) != 1:
        raise ValidationError(f"{role}: {len(ids)} jobs were given where one is needed")
    return ids[0]


def add_dependency(parent: Any, child: Any) -> None:
    """Makes `child` wait for `parent`; both are jobs, ids, texts of ids, or queries of one job.

    Raises:
        RuntimeError: the dependency exists already, or would close a cycle.
        BalsamError: a job does not exist, or has started.
    """
    parent_id, child_id = _one_id(parent, "parent"), _one_id(child, "child")
    model = _model(child)
    try:
        model._calls().add_dependency(parent_id, child_id)
    except BalsamError as error:
        if error.reason in ("CYCLE", "ALREADY_EXISTS"):
            raise DependencyRefused(str(error), reason=error.reason, field=error.field) from None
        raise
    if isinstance(child, BalsamJob):
        child._take(["parents"], {})  # to be read again


def detect_circular(job: BalsamJob) -> bool:
    """Whether `job`, with the parents that it has now in this program, is among its own ancestors."""
    here, seen = str(job.job_id), set[str]()
    level = list(job.parents)
    while level:
        if here in level:
            return True
        seen.update(level)
        rows = type(job).objects.filter(pk__in=level).values_list("parents", flat=True)
        level = [parent for parent in dict.fromkeys(p for row in rows for p in row) if parent not in seen]
    return False


def wf_from_template(source_wf: str, new_wf: str, **overrides: Mapping[str, Any]) -> QuerySet[BalsamJob]:
    """Copies a workflow: all of its jobs and the dependencies between them; returns the new jobs as a query.

    Args:
        source_wf: the workflow to copy.
        new_wf: name of the copy; there must be no job in it.
        overrides: fields that differ, by the name of the job: ``wf_from_template("a", "b", fit={"args": "-v"})``.

    Raises:
        ValidationError: there is no such workflow, the new one exists, or it has no job of a name in `overrides`.
    """
    jobs = BalsamJob.objects
    rows = [(row["job_id"], row["parents"]) for row in jobs.filter(workflow=source_wf).values("job_id", "parents")]
    if not rows:
        raise ValidationError(f"there is no job in workflow {source_wf!r}")
    if jobs.filter(workflow=new_wf).exists():
        raise ValidationError(f"workflow {new_wf!r} has jobs already; choose another name")
    templates = {str(key): job for key, job in jobs.filter(workflow=source_wf).in_bulk().items()}
    unknown = set(overrides) - {job.name for job in templates.values()}
    if unknown:
        raise ValidationError(f"workflow {source_wf!r} has no job named {', '.join(map(repr, sorted(unknown)))}")
    copies: dict[str, BalsamJob] = {}
    for old_id in _parents_first({str(key): value for key, value in rows}):
        old = templates[old_id]
        above = [str(copies[p].job_id) if p in copies else p for p in dict(rows)[old.job_id]]
        changes = {"workflow": new_wf, "queued_launch": None, "parents": above, **overrides.get(old.name, {})}
        copies[old_id] = clone(old, **changes)
    jobs.bulk_create(copies.values())
    return jobs.filter(workflow=new_wf)


def _parents_first(parents_of: Mapping[str, list[str]]) -> list[str]:
    """The ids, each after those of its parents that are among them."""
    import graphlib

    inside = {key: [p for p in above if p in parents_of] for key, above in parents_of.items()}
    return list(graphlib.TopologicalSorter(inside).static_order())
