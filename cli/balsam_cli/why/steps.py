"""Jobs that the scheduler has, or is to have: parents, staging, scripts. Pure."""

from __future__ import annotations

from balsam.states import TRANSITIONABLE, State
from balsam_cli.text import age, count, local_time
from balsam_cli.why.scene import Relative, Scene
from balsam_cli.why.verdict import Verdict, command

_TITLES = {
    State.READY: "its stage-in",
    State.STAGED_IN: "its pre-processing script",
    State.RUN_DONE: "its post-processing script",
    State.POSTPROCESSED: "its stage-out",
    State.RUN_ERROR: "its post-processing script, which handles the error,",
    State.RUN_TIMEOUT: "its post-processing script, which handles the time-out,",
}
_SCRIPTS = frozenset(_TITLES) - {State.READY, State.POSTPROCESSED}
_SHOWN = 5  # parents


def scheduler_is_away(scene: Scene) -> Verdict | None:
    """Nobody moves the job on."""
    if scene.state not in TRANSITIONABLE or scene.scheduler is not None:
        return None
    return Verdict("services-down", "the scheduler, which is to move it on, is not at work", command("up"))


def in_step(scene: Scene) -> Verdict | None:
    """It is being staged, or a script of it runs."""
    if not scene.in_step or _waits_in_pool(scene):
        return None
    pid = f" (pid {scene.script_pid})" if scene.script_pid else ""
    title = _TITLES.get(scene.state, "a step of the scheduler")
    return Verdict("in-step", f"{title} runs{pid}{_since(scene)}", advice=_where_to_look(scene))


def waits_for_a_worker(scene: Scene) -> Verdict | None:
    """It waits for staging or a script, as others do."""
    if scene.state not in _TITLES or scene.scheduler is None or not scene.scheduler.is_full:
        return None
    if not scene.scheduler_serves:
        return None
    workers = scene.scheduler.workers
    busy = "its only worker is" if workers == 1 else f"its {workers} workers are all"
    before = f"; {count(scene.steps_ahead, 'job')} came before it" if scene.steps_ahead else ""
    return Verdict(
        "steps-full",
        f"{_TITLES[scene.state].rstrip(',')} waits for the scheduler: {busy} busy with others{before}",
        advice="wait; or raise script_workers in settings.toml, then `balsam down` and `balsam up`",
    )


def waits_for_a_launcher(scene: Scene) -> Verdict | None:
    """Its staging and scripts are done in the account of its owner, and nobody is at work there."""
    if scene.state not in _TITLES or scene.scheduler_serves or scene.step_workers:
        return None
    title, owner = _TITLES[scene.state].rstrip(","), scene.owner
    why = f"{title} runs in the account of {owner}, by a launcher of theirs, and none is at work"
    if owner == scene.me:
        return Verdict("steps-wait-for-launcher", why, command("launcher"))
    advice = f"{owner} starts a launcher; or the owner of the site adds {owner} to trusted_owners in settings.toml"
    return Verdict("steps-wait-for-launcher", why, advice=advice)


def waits_for_parents(scene: Scene) -> Verdict | None:
    """Some parent has not finished."""
    if scene.state is not State.AWAITING_PARENTS or not scene.parents:
        return None
    first = min(scene.parents, key=_worst_first)
    others = len(scene.parents) - 1
    more = f", and {others:,} more" if others else ""
    details = [parent.text for parent in sorted(scene.parents, key=_worst_first)[:_SHOWN]]
    if others >= _SHOWN:
        details.append(f"... {others + 1 - _SHOWN:,} more")
    return Verdict(
        "waits-for-parents",
        f"it waits for {first.label}, which is {first.state.name}{more}",
        advice=f"`{command('why', first.job_id[:8])}` says what holds that one",
        details=tuple(details) if others else (),
        follow=first.job_id,
    )


def moves_on(scene: Scene) -> Verdict | None:
    """The scheduler moves it on by itself."""
    if scene.state not in TRANSITIONABLE:
        return None
    is_step = scene.state in _TITLES and not scene.scheduler_serves
    who = f"a launcher of {scene.owner}" if is_step else "the scheduler"
    why = f"{who} is about to move it on{_since(scene)}"
    return Verdict("moving", why, advice="look again; `balsam log` tells more")


def _waits_in_pool(scene: Scene) -> bool:
    """The scheduler has it, and no worker for it yet: it takes a few ahead."""
    is_full = scene.scheduler is not None and scene.scheduler.is_full
    return is_full and scene.state in _SCRIPTS and not scene.script_pid


def _worst_first(parent: Relative) -> tuple[int, str]:
    order = (State.FAILED, State.USER_KILLED)
    return (order.index(parent.state) if parent.state in order else len(order), parent.job_id)


def _since(scene: Scene) -> str:
    if scene.since is None:
        return ""
    return f", since {local_time(scene.since)} ({age((scene.now - scene.since).total_seconds())})"


def _where_to_look(scene: Scene) -> str:
    if scene.state in _SCRIPTS:
        log = "preprocess.log" if scene.state is State.STAGED_IN else "postprocess.log"
        return f"its output: {scene.job['working_directory']}/{log}; its limit: script_timeout_seconds"
    return "its limit: staging_timeout_seconds"
