"""What a launcher leaves undone when it ends by itself, and why: nobody should have to find out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from balsam.errors import BalsamError, NotFound
from balsam.filters import filter_message
from balsam.query import AllOf, AnyOf, Node, NotOf, Test
from balsam.rpc import Connection
from balsam.site import Site
from balsam.states import RUNNABLE, State
from balsam.v1 import job_pb2, job_service_pb2, launch_service_pb2
from balsam.v1.job_service_pb2_grpc import JobServiceStub
from balsam.v1.launch_service_pb2_grpc import LaunchServiceStub
from balsam_launcher.leased import need_of_job
from balsam_launcher.options import LauncherOptions

_FIELDS = (
    *("name", "num_nodes", "ranks_per_node", "wall_time_minutes", "queued_launch"),
    *("cpu_affinity", "threads_per_rank", "threads_per_core", "gpus_per_rank"),
)


@dataclass(frozen=True)
class Limits:
    """What a launcher can run: nodes, minutes that are left (None: no limit), serial jobs only, the cores and GPUs of
    each node; and why it was told to stop (empty: it was not)."""

    nodes: int
    minutes: int | None
    serial_only: bool
    sizes: Sequence[tuple[int, int]] = ()
    stopped_by: str = ""


def find(site: Site, options: LauncherOptions, limits: Limits) -> list[str]:
    """One line for each kind of unfinished job in the launcher's filter. Asks the job store; empty where it is away."""
    connection = Connection(site, retry_seconds=0)
    try:
        mine = jobs_of(options.launch, prescheduled_only=_takes_bound_only(connection, options.launch))
        runnable = _ask(connection, options, RUNNABLE, mine)
        others = _ask(connection, options, RUNNABLE, NotOf(mine))
        waiting = _ask(connection, options, [State.AWAITING_PARENTS], mine)
    except BalsamError:
        return []
    finally:
        connection.close()
    lines = []
    if runnable.count:
        lines.append(f"{_jobs(runnable.count)} left {undone(runnable.first, limits)}")
    if others.count:
        lines.append(f"{_jobs(others.count)} left to other launchers: {whose(others.first, options.launch)}")
    if waiting.count:
        lines.append(f"{_jobs(waiting.count)} left waiting for parents that have not finished")
    return lines


def jobs_of(launch: int | None, *, prescheduled_only: bool) -> Node:
    """The condition that a job is for launchers of a launch (None: of none), by what it is bound to."""
    bound = Test("queued_launch", (), "EXACT", (launch,))
    if launch is not None and prescheduled_only:
        return bound
    unbound = Test("queued_launch", (), "ISNULL", (True,))
    return unbound if launch is None else AnyOf((unbound, bound))


def _takes_bound_only(connection: Connection, launch: int | None) -> bool:
    if launch is None:
        return False
    request = launch_service_pb2.GetLaunchRequest(launch_id=launch)
    try:
        return bool(connection.call(LaunchServiceStub, "GetLaunch", request).prescheduled_only)
    except NotFound:
        return False  # deleted meanwhile: nothing is bound to it


def whose(job: job_pb2.Job, launch: int | None) -> str:
    """Why a job is not for launchers of a launch (None: of none)."""
    if job.HasField("queued_launch"):
        return f"{_label(job)} is bound to launch {job.queued_launch}"
    return f"{_label(job)} is not bound to launch {launch}, which takes bound jobs only (prescheduled_only)"


def undone(job: job_pb2.Job, limits: Limits) -> str:
    """Why a launcher leaves jobs that it might take, of which this is the largest; to follow their number."""
    if reason := why(job, limits):
        return f"that this launcher cannot run: {reason}"
    if limits.stopped_by:
        return f"since this launcher was stopped: {limits.stopped_by}"
    return f"that came at the last moment: {_label(job)} became runnable just now"


def why(job: job_pb2.Job, limits: Limits) -> str:
    """Why a launcher cannot run a job, with the values; empty: it could."""
    label = _label(job)
    nodes = job.num_nodes if job.HasField("num_nodes") else 1
    ranks = job.ranks_per_node if job.HasField("ranks_per_node") else 1
    minutes = job.wall_time_minutes if job.HasField("wall_time_minutes") else 1
    if limits.serial_only and (nodes > 1 or ranks > 1):
        return f"{label} is an MPI job, and this launcher runs serial jobs only (--job-mode serial)"
    if nodes > limits.nodes:
        return f"{label} needs {nodes} nodes, and this launcher has {limits.nodes}"
    if missing := lacking(job, limits.sizes):
        return f"{label} {missing}"
    if limits.minutes is not None and minutes > limits.minutes:
        return f"{label} may take {minutes} minutes, and {limits.minutes} are left"
    return ""


def lacking(job: job_pb2.Job, sizes: Sequence[tuple[int, int]]) -> str:
    """What a job needs more of than there is on enough nodes, of these cores and GPUs; empty: nothing."""
    need = need_of_job(job, "auto")
    assert need is not None
    cores, gpus = need.cores, math.ceil(need.gpus)
    able = sum(cores <= there and gpus <= others for there, others in sizes)
    if not need.own or need.nodes <= able:
        return ""
    wanted = [_counted(gpus, "GPU") + f" (gpus_per_rank = {job.gpus_per_rank:g})"] if gpus else []
    wanted += [_counted(cores, "core") + " to be bound to (cpu_affinity = depth)"] if cores else []
    what = f"needs {' and '.join(wanted)} on {'a node' if need.nodes == 1 else f'each of {need.nodes} nodes'}"
    if able:
        return f"{what}, and this launcher has {_counted(able, 'such node')}"
    most_cores, most_gpus = (max((size[part] for size in sizes), default=0) for part in (0, 1))
    if gpus and not most_gpus:
        return f"{what}, and this launcher has no GPUs (see --gpus-per-node)"
    most = _counted(most_gpus, "GPU") if gpus > most_gpus else _counted(most_cores, "core")
    return f"{what}, and no node of this launcher has more than {most}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("s" if count != 1 else "")


@dataclass(frozen=True)
class _Found:
    count: int
    first: job_pb2.Job


def _ask(connection: Connection, options: LauncherOptions, states: Iterable[State], mine: Node) -> _Found:
    tests: list[Node] = [Test("state", (), "IN", tuple(state.name for state in states)), mine]
    if options.workflow_filter:
        pattern = options.workflow_filter
        tests.append(Test("workflow", (), "GLOB" if "*" in pattern or "?" in pattern else "EXACT", (pattern,)))
    wanted = filter_message(AllOf(tuple(tests)))
    count = connection.call(JobServiceStub, "CountJobs", job_service_pb2.CountJobsRequest(filter=wanted)).count
    if not count:
        return _Found(0, job_pb2.Job())
    # The largest says why: the order in which launchers take jobs.
    request = job_service_pb2.ListJobsRequest(filter=wanted, page_size=1)
    for field in ("num_nodes", "wall_time_minutes"):
        request.order_by.add(field=field, descending=True)
    request.read_mask.paths.extend(_FIELDS)
    page = connection.call(JobServiceStub, "ListJobs", request).jobs
    return _Found(count, page[0]) if page else _Found(0, job_pb2.Job())


def _label(job: job_pb2.Job) -> str:
    return f"{job.name or 'job'} ({job.job_id[:8]})"


def _jobs(count: int) -> str:
    return "1 job is" if count == 1 else f"{count} jobs are"
