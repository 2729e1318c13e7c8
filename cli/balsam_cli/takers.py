"""Which launchers could run a job, by what they say of themselves: one place for the rules that `balsam why` and the
warning at submission explain. Pure.

The rules are those by which launchers get jobs: `balsam_jobstore.leases`, `balsam_launcher.needs`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from balsam.fields import MAX_INT
from balsam.patterns import matches

ORDER = ("user", "launch", "workflow", "mode", "nodes", "gpus", "cores", "minutes")
"""What may keep a launcher from a job, in the order in which that is looked at."""


@dataclass(frozen=True)
class NodeKind:
    """Nodes that are alike."""

    count: int
    cores: int = MAX_INT
    """Of each; MAX_INT: nobody knows."""
    gpus: int = MAX_INT


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
    cores: int = 0
    """Cores that it is bound to, on each node; 0: none."""
    gpus: int = 0
    """GPUs that it uses, on each node; a part of one counts as one."""
    share: float = 1.0
    """What it takes of each node."""
    owner: str = ""
    """The user whose job it is; empty: nobody knows."""
    application: str = ""
    """Its application; empty: none."""
    expected: int | None = None
    """Minutes in which runs of its application end, as launchers will find that go by the history; None: it does not
    tell, or they do not go by it."""

    @property
    def total(self) -> float:
        """What it takes of a launcher, in nodes."""
        return self.nodes * self.share

    @property
    def expected_minutes(self) -> int:
        """How long it takes for launchers that are still to be started."""
        return self.minutes if self.expected is None else min(self.minutes, self.expected)


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
    kinds: tuple[NodeKind, ...] = ()
    """What its nodes have; none: nobody knows."""
    users: frozenset[str] = frozenset()
    """The users whose jobs it takes; none: nobody knows."""
    quick: frozenset[str] = frozenset()
    """Applications whose jobs it takes however long they may take, as their runs end in its time (`fit_by_history`)."""

    def minutes_of(self, need: Need) -> int:
        """How long a job takes, as this launcher sees it; one that is to come reads the history first."""
        return need.expected_minutes if self.label else need.minutes


class Hindrance(NamedTuple):
    """Why a launcher never runs a job: one of `ORDER`, and the reason for people, to follow the launcher's name."""

    what: str
    text: str


def need_of(job: Mapping[str, Any]) -> Need:
    """What a job asks for, from the values of its fields; those that are absent have their defaults."""
    from balsam_launcher import needs
    from balsam_launcher.run_commands import cores_per_rank

    binds = job.get("cpu_affinity", "none") == "depth"
    threads = int(job.get("threads_per_rank", 1)), int(job.get("threads_per_core", 1))
    nodes, ranks = int(job.get("num_nodes", 1)), int(job.get("ranks_per_node", 1))
    need = needs.need_of(
        nodes,
        ranks,
        int(job.get("node_packing_count", 1)),
        "auto",
        cores_per_rank=cores_per_rank(*threads) if binds else 0,
        gpus_per_rank=float(job.get("gpus_per_rank", 0.0)),
    )
    assert need is not None  # in this mode all jobs run
    return Need(
        str(job.get("workflow", "")),
        nodes,
        not need.mpi,
        job.get("queued_launch"),
        int(job.get("wall_time_minutes", 1)),
        need.cores,
        math.ceil(need.gpus),
        need.share,
        str(job.get("owner") or ""),
        str(job.get("application") or ""),
    )


def hindrance(need: Need, taker: Taker) -> Hindrance | None:
    """Why a launcher never runs such a job; None: it can."""
    if need.owner and taker.users and need.owner not in taker.users:
        users = " and ".join(sorted(taker.users))
        return Hindrance("user", f"takes the jobs of {users}, and not those of {need.owner}")
    if need.launch is not None and need.launch != taker.launch:
        return Hindrance("launch", f"is not of launch {need.launch}")
    if taker.bound_only and need.launch is None:
        return Hindrance("launch", f"takes jobs that are bound to launch {taker.launch} only")
    if taker.workflow_filter and not matches(need.workflow, taker.workflow_filter):
        return Hindrance("workflow", f"takes workflow {taker.workflow_filter!r} only")
    if taker.job_mode == "serial" and not need.serial:
        return Hindrance("mode", "takes serial jobs only")
    if need.nodes > taker.nodes:
        return Hindrance("nodes", f"has {taker.nodes} of the {need.nodes} nodes")
    if found := lacking(need, taker.kinds):
        return found
    if taker.minutes is not None and need.application not in taker.quick and taker.minutes_of(need) > taker.minutes:
        return Hindrance("minutes", f"has {taker.minutes} of the {taker.minutes_of(need)} minutes")
    return None


def lacking(need: Need, kinds: Sequence[NodeKind]) -> Hindrance | None:
    """Which cores or GPUs a job needs that not enough nodes of these kinds have; None: enough do, or nobody knows."""
    able = sum(kind.count for kind in kinds if kind.cores >= need.cores and kind.gpus >= need.gpus)
    if not kinds or not (need.cores or need.gpus) or need.nodes <= able:
        return None
    gpus, cores = max(kind.gpus for kind in kinds), max(kind.cores for kind in kinds)
    if need.gpus > gpus:
        return Hindrance("gpus", f"has no node with {asked(need, 'gpus')} ({_at_most(gpus)})")
    if need.cores > cores:
        return Hindrance("cores", f"has no node with {asked(need, 'cores')} ({_at_most(cores)})")
    both = " and ".join(asked(need, what) for what in ("gpus", "cores") if getattr(need, what))
    return Hindrance("gpus" if need.gpus else "cores", f"has {able} of the {need.nodes} nodes with {both}")


def asked(need: Need, what: str) -> str:
    """The cores or GPUs that a job needs on each node: ``2 GPUs``, ``64 cores to be bound to``."""
    if what == "gpus":
        return f"{need.gpus} GPU{'' if need.gpus == 1 else 's'}"
    return f"{need.cores} core{'' if need.cores == 1 else 's'} to be bound to"


def _at_most(number: int) -> str:
    return f"at most {number}" if number else "they have none"


def why_not(need: Need, taker: Taker) -> str:
    """Why a launcher never runs such a job; empty: it can."""
    found = hindrance(need, taker)
    return found.text if found else ""


def warning(needs: Sequence[Need], takers: Sequence[Taker], site: NodeKind | None = None) -> str:
    """What to say when no launcher, at work or to come, could ever run one of these jobs; empty: all can be run.

    Args:
        needs: what the jobs ask for.
        takers: launchers at work and to come.
        site: what a node of the site has, by its settings; None: they do not say.
    """
    if not takers:
        return next(filter(None, (_never(need, site) for need in needs)), "") or NOBODY
    for need in needs:
        found = [hindrance(need, taker) for taker in takers]
        reasons = [one for one in found if one is not None]
        if len(reasons) == len(takers):
            return _nothing_can(need, takers, reasons)
    return ""


NOBODY = "no launcher is at work; start one with `balsam launcher`, or submit one with `balsam submit-launch`"


def too_large(needs: Sequence[Need], here: Taker) -> str:
    """What to say of jobs that are larger than a launcher here, where that is the only place; empty: none is."""
    for need in needs:
        found = hindrance(replace(need, launch=None), here)
        if found is not None and found.what in ("nodes", "gpus", "cores"):
            return f"nothing that exists can ever run this: {here.label} {found.text}"
    return ""


def _never(need: Need, site: NodeKind | None) -> str:
    found = lacking(need, [NodeKind(MAX_INT, site.cores, site.gpus)]) if site else None
    if site is None or found is None:
        return ""
    each = site.gpus if found.what == "gpus" else site.cores
    return f"no node has {asked(need, found.what)}: by settings.toml ({found.what}_per_node) each has {each}"


def _nothing_can(need: Need, takers: Sequence[Taker], reasons: Sequence[Hindrance]) -> str:
    texts = sorted({reason.text for reason in reasons})
    text = f"nothing {_where(takers)} can run this: {_which(takers)} {' or '.join(texts)}"
    what = reasons[0].what
    if {reason.what for reason in reasons} == {what} and all("has no node" in text for text in texts):
        return f"no node has {asked(need, what)}: {text}"
    return text


def _where(takers: Sequence[Taker]) -> str:
    return "at work or submitted" if any(taker.label for taker in takers) else "at work"


def _which(takers: Sequence[Taker]) -> str:
    if len(takers) == 1:
        return takers[0].label or "the launcher at work"
    kinds = "launchers and launches" if any(taker.label for taker in takers) else "launchers at work"
    return f"each of the {len(takers)} {kinds}"
