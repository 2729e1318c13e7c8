"""Jobs that no launcher at work can run: launches to come, the automatic submitter, or nobody at all. Pure."""

from __future__ import annotations

from balsam.fields import LAUNCH_OVER
from balsam.states import RUNNABLE
from balsam_cli.takers import ORDER, Hindrance, asked, hindrance
from balsam_cli.why.scene import Launch, Scene
from balsam_cli.why.starting import largest_place, make_smaller, start
from balsam_cli.why.verdict import Verdict, command, modify

_CONDITIONS = {
    "user": "other-users",
    "launch": "bound-jobs-only",
    "workflow": "workflow-filter",
    "mode": "job-mode",
    "nodes": "nodes",
    "gpus": "gpus",
    "cores": "cores",
    "minutes": "time-left",
}
"""What keeps launchers from a job -> the condition."""
_WAITS = {"RUNNING": "launch-starting", "UNKNOWN": "launch-unknown"}


def bound(scene: Scene) -> Verdict | None:
    """It is bound to a launch whose launcher is not at work, or cannot run it."""
    if scene.state not in RUNNABLE or scene.need.launch is None:
        return None
    free = modify(scene.short_id, "queued_launch", "")
    number = scene.need.launch
    for launcher in scene.launchers:
        if launcher.taker.launch == number and (found := hindrance(scene.need, launcher.taker)):
            why = f"it is bound to launch {number}, and {launcher.label}, which is of that, {found.text}"
            return Verdict(_CONDITIONS[found.what], why, free, "any launcher may run it then")
    launch = scene.bound_to
    if launch is None or launch.state in LAUNCH_OVER or (not launch.batch and not launch.at_work):
        what = "no batch system has that, and its launcher is not at work"
        return Verdict("launch-gone", f"it is bound to launch {number}: {what}", free, "any launcher may run it then")
    if found := hindrance(scene.need, launch.taker):
        why = f"it is bound to launch {number}, which {found.text}"
        return Verdict(_CONDITIONS[found.what], why, free, "any launcher may run it then")
    if launch.in_vain:
        why = f"it is bound to launch {number}: {_launch_text(launch)}"
        return Verdict("launch-in-vain", why, free, "any launcher may run it then")
    return _waits_for(scene, [launch], f"it is bound to launch {number}: ")


def to_come(scene: Scene) -> Verdict | None:
    """A launch that could run it is in the queue of a batch system."""
    able = [launch for launch in _able(scene) if not launch.in_vain]
    return _waits_for(scene, able, "no launcher at work can run it: ") if able else None


def in_vain(scene: Scene) -> Verdict | None:
    """The launches that could run it wait in the batch system for what does not come by itself."""
    able = _able(scene)
    if not able:
        return None
    launch, *others = able
    fix = command("cancel", *(one.launch_id for one in able))
    advice = "then submit one that may have what it asks for"
    details = (*(_launch_text(one) for one in others), *_hindrances(scene))
    return Verdict("launch-in-vain", f"no launcher at work can run it: {_launch_text(launch)}", fix, advice, details)


def _able(scene: Scene) -> list[Launch]:
    """The launches to come that could run the job."""
    if scene.state not in RUNNABLE:
        return []
    return [one for one in scene.launches if one.batch and not one.at_work and not hindrance(scene.need, one.taker)]


def _waits_for(scene: Scene, launches: list[Launch], introduction: str) -> Verdict:
    launch = launches[0]
    details = tuple(_launch_text(one) for one in launches) if len(launches) > 1 else ()
    return Verdict(
        _WAITS.get(launch.state, "launch-queued"),
        f"{introduction}{_launch_text(launch)}",
        advice=f"wait; `{command('ls', 'launches')}` shows all",
        details=(*details, *_hindrances(scene)),
    )


def _launch_text(launch: Launch) -> str:
    waits = {"RUNNING": " and its launcher is not at work", "UNKNOWN": ": its batch system does not tell"}
    reason = f": {launch.message}" if launch.message else ""
    return f"launch {launch.launch_id} ({launch.batch}) is {launch.state}{waits.get(launch.state, '')}{reason}"


def service_submits(scene: Scene) -> Verdict | None:
    """The automatic submitter looks after it."""
    policy = scene.policy
    if scene.state not in RUNNABLE or policy is None or not policy.allows or not policy.at_work:
        return None
    why = f"`balsam service` submits nothing for it now: {policy.verdict}"
    if not policy.verdict:
        why = "`balsam service` is about to submit a launch for it"
    return Verdict("service-waits", why, advice="`balsam service --dry-run` tells more", details=_hindrances(scene))


def nobody(scene: Scene) -> Verdict | None:
    """No launcher at work or submitted can run it."""
    if scene.state not in RUNNABLE:
        return None
    fix = start(scene)
    advice = "" if fix else "start a launcher where there are such nodes, or submit one"
    if scene.is_others:
        advice = f"{scene.owner} starts a launcher: those of others do not take their jobs unless told to (--trust)"
    elif not fix and (found := largest_place(scene)):
        taker, what = found
        return Verdict("never-fits", _never(scene, what), make_smaller(scene, taker, what), details=_hindrances(scene))
    reasons = _reasons(scene)
    if not reasons:
        never = scene.policy.never if scene.policy is not None else ""
        of_policy = f", and the policy of `balsam service` allows none for it: it {never}" if never else ""
        why = f"no launcher is at work{of_policy}"
        return Verdict("policy" if never else "no-launcher", why, fix, advice)
    label, nearest = max(reasons, key=lambda pair: ORDER.index(pair[1].what))
    details = _hindrances(scene) if len(reasons) > 1 else ()
    return Verdict(_CONDITIONS[nearest.what], f"no launcher can run it: {label} {nearest.text}", fix, advice, details)


def _never(scene: Scene, what: Hindrance) -> str:
    if what.what == "nodes" or "has no node" not in what.text:
        return f"nothing that exists can ever run it: the largest place {what.text}"
    found = what.text.rpartition(" (")[2].rstrip(")")
    return f"nothing that exists can ever run it: no node has {asked(scene.need, what.what)} ({found})"


def _reasons(scene: Scene) -> list[tuple[str, Hindrance]]:
    """Who cannot run it, and why."""
    takers = [(one.label, one.taker) for one in scene.launchers if one.is_alive]
    takers += [(f"launch {one.launch_id}", one.taker) for one in scene.launches if one.batch and not one.at_work]
    return [(label, found) for label, taker in takers if (found := hindrance(scene.need, taker))]


def _hindrances(scene: Scene) -> tuple[str, ...]:
    lines = [f"{label} {found.text}" for label, found in _reasons(scene)]
    dead = [one.label for one in scene.launchers if not one.is_alive]
    return (*lines, *(f"{label} is not there any more: its lease has not ended" for label in dead))
