"""From an id to the reason: asks the services, judges, and follows the parents that a job waits for."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from balsam.errors import NotFound
from balsam_cli import services
from balsam_cli.why.chain import judge
from balsam_cli.why.collecting import collect
from balsam_cli.why.verdict import Verdict, command

if TYPE_CHECKING:
    from balsam.client import Client
    from balsam.site import Site

_GENERATIONS = 8
"""So many parents are followed, one of each generation; the last one's advice names where to go on."""


@dataclass(frozen=True)
class Reason:
    """Why a job is not running; of which job that is, unless nobody could be asked."""

    verdict: Verdict
    job_id: str = ""
    name: str = ""
    state: str = ""

    @property
    def title(self) -> str:
        """The job, for people."""
        return f"{self.name or 'job'} ({self.job_id[:8]}) is {self.state}" if self.job_id else "the job is out of reach"

    def record(self) -> dict[str, Any]:
        """As plain data for `--json`."""
        job = {"job_id": self.job_id or None, "name": self.name, "state": self.state or None}
        return job | self.verdict.record()

    def lines(self) -> list[str]:
        """For people."""
        fix, advice = self.verdict.fix, self.verdict.advice
        lines = _told(self.title, self.verdict)
        lines += [f"fix: {fix}"] if fix else []
        return lines + ([f"{'also' if fix else 'do'}: {advice}"] if advice else [])


def _told(title: str, verdict: Verdict) -> list[str]:
    """A verdict, and that on the job which it is about, and so on."""
    below = [f"  {line}" for line in (*verdict.details, *(f"note: {note}" for note in verdict.notes))]
    cause = _told(verdict.cause_name, verdict.cause) if verdict.cause else []
    return [f"{title}: {verdict.why}", *below, *cause]


def of_services(site: Site) -> Reason | None:
    """No job store answers; None: one does, or they are called over the network, and the call says it. Asks each for
    its health.

    Raises:
        SiteError: they run on another host.
    """
    if site.endpoint() is not None:
        return None
    statuses = [services.probe(site, service) for service in services.started_services(site)]
    stores = [status for status in statuses if status.service is not services.SCHEDULER]
    if any(status.state == "up" for status in stores):
        return None
    if any(status.state == "silent" for status in stores):
        why = f"{_titles(statuses, 'silent')} runs and does not answer: it starts, or has too much to do"
        return Reason(Verdict("services-silent", why, advice="wait a moment; `balsam log` tells more"))
    return Reason(Verdict("services-down", f"not running: {_titles(statuses, 'down')}", command("up")))


def _titles(statuses: Sequence[services.Status], state: str) -> str:
    return " and ".join(f"the {status.service.title}" for status in statuses if status.state == state)


def of_job(store: Client, job_id: str, generations: int = _GENERATIONS) -> Reason:
    """Why a job is not running, and why those that it waits for are not.

    Raises:
        NotFound: there is no such job.
        BalsamError: the job store is away.
    """
    scene = collect(store, job_id)
    verdict = judge(scene)
    if verdict.follow and generations:
        with contextlib.suppress(NotFound):  # deleted meanwhile
            parent = of_job(store, verdict.follow, generations - 1)
            verdict = verdict.because(parent.title, parent.verdict)
    return Reason(verdict, str(scene.job["job_id"]), str(scene.job["name"]), scene.state.name)
