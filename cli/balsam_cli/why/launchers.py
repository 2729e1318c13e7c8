"""Jobs that a launcher has, or could take: who, and what keeps it from that. Pure."""

from __future__ import annotations

from balsam.states import ACTIVE, RUNNABLE
from balsam_cli.takers import hindrance
from balsam_cli.text import age, count, local_time
from balsam_cli.why.scene import Launcher, Scene
from balsam_cli.why.starting import start
from balsam_cli.why.verdict import Verdict, command, modify

_EPSILON = 1e-6
STARTING, BEHIND, FULL, SET_ASIDE, CLOSING = (
    "starting",
    "behind-others",
    "launchers-full",
    "nodes-set-aside",
    "launcher-closing",
)
_BEST_FIRST = (STARTING, BEHIND, FULL, SET_ASIDE, CLOSING)


def lost(scene: Scene) -> Verdict | None:
    """The launcher that has it is not there any more, and the job store does not know yet."""
    if scene.holder is None or scene.holder.is_alive or scene.state not in ACTIVE | RUNNABLE:
        return None
    return Verdict(
        "launcher-lost",
        f"{scene.holder.label} has it, and its process is not there any more",
        advice="it goes on when the lease of that launcher has ended, after the setting lease_seconds at most",
    )


def running(scene: Scene) -> Verdict | None:
    """It is running."""
    if scene.state not in ACTIVE:
        return None
    under = f" under {scene.holder.label}" if scene.holder else ""
    nodes = f", on {', '.join(scene.holder.runs_on)}" if scene.holder and scene.holder.runs_on else ""
    since = ""
    if scene.since is not None:
        since = f", since {local_time(scene.since)} ({age((scene.now - scene.since).total_seconds())})"
    advice = f"`{command('logs', scene.short_id, '-f')}` shows its output"
    return Verdict("running", f"it is running{under}{nodes}{since}", advice=advice)


def no_command(scene: Scene) -> Verdict | None:
    """Nothing would run: a launcher could but fail it."""
    if scene.state not in RUNNABLE or scene.job["application"] or str(scene.job["args"]).strip():
        return None
    return Verdict(
        "no-command",
        "it has no application and no args: there is no command to run, and a launcher would fail it",
        advice=f"give it one: `{modify(scene.short_id, 'args', 'COMMAND')}`, or `--attr application`",
    )


def held(scene: Scene) -> Verdict | None:
    """A launcher has taken it, and has not started it yet."""
    if scene.state not in RUNNABLE or scene.holder is None:
        return None
    why = f"{scene.holder.label} has taken it, and starts it as soon as its nodes have room"
    return Verdict("held", why, advice="wait; `balsam status` shows how many jobs each launcher has")


def could_take(scene: Scene) -> Verdict | None:
    """Launchers at work could run it: what keeps the one that comes nearest to it."""
    if scene.state not in RUNNABLE:
        return None
    alive = [launcher for launcher in scene.launchers if launcher.is_alive]
    able = [(_obstacle(scene, one), one) for one in alive if hindrance(scene.need, one.taker) is None]
    if not able:
        return None
    condition, launcher = min(able, key=lambda pair: _BEST_FIRST.index(pair[0]))
    details = tuple(f"{one.label}: {_text(scene, what, one)}" for what, one in able) if len(able) > 1 else ()
    why = f"{launcher.label} could run it, and {_text(scene, condition, launcher)}"
    fix, advice = _change(scene, condition)
    return Verdict(condition, why, fix, advice, details)


def _obstacle(scene: Scene, launcher: Launcher) -> str:
    """What keeps a launcher from a job that it can run."""
    need = scene.need
    if launcher.closing:
        return CLOSING
    too_large = launcher.largest is not None and not need.serial and need.nodes > launcher.largest
    if too_large or launcher.closed_nodes >= launcher.taker.nodes:
        return SET_ASIDE
    no_room = launcher.free_nodes is not None and launcher.free_nodes + _EPSILON < need.total
    if no_room or launcher.free_jobs < 1:
        return FULL
    return BEHIND if scene.ahead else STARTING


def _text(scene: Scene, condition: str, launcher: Launcher) -> str:
    """What keeps this launcher, to follow its name."""
    most = "up to " if scene.ahead_at_most else ""
    ahead = f"{most}{count(scene.ahead, 'job')} start{'s' if scene.ahead == 1 else ''} before it"
    if condition == CLOSING:
        return "starts nothing more: it is draining or stopping"
    if condition == SET_ASIDE:
        reasons = "; ".join(f"{node}: {reason}" for node, reason in launcher.set_aside.items())
        left = f"has {launcher.taker.nodes - launcher.closed_nodes} of its {launcher.taker.nodes} nodes"
        return f"{left}: others are set aside or out of reach{f' ({reasons})' if reasons else ''}"
    if condition == FULL:
        return f"is full; {ahead if scene.ahead else 'nothing else starts before it'}"
    if condition == BEHIND:
        first = scene.first_ahead
        nodes = int(first.get("num_nodes", 1))
        named = f"{first.get('name') or 'job'} ({str(first.get('job_id', ''))[:8]})"
        return f"{ahead}, of which nothing may be passed over: the first, {named}, needs {count(nodes, 'node')}"
    return "is about to start it"


def _change(scene: Scene, condition: str) -> tuple[str, str]:
    """The command that would start it, and what else there is to say."""
    if condition in (CLOSING, SET_ASIDE):
        return start(scene), "`balsam log` tells why" if condition == SET_ASIDE else ""
    if condition in (FULL, BEHIND) and scene.ahead:
        priority = int(scene.first_ahead.get("priority", 0)) + 1
        return modify(
            scene.short_id, "priority", priority
        ), "its turn comes by itself; with this priority it is the next"
    return "", "wait" if condition == FULL else "look again"
