"""For pre- and post-processing scripts and running applications: the current job, and ways to change the graph.

    import balsam.launcher.dag as dag

    if "CONVERGED" not in open("output.txt").read():
        dag.spawn_child(args="--restart", wall_time_minutes=dag.current_job.wall_time_minutes + 10)

``current_job`` (None outside a job), ``parents`` and ``children`` (queries) are read from the store when they are first
used; ``JOB_ID``, ``TIMEOUT``, ``ERROR`` and ``LAUNCHER_NODES`` come from the environment. Importing contacts nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from balsam.errors import BalsamError, NotAllowed, NotFound
from balsam.fields import check_id
from balsam.job import BalsamJob, ids_of
from balsam.launcher.graph import add_dependency, clone, detect_circular, kill, wf_from_template

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable

    from balsam.application import ApplicationDefinition
    from balsam.queryset import QuerySet

__all__ = [
    "ERROR",
    "JOB_ID",
    "LAUNCHER_NODES",
    "TIMEOUT",
    "ApplicationDefinition",
    "BalsamJob",
    "add_app",
    "add_dependency",
    "add_job",
    "children",
    "clone",
    "current_job",
    "detect_circular",
    "get_active_database",
    "get_apps",
    "get_database_paths",
    "kill",
    "parents",
    "spawn_child",
    "submit",
    "wf_from_template",
]

current_job: BalsamJob | None
parents: QuerySet[BalsamJob]
children: QuerySet[BalsamJob]
JOB_ID: uuid.UUID | None
TIMEOUT: bool
ERROR: bool
LAUNCHER_NODES: int


class NotInJob(NotAllowed, RuntimeError):
    """There is no current job."""


copy_of = clone


# The current job


def _job_id() -> uuid.UUID | None:
    import uuid

    text = os.environ.get("BALSAM_JOB_ID")
    return uuid.UUID(check_id(text, "BALSAM_JOB_ID")) if text else None


_current: dict[uuid.UUID, BalsamJob] = {}


def _current_job() -> BalsamJob | None:
    job_id = _job_id()
    if job_id is None:
        return None
    if job_id not in _current:
        try:
            _current[job_id] = BalsamJob.objects.get(pk=job_id)
        except NotFound:
            raise BalsamJob.DoesNotExist(
                f"BALSAM_JOB_ID = {job_id}: there is no such job; was it deleted? Unset the variable to go on"
            ) from None
    return _current[job_id]


def _relatives(relation: str) -> QuerySet[BalsamJob]:
    job_id = _job_id()
    return BalsamJob.objects.filter(**{relation: job_id}) if job_id else BalsamJob.objects.none()


def _application_class() -> type[ApplicationDefinition]:
    from balsam.application import ApplicationDefinition  # scripts rarely use it

    return ApplicationDefinition


_LAZY: dict[str, Callable[[], Any]] = {
    "ApplicationDefinition": _application_class,
    "current_job": _current_job,
    "parents": lambda: _relatives("children"),
    "children": lambda: _relatives("parents"),
    "JOB_ID": _job_id,
    "TIMEOUT": lambda: os.environ.get("BALSAM_JOB_TIMEOUT") == "TRUE",
    "ERROR": lambda: os.environ.get("BALSAM_JOB_ERROR") == "TRUE",
    "LAUNCHER_NODES": lambda: int(os.environ.get("BALSAM_LAUNCHER_NODES") or 1),
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return _LAZY[name]()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# Jobs


def add_job(
    name: str = "",
    workflow: str = "",
    application: str = "",
    description: str = "",
    args: str = "",
    num_nodes: int = 1,
    ranks_per_node: int = 1,
    *,
    save: bool = True,
    **fields: Any,
) -> BalsamJob:
    """Adds a job, and returns it. In a job that is bound to a batch launch, the new one is bound to it as well.

    Args:
        save: False: only makes the object.
        fields: further fields of the job.

    Raises:
        ValidationError: a field does not exist, or a value does not fit.
    """
    job = BalsamJob(
        name=name,
        workflow=workflow,
        application=application,
        description=description,
        args=args,
        num_nodes=num_nodes,
        ranks_per_node=ranks_per_node,
        **fields,
    )
    if "queued_launch" not in fields and os.environ.get("BALSAM_JOB_ID"):
        mine = _current_job()
        if mine is not None and mine.queued_launch:
            job.queued_launch = mine.queued_launch
    if save:
        job.save()
    return job


def spawn_child(clone: bool = False, **fields: Any) -> BalsamJob:
    """Adds a clone of the current job that waits for it, and for the parents of the current job; returns it.

    Args:
        clone: accepted for scripts of Balsam 0.x; changes nothing.
        fields: fields of the child that differ.

    Raises:
        RuntimeError: there is no current job.
        ValidationError: a field does not exist, or a value does not fit.
    """
    job = _current_job()
    if job is None:
        raise NotInJob("there is no current job (BALSAM_JOB_ID is not set): spawn_child works inside of a job only")
    above = [*job.parents, *ids_of(fields.pop("parents", [])), job]
    child = copy_of(job, parents=above, **fields)
    child.save()
    return child


# Applications, launches, sites


def add_app(
    name: str,
    executable: str,
    description: str = "",
    envscript: str = "",
    preprocess: str = "",
    postprocess: str = "",
) -> ApplicationDefinition:
    """Registers an application, or changes the one of that name; returns it."""
    model = _application_class()
    fields = model._as_stored(
        {
            "executable": executable,
            "description": description,
            "envscript": envscript,
            "preprocess": preprocess,
            "postprocess": postprocess,
        }
    )
    application, created = model.objects.get_or_create(fields, name=name)
    if not created:
        for field, value in fields.items():
            setattr(application, field, value)
        application.save()
    return application


def get_apps() -> QuerySet[ApplicationDefinition]:
    """The registered applications, as a query."""
    return _application_class().objects.all()


def submit(project: str, queue: str, nodes: int, wall_minutes: int, job_mode: str = "auto", wf_filter: str = "") -> Any:
    """Submits a launcher to the batch system.

    Raises:
        NotAllowed: this version of Balsam does not submit to batch systems.
    """
    raise NotAllowed(
        "this version of Balsam does not submit to batch systems; "
        "start `balsam launcher` inside of an allocation of your own"
    )


def get_active_database() -> str:
    """Path of the site that jobs go to. Raises SiteError if there is none."""
    return str(BalsamJob._client().site.path)


def get_database_paths() -> dict[str, str]:
    """The sites that this user has made, and the one in use: name -> path."""
    import json
    from pathlib import Path

    import platformdirs

    listed = Path(platformdirs.user_data_dir("balsam", appauthor=False)) / "sites.json"
    try:
        paths = [str(path) for path in json.loads(listed.read_text())["sites"]]
    except (OSError, ValueError, KeyError, TypeError):
        paths = []
    try:
        paths.append(get_active_database())
    except BalsamError:
        pass  # none in use
    return {Path(path).name: path for path in paths}
