"""The chain from a job to its run: the first link that does not hold is the reason. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from balsam.states import RUNNABLE
from balsam_cli.records import MANY_TIMEOUTS
from balsam_cli.why import ended, launchers, nobody, steps
from balsam_cli.why.scene import Scene
from balsam_cli.why.verdict import Verdict

Link = Callable[[Scene], Verdict | None]

LINKS: tuple[Link, ...] = (
    ended.ended,
    launchers.lost,
    launchers.running,
    steps.scheduler_is_away,
    steps.in_step,
    steps.waits_for_a_worker,
    steps.waits_for_a_launcher,
    steps.waits_for_parents,
    steps.moves_on,
    launchers.no_command,
    launchers.held,
    launchers.could_take,
    nobody.bound,
    nobody.to_come,
    nobody.service_submits,
    nobody.in_vain,
    nobody.nobody,
)
"""The links, in the order in which they are looked at. The first of all, whether a job store answers, is not here:
without it nothing is known."""


def judge(scene: Scene) -> Verdict:
    """Why a job is not running."""
    verdict = next(found for link in LINKS if (found := link(scene)) is not None)
    return replace(verdict, notes=_notes(scene))


def _notes(scene: Scene) -> tuple[str, ...]:
    notes = []
    timeouts = int(scene.job["timeouts"])
    if timeouts >= MANY_TIMEOUTS:
        text = "its runs were cut off {} times in a row: it may need more time than any launcher has"
        notes.append(text.format(timeouts))
    if scene.policy is not None and scene.policy.trouble:
        notes.append(f"`balsam service` cannot work: {scene.policy.trouble}")
    if scene.state in RUNNABLE and scene.scheduler is None:
        # Rules outlive the scheduler: a job that needs nothing of the kind finishes without it.
        notes.append(
            "the scheduler is not at work: post-processing and stage-out after the run wait for it (`balsam up`)"
        )
    return tuple(notes)
