"""What is fuzzed: a site with its services, which must be as before afterwards."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

from balsam.rpc import Connection
from balsam.site import Site
from balsam.states import State
from balsam.v1 import job_service_pb2, scheduler_service_pb2, session_service_pb2
from balsam.v1.launcher_service_pb2 import GetLauncherStatusRequest, GetLauncherStatusResponse
from balsam.v1.launcher_service_pb2_grpc import LauncherServiceStub
from balsam.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from tests.fuzz.campaign import METHODS, Findings, Plan, fuzz, living_session
from tests.support.invariants import violations_of_site
from tests.support.processes import Services, launcher, running_launcher, services
from tests.support.rpc_client import Client, Refusal
from tests.support.scheduling import Jobs
from tests.support.sites import wait_until


def fuzz_job_store(site: Site, plan: Plan) -> Findings:
    """Fuzzes the job store of a site whose scheduler runs, and looks whether all is well afterwards."""
    renewals: list[float] = []
    problems: list[str] = []
    findings = Findings(plan)
    with _tracebacks(site, problems), services(site) as running, _same_processes(running, problems):
        scheduler = _scheduler_session(site)
        with living_session(site, renewals, problems) as session:
            findings = fuzz(site, "jobstore", running.pid("jobstore"), plan, METHODS["jobstore"])
        _close_sessions_but(site, {scheduler, session}, problems)
        if _scheduler_session(site) != scheduler:
            problems.append("the scheduler has lost its session")
        _run_a_job(site, problems)
    problems += violations_of_site(site)[:20]
    findings.renewals += renewals
    findings.problems += problems
    return findings


def fuzz_launcher_and_scheduler(site: Site, plan: Plan) -> Iterator[tuple[str, Findings]]:
    """Fuzzes the servers of a launcher and of a scheduler; gives what came of each."""
    problems: list[str] = []
    with services(site) as running, _same_processes(running, problems):
        jobs = Jobs(site)
        jobs.add_app("sleep", executable="sleep 600")
        jobs.add("sleeper", application="sleep")
        with running_launcher(site, "--persistent") as process:
            name = f"launcher-{process.pid}"
            wait_until(lambda: _runs(site, name), what="a run", site=site)
            others = {method: kind for method, kind in METHODS["launcher"].items() if kind.name != "Drain"}
            yield "launcher", fuzz(site, name, process.pid, plan, others)
            wait_until(lambda: _runs(site, name), what="the run that was stopped, again", site=site)
            drain = {method: kind for method, kind in METHODS["launcher"].items() if kind.name == "Drain"}
            drained = Plan(plan.inputs // 10, plan.connections, plan.processes, plan.seed)
            yield "launcher, drained", fuzz(site, name, process.pid, drained, drain)
            if process.poll() is not None or not _runs(site, name):
                problems.append("the launcher has not survived it")
        jobs.close()
        findings = fuzz(site, "scheduler", running.pid("scheduler"), plan, METHODS["scheduler"])
    findings.problems += problems
    yield "scheduler", findings


@contextlib.contextmanager
def _tracebacks(site: Site, problems: list[str]) -> Iterator[None]:
    """Shows what the services logged, where the test of that only says that they did."""
    try:
        yield
    except AssertionError as error:
        problems.append(str(error).partition("\n")[0])
        for log in sorted(site.log.glob("*.log")):
            _, found, rest = log.read_text(errors="replace").partition("Traceback")
            if found:
                problems.append(f"{log.name}: {found}{rest[:4000]}")


@contextlib.contextmanager
def _same_processes(running: Services, problems: list[str]) -> Iterator[None]:
    before = {name: running.site.read_info(name) for name in ("jobstore", "scheduler")}
    yield
    for name, info in before.items():
        if running.site.read_info(name) != info:
            problems.append(f"the {name} is another process than before")


def _scheduler_session(site: Site) -> str:
    connection = Connection(site, "scheduler")

    def session() -> str:
        request = scheduler_service_pb2.GetSchedulerStatusRequest()
        return str(connection.call(SchedulerServiceStub, "GetSchedulerStatus", request).session_id)

    found = wait_until(session, what="a session of the scheduler", site=site)
    connection.close()
    return found


def _close_sessions_but(site: Site, kept: set[str], problems: list[str]) -> None:
    client = Client(site, patient=True)
    open_now = {
        session.session_id
        for session in client.call("SessionService/ListSessions", session_service_pb2.ListSessionsRequest()).sessions
    }
    if not kept <= open_now:
        problems.append("a session that was renewed has ended")
    for session_id in open_now - kept:
        with contextlib.suppress(Refusal):  # it has ended by itself
            client.call("SessionService/CloseSession", session_service_pb2.CloseSessionRequest(session_id=session_id))
    client.close()


def _run_a_job(site: Site, problems: list[str]) -> None:
    jobs = Jobs(site)
    name = f"real-{uuid.uuid4()}"
    job_id = jobs.add("real", application=jobs.add_app(name))
    launcher(site, "--wf-filter", "test")
    jobs.close()
    client = Client(site, patient=True)
    job = client.call("JobService/GetJob", job_service_pb2.GetJobRequest(job_id=job_id))
    if job.state != State.JOB_FINISHED:
        problems.append(f"a real job is {State(job.state).name} afterwards: {job.message}")
    client.close()


def _runs(site: Site, name: str) -> bool:
    connection = Connection(site, name)
    try:
        answer: GetLauncherStatusResponse = connection.call(
            LauncherServiceStub, "GetLauncherStatus", GetLauncherStatusRequest()
        )
        return bool(answer.runs)
    except Exception:
        return False
    finally:
        connection.close()
