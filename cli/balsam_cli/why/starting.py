"""What would have to be started, or changed, for a job that no launcher at work can run. Pure."""

from __future__ import annotations

from dataclasses import replace

from balsam_cli.takers import Hindrance, Need, NodeKind, Taker, hindrance, lacking
from balsam_cli.why.scene import Scene
from balsam_cli.why.verdict import command, modify


def start(scene: Scene) -> str:
    """The command that starts, or submits, a launcher that runs the job; empty: none that could be started would."""
    if scene.is_others:
        return ""
    need = replace(scene.need, launch=None)
    place = scene.place
    if scene.policy is not None and scene.policy.allows and not scene.policy.at_work:
        return command("service")
    if place.here is not None and hindrance(need, place.here) is None:
        return command("launcher", *_filter(scene))
    if place.batch_system and (place.node is None or lacking(need, [_many(place.node, need)]) is None):
        return command("submit-launch", "-n", need.nodes, "-t", need.expected_minutes + place.spare_minutes)
    return ""


def _filter(scene: Scene) -> list[str]:
    """Where launchers at work keep to their workflows, another one does so too."""
    filters = any(launcher.taker.workflow_filter for launcher in scene.launchers)
    return ["--wf-filter", scene.need.workflow] if filters and scene.need.workflow else []


def _many(kind: NodeKind, need: Need) -> NodeKind:
    return replace(kind, count=need.nodes)


def largest_place(scene: Scene) -> tuple[Taker, Hindrance] | None:
    """Of all places that are too small for the job the one that it comes nearest to, and what that lacks."""
    need = replace(scene.need, launch=None)
    places = [
        replace(launcher.taker, workflow_filter="", bound_only=False, users=frozenset()) for launcher in scene.launchers
    ]
    places += [scene.place.here] if scene.place.here is not None else []
    if scene.place.batch_system and scene.place.node is not None:
        places = [Taker(need.nodes, "auto", "", kinds=(_many(scene.place.node, need),))]
    found = [(taker, what) for taker in places if (what := hindrance(need, taker)) is not None]
    of_size = [(taker, what) for taker, what in found if what.what in ("nodes", "gpus", "cores")]
    return max(of_size, key=lambda pair: (pair[1].what != "nodes", _most(*pair)), default=None)


def _most(taker: Taker, what: Hindrance) -> int:
    """How many nodes there are, or cores or GPUs of the largest."""
    if what.what == "nodes":
        return taker.nodes
    return max(kind.gpus if what.what == "gpus" else kind.cores for kind in taker.kinds)


def make_smaller(scene: Scene, taker: Taker, what: Hindrance) -> str:
    """The command that makes a job as small as a place that it comes nearest to."""
    change = _smaller(scene, taker, what)
    return modify(scene.short_id, *change)


def _smaller(scene: Scene, taker: Taker, what: Hindrance) -> tuple[str, object]:
    need, job = scene.need, scene.job
    ranks = int(job["ranks_per_node"])
    if what.what == "nodes":
        return "num_nodes", taker.nodes
    if what.what == "gpus":
        most = _most(taker, what)
        if need.gpus <= most:
            return "num_nodes", max(1, _able(need, taker))
        return "gpus_per_rank", most // ranks or f"{most / ranks:.3g}"
    most = _most(taker, what)
    if need.cores <= most:
        return "num_nodes", max(1, _able(need, taker))
    threads = most // ranks * int(job["threads_per_core"])
    return ("threads_per_rank", threads) if threads else ("cpu_affinity", "none")


def _able(need: Need, taker: Taker) -> int:
    return sum(kind.count for kind in taker.kinds if kind.cores >= need.cores and kind.gpus >= need.gpus)
