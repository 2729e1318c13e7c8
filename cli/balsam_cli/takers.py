"""Which of the launchers at work could run a job, by what they say of themselves. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from balsam.patterns import matches


@dataclass(frozen=True)
class Need:
    """What a job asks of a launcher."""

    workflow: str
    nodes: int
    serial: bool
    launch: int | None = None
    """The launch that it is bound to."""
    minutes: int = 1
    """How long it may take."""
    user: str = ""
    """Whose it is; empty: that does not matter."""


@dataclass(frozen=True)
class Taker:
    """A launcher at work, or one that is to come: nodes, mode (`auto`, `mpi`, `serial`), the workflow that it takes
    (empty: all), the batch launch."""

    nodes: int
    job_mode: str
    workflow_filter: str
    launch: int | None = None
    bound_only: bool = False
    """It takes only the jobs that are bound to its launch."""
    minutes: int | None = None
    """How long it works; None: no limit is known."""
    label: str = ""
    """How it is called; empty: a launcher at work."""
    users: frozenset[str] = frozenset()
    """Whose jobs it runs; none: that does not matter."""


def why_not(need: Need, taker: Taker) -> str:
    """Why a launcher never runs such a job; empty: it can."""
    if need.user and taker.users and need.user not in taker.users:
        return f"runs jobs of {' and '.join(sorted(taker.users))} only"
    if need.launch is not None and need.launch != taker.launch:
        return f"is not of launch {need.launch}"
    if taker.bound_only and need.launch is None:
        return f"takes jobs that are bound to launch {taker.launch} only"
    if taker.workflow_filter and not matches(need.workflow, taker.workflow_filter):
        return f"takes workflow {taker.workflow_filter!r} only"
    if taker.job_mode == "serial" and not need.serial:
        return "takes serial jobs only"
    if need.nodes > taker.nodes:
        return f"has {taker.nodes} of the {need.nodes} nodes"
    if taker.minutes is not None and need.minutes > taker.minutes:
        return f"has {taker.minutes} of the {need.minutes} minutes"
    return ""


def warning(needs: Sequence[Need], takers: Sequence[Taker]) -> str:
    """What to say when no launcher, at work or to come, could ever run one of these jobs; empty: all can be run."""
    if not takers:
        return "no launcher is at work; start one with `balsam launcher`, or submit one with `balsam submit-launch`"
    for need in needs:
        reasons = {why_not(need, taker) for taker in takers}
        if "" not in reasons:
            return f"nothing {_where(takers)} can run this: {_which(takers)} {' or '.join(sorted(reasons))}"
    return ""


def _where(takers: Sequence[Taker]) -> str:
    return "at work or submitted" if any(taker.label for taker in takers) else "at work"


def _which(takers: Sequence[Taker]) -> str:
    if len(takers) == 1:
        return takers[0].label or "the launcher at work"
    kinds = "launchers and launches" if any(taker.label for taker in takers) else "launchers at work"
    return f"each of the {len(takers)} {kinds}"
