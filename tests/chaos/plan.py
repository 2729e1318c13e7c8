"""What a campaign will do: its jobs, what users do to them, and the faults. The same seed gives the same plan."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

PACKING = 100
"""Runs that a launcher holds at once."""

SHORT_SECONDS = 0.02
ENDLESS = 10_000
"""A `max_restarts` that no campaign reaches."""

PLAIN, PRE, POST, BOTH, HANDLED = "plain", "pre", "post", "both", "handled"
APPLICATIONS = (PLAIN, PRE, POST, BOTH, HANDLED)

KILL, STOP = "SIGKILL", "SIGSTOP"

FAULTS = {
    (KILL, "jobstore"): 3,
    (KILL, "scheduler"): 3,
    (KILL, "launcher"): 4,
    (KILL, "agent"): 3,
    (KILL, "warden"): 2,
    (KILL, "run"): 4,
    (KILL, "script"): 2,
    (KILL, "users"): 1,
    (KILL, "subscriber"): 1,
    (STOP, "jobstore"): 2,
    (STOP, "scheduler"): 2,
    (STOP, "launcher"): 4,
    (STOP, "agent"): 3,
    (STOP, "warden"): 2,
}
POSTGRES_FAULTS = {(KILL, "backend"): 3, (KILL, "postmaster"): 2}
"""Faults, each with how often it comes among all; the second are those of a site on PostgreSQL only."""


@dataclass
class JobPlan:
    """One job.

    Attributes:
        job_id: its id.
        name: its name.
        parents: ids of jobs before it.
        application: which scripts it has.
        seconds: how long a run takes.
        code: exit code of its runs.
        failures: so many runs end with code 1 first.
        detached: a run leaves a process of another session behind.
        max_restarts: restarts allowed after a lost launcher.
        action: what a user does to it: ``kill``, ``restart``, ``anew`` (back to CREATED), or nothing.
        delay: when, after it was added [s].
    """

    job_id: str
    name: str
    parents: list[str] = field(default_factory=list)
    application: str = PLAIN
    seconds: float = SHORT_SECONDS
    code: int = 0
    failures: int = 0
    detached: bool = False
    max_restarts: int = ENDLESS
    action: str = ""
    delay: float = 0.0

    @property
    def succeeds(self) -> bool:
        """Left alone, it finishes."""
        return self.code == 0


@dataclass(frozen=True)
class FaultPlan:
    """One fault: a signal for a target; a stopped process goes on after `seconds`."""

    kind: str
    target: str
    seconds: float = 0.0


@dataclass
class Plan:
    """A campaign.

    Attributes:
        seed: where it came from.
        lease_seconds: the setting of the site.
        jobs: in the order in which they are added; parents come before their children.
        faults: in order.
    """

    seed: int
    lease_seconds: float
    jobs: list[JobPlan]
    faults: list[FaultPlan]

    def save(self, path: Path) -> None:
        """Writes it down."""
        path.write_text(json.dumps(asdict(self)))


def load_plan(path: Path) -> Plan:
    """Reads what `Plan.save` wrote."""
    values = json.loads(path.read_text())
    values["jobs"] = [JobPlan(**job) for job in values["jobs"]]
    values["faults"] = [FaultPlan(**fault) for fault in values["faults"]]
    return Plan(**values)


def make_plan(
    seed: int, jobs: int, faults: int, lease_seconds: float, *, postgres: bool, only: Collection[str] = ()
) -> Plan:
    """The campaign of a seed; `only` names the faults that are given, as in "SIGSTOP:launcher"; empty: all kinds.

    Raises:
        ValueError: `only` names a fault that there is not.
    """
    kinds = FAULTS | (POSTGRES_FAULTS if postgres else {})
    names = {f"{kind}:{target}": (kind, target) for kind, target in kinds}
    if unknown := set(only) - names.keys():
        raise ValueError(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    weights = {names[name]: kinds[names[name]] for name in only or names}
    # Two streams: another number of faults leaves the jobs as they are.
    return Plan(
        seed,
        lease_seconds,
        list(_jobs(random.Random(f"jobs {seed}"), jobs, lease_seconds)),
        list(_faults(random.Random(f"faults {seed}"), faults, lease_seconds, weights)),
    )


def _jobs(dice: random.Random, count: int, lease: float) -> Iterator[JobPlan]:
    made = 0
    while made < count:
        shape = dice.choices(_SHAPES, _SHAPE_WEIGHTS)[0][: count - made]
        family: list[JobPlan] = []
        for parents in shape:
            job = _job(dice, made, lease)
            job.parents = [family[number].job_id for number in parents]
            family.append(job)
            made += 1
        if len(family) == 1 and dice.random() < 0.02:
            # A reset is for jobs without relatives: else what may become of these would have no bound.
            family[0].action = dice.choice(["restart", "anew"])
        yield from family


# The numbers of each member's parents: alone, chains, a fan-out, a diamond, one with several parents.
_SHAPES: list[list[list[int]]] = [
    [[]],
    [[], [0]],
    [[], [0], [1], [2]],
    [[], [0], [0], [0]],
    [[], [0], [0], [1, 2]],
    [[], [], [], [0, 1, 2]],
]
_SHAPE_WEIGHTS = [60, 10, 5, 5, 5, 5]


def _job(dice: random.Random, number: int, lease: float) -> JobPlan:
    job = JobPlan(str(uuid.UUID(int=dice.getrandbits(128), version=4)), f"j{number:06}")
    if dice.random() < 0.4:
        job.seconds = round(dice.uniform(0.0, 3 * lease), 2)
    job.application = dice.choices(APPLICATIONS, [93.0, 2.0, 2.0, 2.0, 1.0])[0]
    if job.application == HANDLED:
        job.failures = dice.choice([1, 2])
    elif dice.random() < 0.03:
        job.code = dice.choice([1, 3, 7])
    job.detached = dice.random() < 0.03
    if dice.random() < 0.05:
        job.max_restarts = dice.choice([0, 1, 3])
    if dice.random() < 0.02:
        job.action = "kill"
    job.delay = round(dice.uniform(0.0, 3 * lease), 2)
    return job


def _faults(
    dice: random.Random, count: int, lease: float, weights: Mapping[tuple[str, str], int]
) -> Iterator[FaultPlan]:
    for kind, target in dice.choices(list(weights), list(weights.values()), k=count):
        yield FaultPlan(kind, target, round(dice.uniform(0.1, 3.0) * lease, 2) if kind == STOP else 0.0)
