"""What is known when it is asked why a job is not running. Plain values."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from balsam.states import State
from balsam_cli.takers import Need, NodeKind, Taker


@dataclass(frozen=True)
class Moment:
    """A state that the job has entered."""

    state: State
    time: datetime.datetime
    message: str = ""
    exit_code: int | None = None


@dataclass(frozen=True)
class Relative:
    """A parent."""

    job_id: str
    name: str
    state: State

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"{self.name or 'job'} ({self.job_id[:8]})"

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.label} is {self.state.name}"


@dataclass(frozen=True)
class Launcher:
    """A launcher at work.

    Attributes:
        label: how it is called.
        taker: what it can run.
        free_nodes: how much more it takes now, in nodes; None: nobody knows.
        free_jobs: how many jobs more.
        closing: it starts nothing more.
        closed_nodes: so many of its nodes get nothing now.
        largest: nodes of the largest job that it can run now.
        set_aside: nodes that it has set aside, and why, where it could be asked.
        runs_on: nodes on which it runs the job, where it could be asked.
        is_alive: its process is there, as far as can be told from here.
    """

    label: str
    taker: Taker
    free_nodes: float | None = None
    free_jobs: int = 1
    closing: bool = False
    closed_nodes: int = 0
    largest: int | None = None
    set_aside: Mapping[str, str] = field(default_factory=dict)
    runs_on: tuple[str, ...] = ()
    is_alive: bool = True


@dataclass(frozen=True)
class Launch:
    """A batch launch that is not over, or that the job is bound to.

    Attributes:
        taker: what its launcher will be able to run.
        batch: how its batch system names it: ``slurm job 4711``; empty: no batch system has it.
        state: as it is recorded.
        message: the batch system's reason.
        at_work: its launcher is at work.
        in_vain: that reason does not go away by itself.
    """

    launch_id: int
    taker: Taker
    batch: str
    state: str
    message: str = ""
    at_work: bool = False
    in_vain: bool = False


@dataclass(frozen=True)
class Scheduler:
    """What the scheduler does: how many steps of how many at once; None: it did not say."""

    running: int | None = None
    workers: int = 0

    @property
    def is_full(self) -> bool:
        """All of its workers are busy."""
        return self.running is not None and self.running >= self.workers


@dataclass(frozen=True)
class Policy:
    """The policy of the automatic submitter.

    Attributes:
        never: why no launch that it allows could run the job; empty: one could.
        at_work: `balsam service` is at work.
        verdict: what it says of jobs like this one now; empty: it is about to submit a launch.
        trouble: why the file cannot be used; empty: it can.
    """

    never: str = ""
    at_work: bool = False
    verdict: str = ""
    trouble: str = ""

    @property
    def allows(self) -> bool:
        """Some launch that it allows could run the job."""
        return not self.never and not self.trouble


@dataclass(frozen=True)
class Place:
    """What could be started.

    Attributes:
        here: what a launcher that is started on this host could run; None: it is not known.
        batch_system: where launches go; empty: no batch system is here, launches are processes of this host.
        node: what a node of the site has, by the settings; None: they say nothing of it.
        users: the users whose jobs a launcher takes that is started by who asks; none: nobody knows.
        spare_minutes: of a launch's time so much is not for jobs [min].
    """

    here: Taker | None = None
    batch_system: str = ""
    node: NodeKind | None = None
    users: frozenset[str] = frozenset()
    spare_minutes: int = 2


@dataclass(frozen=True)
class Scene:
    """All that the reason depends on. What a job in its state has no need of is left empty.

    Attributes:
        job: values of all of its fields.
        need: what it asks of a launcher.
        history: the states that it entered, oldest first.
        parents: those that have not finished.
        scheduler: None: it is not at work.
        holder: the launcher that has the job.
        in_step: the scheduler has the job.
        script_pid: process of its script on this host; 0: none was found.
        launchers: those at work.
        launches: those that are not over.
        bound_to: the launch that it is bound to.
        ahead: jobs that start before it.
        ahead_at_most: some of these may as well come after it.
        first_ahead: the first of them: its fields `job_id`, `name`, `priority` and `num_nodes`.
        steps_ahead: jobs whose staging or script comes before its own.
        me: who asks.
        scheduler_serves: the scheduler does stagings and scripts of the job's owner; else their launchers do.
        step_workers: how many launchers are at work that do those of the job's owner.
    """

    job: Mapping[str, Any]
    need: Need
    now: datetime.datetime
    history: tuple[Moment, ...] = ()
    parents: tuple[Relative, ...] = ()
    scheduler: Scheduler | None = None
    holder: Launcher | None = None
    in_step: bool = False
    script_pid: int = 0
    launchers: tuple[Launcher, ...] = ()
    launches: tuple[Launch, ...] = ()
    bound_to: Launch | None = None
    ahead: int = 0
    ahead_at_most: bool = False
    first_ahead: Mapping[str, Any] = field(default_factory=dict)
    steps_ahead: int = 0
    me: str = ""
    scheduler_serves: bool = True
    step_workers: int = 0
    policy: Policy | None = None
    place: Place = field(default_factory=Place)

    @property
    def state(self) -> State:
        """Where the job stands."""
        return State[self.job["state"]]

    @property
    def owner(self) -> str:
        """The user whose job it is."""
        return str(self.job["owner"])

    @property
    def is_others(self) -> bool:
        """A launcher that is started by who asks would not take it: it is somebody else's."""
        return bool(self.place.users) and self.owner not in self.place.users

    @property
    def short_id(self) -> str:
        """As commands name it."""
        return str(self.job["job_id"])[:8]

    @property
    def since(self) -> datetime.datetime | None:
        """When it came where it stands."""
        return self.history[-1].time if self.history else None
