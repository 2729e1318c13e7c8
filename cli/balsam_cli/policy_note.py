"""What the policy of the automatic submitter means for new jobs that nothing at work can run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from balsam import locks
from balsam.errors import SiteError
from balsam.site import Site

SERVICE_LOCK = "service.lock"
"""In the run directory; `balsam service` holds it."""


def with_policy(text: str, site: Site, jobs: Sequence[Mapping[str, Any]]) -> str:
    """A warning that nothing at work can run these jobs, with what the policy says; empty: a launch for them will come.

    Args:
        text: the warning.
        site: whose policy it is; without queues in one, the warning stays as it is.
        jobs: values by field.
    """
    if not _may_have_queues(site):
        return text
    from balsam_scheduler.batch import policy as policies
    from balsam_scheduler.batch.observing import spare_minutes
    from balsam_scheduler.batch.reasons import why_never
    from balsam_scheduler.batch.work import shape_of

    try:
        policy = policies.load(site.path)
    except SiteError as error:
        return f"{text}; {error}"
    if policy is None or not policy.queues:
        return text
    for job in jobs:
        if job.get("queued_launch") is not None:
            return text
        spare = spare_minutes(site.settings.stop_margin_seconds)
        why = why_never(policy, shape_of(job), str(job.get("workflow", "")), spare)
        if why:
            return f"{text}; and `balsam service` never submits a launch for {job.get('name') or 'this job'}: it {why}"
    if locks.holder(site.run / SERVICE_LOCK) is not None:
        return ""
    return f"{text}, or `balsam service`, which submits one"


def _may_have_queues(site: Site) -> bool:
    """Whether the policy names a queue, as that of `balsam init` does not: else nothing that reads it is loaded."""
    try:
        lines = (site.path / "policy.toml").read_bytes().splitlines()
    except FileNotFoundError:
        return False
    except OSError:
        return True  # who loads it says what is wrong
    return any(line.lstrip().startswith((b"[[", b"queue")) for line in lines)
