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


@dataclass(frozen=True)
class Taker:
    """A launcher: nodes, mode (`auto`, `mpi`, `serial`), the workflow that it takes (empty: all), the batch launch."""

    nodes: int
    job_mode: str
    workflow_filter: str
    launch: int | None = None


def why_not(need: Need, taker: Taker) -> str:
    """Why a launcher never runs such a job; empty: it can."""
    if need.launch is not None and need.launch != taker.launch:
        return f"is not of launch {need.launch}"
    if taker.workflow_filter and not matches(need.workflow, taker.workflow_filter):
        return f"takes workflow {taker.workflow_filter!r} only"
    if taker.job_mode == "serial" and not need.serial:
        return "takes serial jobs only"
    if need.nodes > taker.nodes:
        return f"has {taker.nodes} of the {need.nodes} nodes"
    return ""


def warning(needs: Sequence[Need], takers: Sequence[Taker]) -> str:
    """What to say when no launcher at work could ever run one of these jobs; empty: all can be run."""
    if not takers:
        return "no launcher is at work; start one with `balsam launcher`"
    for need in needs:
        reasons = {why_not(need, taker) for taker in takers}
        if "" not in reasons:
            which = "the launcher at work" if len(takers) == 1 else f"each of the {len(takers)} launchers at work"
            return f"nothing at work can run this: {which} {' or '.join(sorted(reasons))}"
    return ""
