"""What the policy of the automatic submitter means for new jobs that nothing at work can run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from balsam import locks
from balsam.errors import SiteError
from balsam.site import Site

if TYPE_CHECKING:
    from balsam_scheduler.batch.policy import Policy

SERVICE_LOCK = "service.lock"
"""In the run directory; `balsam service` holds it."""


def with_policy(
    text: str, site: Site, jobs: Sequence[Mapping[str, Any]], expected: Callable[[], Mapping[str, int]]
) -> str:
    """A warning that nothing at work can run these jobs, with what the policy says; empty: a launch for them will come.

    Args:
        text: the warning.
        site: whose policy it is; without queues in one, the warning stays as it is.
        jobs: values by field.
        expected: gives what `why_never` wants of it.
    """
    try:
        policy = queues_of(site)
    except SiteError as error:
        return f"{text}; {error}"
    if policy is None:
        return text
    for job in jobs:
        if job.get("queued_launch") is not None:
            return text
        if why := why_never(policy, site, job, expected()):
            return f"{text}; and `balsam service` never submits a launch for {job.get('name') or 'this job'}: it {why}"
    if locks.holder(site.run / SERVICE_LOCK) is not None:
        return ""
    return f"{text}, or `balsam service`, which submits one"


def queues_of(site: Site) -> Policy | None:
    """The policy of a site; None: it names no queue.

    Raises:
        SiteError: it is not valid.
    """
    if not _may_have_queues(site):
        return None
    from balsam_scheduler.batch import policy as policies

    policy = policies.load(site.path)
    return policy if policy is not None and policy.queues else None


def why_never(policy: Policy, site: Site, job: Mapping[str, Any], expected: Mapping[str, int]) -> str:
    """Why no launch that the policy allows could ever run a job (values by field); empty: one could.

    Args:
        policy: of the automatic submitter.
        site: whose policy it is.
        job: values by field.
        expected: application -> minutes in which launchers expect its runs to end, whatever its jobs say.
    """
    from balsam_scheduler.batch import reasons, remembering
    from balsam_scheduler.batch.nodes import Nodes
    from balsam_scheduler.batch.observing import spare_minutes
    from balsam_scheduler.batch.work import shape_of

    settings = site.settings
    reports = tuple(remembering.load(site).reports.values())
    nodes = Nodes(settings.cores_per_node, settings.gpus_per_node, reports)
    spare = spare_minutes(settings.stop_margin_seconds)
    return reasons.why_never(policy, shape_of(job, expected), str(job.get("workflow", "")), spare, nodes)


def _may_have_queues(site: Site) -> bool:
    """Whether the policy names a queue, as that of `balsam init` does not: else nothing that reads it is loaded."""
    try:
        lines = (site.path / "policy.toml").read_bytes().splitlines()
    except FileNotFoundError:
        return False
    except OSError:
        return True  # who loads it says what is wrong
    return any(line.lstrip().startswith((b"[[", b"queue")) for line in lines)
