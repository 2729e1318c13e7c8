"""What a launcher leaves undone when it ends by itself, and why: nobody should have to find out."""

from __future__ import annotations

from dataclasses import dataclass

from balsam.errors import BalsamError
from balsam.rpc import Connection
from balsam.site import Site
from balsam.states import RUNNABLE, State
from balsam.v1 import job_pb2, job_service_pb2, query_pb2
from balsam.v1.job_service_pb2_grpc import JobServiceStub
from balsam_launcher.options import LauncherOptions

_FIELDS = ("name", "num_nodes", "ranks_per_node", "wall_time_minutes")


@dataclass(frozen=True)
class Limits:
    """What a launcher can run: nodes, minutes that are left (None: no limit), serial jobs only."""

    nodes: int
    minutes: int | None
    serial_only: bool


def find(site: Site, options: LauncherOptions, limits: Limits) -> list[str]:
    """One line for each kind of unfinished job in the launcher's filter. Asks the job store; empty where it is away."""
    connection = Connection(site, retry_seconds=0)
    try:
        runnable = _ask(connection, options, [state.name for state in sorted(RUNNABLE)])
        waiting = _ask(connection, options, [State.AWAITING_PARENTS.name])
    except BalsamError:
        return []
    finally:
        connection.close()
    lines = []
    if runnable.count:
        lines.append(f"{_jobs(runnable.count)} left that this launcher cannot run: {why(runnable.first, limits)}")
    if waiting.count:
        lines.append(f"{_jobs(waiting.count)} left waiting for parents that have not finished")
    return lines


def why(job: job_pb2.Job, limits: Limits) -> str:
    """Why a launcher cannot run a job, with the values."""
    label = f"{job.name or 'job'} ({job.job_id[:8]})"
    nodes = job.num_nodes if job.HasField("num_nodes") else 1
    ranks = job.ranks_per_node if job.HasField("ranks_per_node") else 1
    minutes = job.wall_time_minutes if job.HasField("wall_time_minutes") else 1
    if limits.serial_only and (nodes > 1 or ranks > 1):
        return f"{label} is an MPI job, and this launcher runs serial jobs only (--job-mode serial)"
    if nodes > limits.nodes:
        return f"{label} needs {nodes} nodes, and this launcher has {limits.nodes}"
    if limits.minutes is not None and minutes > limits.minutes:
        return f"{label} may take {minutes} minutes, and {limits.minutes} are left"
    return f"{label} became runnable just now"


@dataclass(frozen=True)
class _Found:
    count: int
    first: job_pb2.Job


def _ask(connection: Connection, options: LauncherOptions, states: list[str]) -> _Found:
    tests = [_test("state", query_pb2.Test.IN, *states)]
    if options.workflow_filter:
        pattern = options.workflow_filter
        glob = "*" in pattern or "?" in pattern
        tests.append(_test("workflow", query_pb2.Test.GLOB if glob else query_pb2.Test.EXACT, pattern))
    wanted = query_pb2.Filter(all=query_pb2.Filter.Group(filters=tests))
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


def _test(field: str, op: query_pb2.Test.Op.ValueType, *values: str) -> query_pb2.Filter:
    texts = [query_pb2.Value(text=value) for value in values]
    return query_pb2.Filter(test=query_pb2.Test(field=field, op=op, values=texts))


def _jobs(count: int) -> str:
    return "1 job is" if count == 1 else f"{count} jobs are"
