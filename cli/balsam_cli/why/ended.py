"""Jobs that have ended: how, and how they are run again. Pure."""

from __future__ import annotations

from balsam.restarts import restart_state
from balsam.states import WAITING, State
from balsam_cli.text import local_time
from balsam_cli.why.scene import Scene
from balsam_cli.why.verdict import Verdict, modify


def ended(scene: Scene) -> Verdict | None:
    """The job has ended."""
    if scene.state is State.JOB_FINISHED:
        return Verdict(
            "finished",
            f"it has finished, {_when(scene)}",
            advice=f"to run it again: {modify(scene.short_id, 'state', State.RESTART_READY.name)}",
        )
    if scene.state is State.USER_KILLED:
        return Verdict(
            "killed", f"it was killed, {_when(scene)}{_said(scene)}", advice="a killed job stays killed: add it anew"
        )
    return _failed(scene) if scene.state is State.FAILED else None


def _failed(scene: Scene) -> Verdict:
    message = str(scene.job["message"])
    first, _, rest = message.partition("\n")
    before = _state_before(scene)
    if before in WAITING and message.startswith("parent "):
        return _with_its_parent(scene, first)
    code = scene.job["exit_code"]
    exit_text = f", exit code {code}" if code and f"{code}" not in first else ""
    condition = "restarts-used-up" if "max_restarts is used up" in message else "failed"
    if condition == "restarts-used-up":
        lost = f"its launcher or node was lost {scene.job['restarts']} times, and max_restarts = "
        first = f"{first} ({lost}{scene.job['max_restarts']})"
    return Verdict(
        condition,
        f"it failed, {_when(scene)}: {first or 'no reason was given'}{exit_text}",
        fix=modify(scene.short_id, "state", restart_state(before).name),
        advice=f"mend what was wrong first; `balsam logs {scene.short_id}` shows its output",
        details=tuple(line for line in rest.splitlines() if line.strip()),
    )


def _with_its_parent(scene: Scene, message: str) -> Verdict:
    """A parent ended without finishing, or was deleted."""
    anew = modify(scene.short_id, "state", State.CREATED.name)
    bad = [parent for parent in scene.parents if parent.state in (State.FAILED, State.USER_KILLED)]
    details = tuple(parent.text for parent in bad)
    why = f"it failed, {_when(scene)}, because of a parent: {message}"
    failed = next((parent for parent in bad if parent.state is State.FAILED), None)
    if failed is not None:
        advice = "what failed because of its parent comes back when that is reset"
        fix = modify(failed.job_id[:8], "state", State.RESTART_READY.name)
        return Verdict("parent-failed", why, fix, advice, details, follow=failed.job_id)
    if bad:
        alone = f"{modify(scene.short_id, 'wait_for_parents', 'false')} && {anew}"
        others = len(scene.parents) > len(bad)
        advice = "without its killed parent: " + ("change its parents first" if others else "it no longer waits")
        return Verdict("parent-failed", why, "" if others else alone, advice, details)
    return Verdict("parent-failed", why, anew, "that parent does not hold it any more")


def _state_before(scene: Scene) -> State:
    """Where it stood before it failed."""
    before = [moment.state for moment in scene.history[:-1]]
    return before[-1] if before else State.CREATED


def _when(scene: Scene) -> str:
    return local_time(scene.since) if scene.since else "at a time that is not known"


def _said(scene: Scene) -> str:
    message = str(scene.job["message"]).partition("\n")[0]
    return f": {message}" if message else ""
