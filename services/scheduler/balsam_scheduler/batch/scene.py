"""What the automatic submitter sees when it plans: launches, launchers, work, and what it remembers. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from balsam.fields import LAUNCH_OVER
from balsam.patterns import matches
from balsam_scheduler.batch.answers import InVain
from balsam_scheduler.batch.nodes import NodeKind, Report, could_hold
from balsam_scheduler.batch.work import Work


@dataclass(frozen=True)
class Launch:
    """A launch as it is recorded. Times are seconds since 1970 in UTC."""

    launch_id: int
    queue: str
    nodes: int
    wall_minutes: int
    state: str
    create_time: float
    job_mode: str = "auto"
    wf_filter: str = ""
    prescheduled_only: bool = False
    from_balsam: bool = True
    message: str = ""
    accepted: bool = True
    """Its batch system had it, or may have had."""
    start_time: float | None = None
    """When its launcher came up, if that is at work."""
    holds: int | None = None
    """Jobs that its launchers have; None: nobody knows."""
    sched_flags: str = ""
    kinds: tuple[NodeKind, ...] = ()
    """What its launcher found; none: nobody knows."""
    in_vain: InVain | None = None
    """It waits for what does not come by itself; `message` says what."""
    lost: float | None = None
    """Its launcher is gone since then [s since 1970]; None: it is not, or nobody can tell."""

    @property
    def covers(self) -> bool:
        """It may be counted on for jobs."""
        return self.open and self.from_balsam and self.in_vain is None and self.lost is None

    @property
    def open(self) -> bool:
        """It may still run jobs: a batch system that does not answer has not ended it."""
        return self.state not in LAUNCH_OVER

    @property
    def node_minutes(self) -> int:
        """What it asks for."""
        return self.nodes * self.wall_minutes

    def minutes_left(self, now: float) -> int:
        """What is left of its time [min]; all of it before its launcher has come up."""
        gone = 0.0 if self.start_time is None else max(0.0, now - self.start_time)
        return int(self.wall_minutes - gone / 60)

    def takes(self, work: Work) -> bool:
        """Whether its launcher may take these jobs, by what they are bound to, their workflow, and what they need of
        nodes that are known."""
        if not could_hold(self.kinds, work.shape):
            return False
        if work.launch != self.launch_id and (work.launch is not None or self.prescheduled_only):
            return False
        return not self.wf_filter or matches(work.workflow, self.wf_filter)


@dataclass(frozen=True)
class Launcher:
    """A launcher at work that belongs to no launch."""

    session_id: str
    label: str
    nodes: int
    job_mode: str = "auto"
    wf_filter: str = ""
    holds: int = 0
    """Jobs that it has."""
    kinds: tuple[NodeKind, ...] = ()
    """What its nodes have; none: nobody knows."""

    def takes(self, work: Work) -> bool:
        """Whether it may take these jobs."""
        if not could_hold(self.kinds, work.shape):
            return False
        if work.launch is not None or work.shape.nodes > self.nodes:
            return False
        if self.job_mode == "serial" and not work.shape.serial:
            return False
        return not self.wf_filter or matches(work.workflow, self.wf_filter)


@dataclass(frozen=True)
class Memory:
    """What is carried from one round to the next. Times are seconds since 1970 in UTC.

    Attributes:
        sequence: events up to here were seen; 0: none, this is the first round.
        fruitful: launches that came up, and during whose life a run began, or may have.
        failed: launch that failed -> when that was seen.
        idle_since: session of an idle launcher -> since when it has left work to others.
        small_since: since when there has been too little work for a launch.
        pending: a submission that was begun and may not have been finished: the values of a LaunchRequest.
        reports: launch -> what its launcher found.
        last_seen: launch that is open and whose launcher has been at work -> when it was last.
    """

    sequence: int = 0
    fruitful: tuple[int, ...] = ()
    failed: Mapping[int, float] = field(default_factory=dict)
    idle_since: Mapping[str, float] = field(default_factory=dict)
    small_since: float | None = None
    pending: Mapping[str, Any] | None = None
    reports: Mapping[int, Report] = field(default_factory=dict)
    last_seen: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Scene:
    """All that a plan depends on, beside the policy."""

    now: float
    spare_minutes: int
    """Of a launch's time so much is not for jobs: its start, and the margin before its end [min]."""
    work: tuple[Work, ...] = ()
    running: tuple[Work, ...] = ()
    """Jobs that run: they take room in the launches that run."""
    launches: tuple[Launch, ...] = ()
    """Those that are open, and those of the last days, or all where the policy limits the total of node-hours."""
    launchers: tuple[Launcher, ...] = ()
    has_run: bool | None = True
    """Whether a run has begun since the last round; None: this is the first, and nobody can tell."""
    memory: Memory = field(default_factory=Memory)
    cores_per_node: int = 0
    """By the settings; 0: they do not say."""
    gpus_per_node: int = 0
