"""Names of launches in the batch system, and of their files. Pure."""

from __future__ import annotations

from pathlib import Path

from balsam.errors import ValidationError
from balsam.site import Site
from balsam_scheduler.batch.answers import System, Ticket
from balsam_scheduler.batch.records import LaunchRecord


def job_name(launch: LaunchRecord, longest: int) -> str:
    """The name of a launch's job: ``balsam-12-0f3a9c1e``, or shorter where the batch system demands it.

    It is the same whenever it is asked for, so that a job can be found whose id nobody has written down.
    """
    name = f"balsam-{launch.launch_id}-{launch.tag}"
    return name if len(name) <= longest else f"b{launch.launch_id}-{launch.tag}"[:longest]


def ticket(launch: LaunchRecord, system: System) -> Ticket:
    """What to ask the batch system for."""
    return Ticket(job_name(launch, system.longest_name), launch.scheduler_id)


def script_file(site: Site, launch: LaunchRecord) -> Path:
    """The script that is submitted."""
    return site.qsubmit / f"launch-{launch.launch_id}.sh"


def output_file(site: Site, launch: LaunchRecord) -> Path:
    """What takes the output of the script."""
    return site.qsubmit / f"balsam-{launch.launch_id}-{launch.tag}.out"


def check_place(field: str, value: str) -> None:
    """Checks the name of a queue or project, which stands in lines of a script that the batch system reads.

    Raises:
        ValidationError: it could end the line, or the word.
    """
    if value.startswith("-"):
        raise ValidationError(f"{field} = {value!r}: must not begin with '-', which is of options", field=field)
    if not value.isprintable() or " " in value:
        raise ValidationError(f"{field} = {value!r}: must hold no blanks or control characters", field=field)
