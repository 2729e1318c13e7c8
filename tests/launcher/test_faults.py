"""A launcher that is told to stop, or killed, or whose agent or job store is: nothing is lost, nothing runs twice."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam import ledger
from balsam.processes import process_table
from balsam.rpc import Connection
from balsam.site import Site
from balsam.states import State
from balsam.v1 import session_service_pb2
from balsam.v1.session_service_pb2_grpc import SessionServiceStub
from tests.launcher.conftest import Witness
from tests.support.agents import alive, wait_for_text, wait_gone
from tests.support.processes import Services, launcher, launcher_command, running_launcher
from tests.support.processes import services as run_services
from tests.support.scheduling import Jobs
from tests.support.sites import make_test_site, states, wait_for_states, wait_until

SHORT, LONG = 2.0, 30.0
"""Lease times: one that ends within a test, and one that does not."""


@pytest.fixture(params=[SHORT])
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Site:
    """Its leases are short, where a test does not want them long."""
    return make_test_site(tmp_path, lease_seconds=request.param)


long_leases = pytest.mark.parametrize("site", [LONG], indirect=True)


@pytest.fixture
def running(site: Site, services: Services, jobs: Jobs, witness: Witness) -> Iterator[tuple[str, int, int]]:
    """A launcher with one run: the job's id, the launcher's pid, the run's pid."""
    job_id = jobs.add("run", args=witness.command)
    with running_launcher(site) as process:
        pid = witness.wait_until_begun()
        jobs.wait(job_id, State.RUNNING)
        yield job_id, process.pid, pid


def agent_of(launcher_pid: int) -> int:
    table = process_table()
    (warden,) = table.children(launcher_pid)
    (agent,) = table.children(warden)
    return agent


def warden_of(launcher_pid: int) -> int:
    (pid,) = process_table().children(launcher_pid)
    return pid


def launcher_log(site: Site) -> str:
    return "".join(path.read_text() for path in sorted(site.log.glob("launcher-*.log")))


@pytest.fixture
def plain_signals() -> Iterator[None]:
    """What is started gets signals as from a terminal, even if these tests run in the background of a script."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("plain_signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_told_to_stop_it_stops_its_runs_and_exits_with_0(
    site: Site, services: Services, jobs: Jobs, witness: Witness, number: signal.Signals
) -> None:
    job_id = jobs.add("run", args=witness.command)
    with running_launcher(site) as process:
        pid = witness.wait_until_begun()
        waiting = jobs.add("waiting", args="true")
        jobs.wait(waiting, State.PREPROCESSED)
        process.send_signal(number)
        assert process.wait(30) == 0
    assert not alive(pid)
    assert witness.lines()[-1] == "term"
    wait_for_states(site, {"run": "RESTART_READY", "waiting": "PREPROCESSED"})
    assert jobs.history(job_id)[-3:] == ["RUNNING", "RUN_TIMEOUT", "RESTART_READY"]
    assert jobs.get(waiting).attempt == 0
    assert not list(site.run.glob("launcher-*"))


def test_under_nohup_it_outlives_the_terminal(site: Site, services: Services, jobs: Jobs, witness: Witness) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        job_id = jobs.add("run", args=witness.command)
        with running_launcher(site) as process:
            witness.wait_until_begun()
            process.send_signal(signal.SIGHUP)
            witness.let_go()
            assert process.wait(30) == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert jobs.get(job_id).state == State.JOB_FINISHED


def test_a_second_signal_shortens_the_grace(tmp_path: Path) -> None:
    site = make_test_site(tmp_path, kill_grace_seconds=300.0)
    jobs = Jobs(site)
    stubborn = f"trap '' TERM; echo $$ > {tmp_path}/pid; while true; do sleep 0.05; done"
    with run_services(site), running_launcher(site, "--persistent") as process:
        job_id = jobs.add("run", args=f'bash -c "{stubborn}"')
        pid = int(wait_for_text(tmp_path / "pid", "\n"))
        process.terminate()
        wait_until(lambda: "stopping: SIGTERM" in launcher_log(site))
        assert alive(pid)
        process.terminate()
        assert process.wait(30) == 0
        assert not alive(pid)
        jobs.wait(job_id, State.RESTART_READY)
    jobs.close()


def test_a_run_that_ends_with_0_on_term_has_timed_out_all_the_same(
    site: Site, services: Services, jobs: Jobs, tmp_path: Path
) -> None:
    saving = f"trap 'exit 0' TERM; touch {tmp_path}/up; while true; do sleep 0.02; done"
    job_id = jobs.add("run", args=f'bash -c "{saving}"')
    with running_launcher(site) as process:
        wait_until((tmp_path / "up").exists)
        process.terminate()
        assert process.wait(30) == 0
    assert "RUN_TIMEOUT" in jobs.history(job_id)
    assert "RUN_DONE" not in jobs.history(job_id)


def test_when_the_launcher_is_killed_its_runs_end_and_another_one_takes_over(
    site: Site, jobs: Jobs, witness: Witness, running: tuple[str, int, int]
) -> None:
    job_id, launcher_pid, run_pid = running
    os.kill(launcher_pid, signal.SIGKILL)
    assert wait_gone(run_pid) < 10  # two seconds, on a machine that does nothing else
    jobs.wait(job_id, State.RESTART_READY)
    witness.let_go()
    launcher(site)
    job = jobs.get(job_id)
    assert (job.state, job.attempt, job.restarts) == (State.JOB_FINISHED, 2, 1)
    assert not witness.overlapped


def test_when_the_agent_is_killed_its_runs_end_and_the_launcher_goes_on(
    site: Site, jobs: Jobs, witness: Witness, running: tuple[str, int, int]
) -> None:
    job_id, launcher_pid, run_pid = running
    os.kill(agent_of(launcher_pid), signal.SIGKILL)
    wait_gone(run_pid)
    witness.wait_until_begun(2)
    witness.let_go()
    assert jobs.wait(job_id, State.JOB_FINISHED).attempt == 2
    assert not witness.overlapped
    assert "1 runs were lost: the node agent on " in launcher_log(site)


def test_when_no_agent_stays_up_it_gives_up_and_says_so(
    site: Site, services: Services, jobs: Jobs, witness: Witness
) -> None:
    # Each agent takes the run with it: the job must not be given up before the launcher is.
    job_id = jobs.add("run", args=witness.command, max_restarts=100)
    process = subprocess.Popen(launcher_command(site), stderr=subprocess.PIPE, text=True)
    while process.poll() is None:
        for pid in process_table().children(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    assert process.stderr is not None
    with process.stderr as stream:
        assert "the node agent does not stay up" in stream.read()
    assert process.returncode == 1
    wait_until(lambda: not jobs.get(job_id).leased, what="the job is given back")


@long_leases
def test_a_run_outlives_a_job_store_that_is_killed_and_started_again(
    site: Site, services: Services, jobs: Jobs, witness: Witness, running: tuple[str, int, int]
) -> None:
    job_id, _, _ = running
    services.kill("jobstore", "scheduler")
    services.start("jobstore", "scheduler")
    witness.let_go()
    job = jobs.wait(job_id, State.JOB_FINISHED)
    assert (job.attempt, job.restarts) == (1, 0)
    assert [line.split()[0] for line in witness.lines()] == ["begin", "end"]


@long_leases
def test_what_ends_while_the_job_store_is_away_is_reported_later(
    site: Site, services: Services, jobs: Jobs, witness: Witness, running: tuple[str, int, int]
) -> None:
    job_id, _, run_pid = running
    services.kill("jobstore")
    witness.let_go()
    wait_gone(run_pid)
    services.start("jobstore")
    job = jobs.wait(job_id, State.JOB_FINISHED)
    assert (job.attempt, job.restarts) == (1, 0)


def test_without_word_from_the_job_store_it_stops_its_runs_before_its_lease_ends(
    site: Site, services: Services, jobs: Jobs, witness: Witness, running: tuple[str, int, int]
) -> None:
    job_id, _, run_pid = running
    os.kill(services.pid("jobstore"), signal.SIGSTOP)  # silence, behind which our lease may have ended
    try:
        wait_gone(run_pid)
    finally:
        os.kill(services.pid("jobstore"), signal.SIGCONT)
    witness.wait_until_begun(2)
    witness.let_go()
    jobs.wait(job_id, State.JOB_FINISHED)
    assert not witness.overlapped
    assert "no word from the job store for a lease time" in launcher_log(site)


def test_runs_go_on_while_the_job_store_certainly_does_not_run(
    services: Services, jobs: Jobs, witness: Witness, running: tuple[str, int, int]
) -> None:
    job_id, _, run_pid = running
    services.kill("jobstore")
    time.sleep(2 * SHORT)  # twice the lease: a job store that starts ends no session for one more
    assert alive(run_pid)
    services.start("jobstore")
    witness.let_go()
    job = jobs.wait(job_id, State.JOB_FINISHED)
    assert (job.attempt, job.restarts) == (1, 0)
    assert not witness.overlapped


def test_a_launcher_that_slept_through_its_lease_drops_its_jobs_and_goes_on(
    site: Site, jobs: Jobs, witness: Witness, running: tuple[str, int, int]
) -> None:
    job_id, launcher_pid, _ = running
    os.kill(launcher_pid, signal.SIGSTOP)
    try:
        jobs.wait(job_id, State.RESTART_READY)
    finally:
        os.kill(launcher_pid, signal.SIGCONT)
    witness.wait_until_begun(2)
    assert not witness.overlapped
    witness.let_go()
    job = jobs.wait(job_id, State.JOB_FINISHED)
    assert (job.attempt, job.restarts) == (2, 1)


def test_the_runs_of_a_launcher_that_is_stopped_end_before_others_get_its_jobs(
    site: Site, services: Services, jobs: Jobs, witness: Witness, running: tuple[str, int, int]
) -> None:
    job_id, launcher_pid, run_pid = running
    os.kill(launcher_pid, signal.SIGSTOP)
    try:
        with running_launcher(site):
            witness.wait_until_begun(2)
            assert not alive(run_pid)
            witness.let_go()
            job = jobs.wait(job_id, State.JOB_FINISHED)
    finally:
        os.kill(launcher_pid, signal.SIGCONT)
    assert (job.attempt, job.restarts) == (2, 1)
    assert not witness.overlapped


def test_a_run_that_ended_while_its_launcher_slept_through_its_lease_is_not_run_again(
    jobs: Jobs, witness: Witness, running: tuple[str, int, int]
) -> None:
    job_id, launcher_pid, _ = running
    os.kill(launcher_pid, signal.SIGSTOP)
    try:
        witness.let_go()
        jobs.wait(job_id, State.RESTART_READY)
    finally:
        os.kill(launcher_pid, signal.SIGCONT)
    job = jobs.wait(job_id, State.JOB_FINISHED)
    assert (job.attempt, job.exit_code) == (1, 0)
    assert [line.split()[0] for line in witness.lines()] == ["begin", "end"]


def test_a_late_result_that_does_not_count_any_more_is_dropped(
    site: Site, jobs: Jobs, witness: Witness, running: tuple[str, int, int]
) -> None:
    job_id, launcher_pid, run_pid = running
    os.kill(launcher_pid, signal.SIGSTOP)
    try:
        witness.let_go()
        wait_gone(run_pid)
        with running_launcher(site):
            assert jobs.wait(job_id, State.JOB_FINISHED).attempt == 2
    finally:
        os.kill(launcher_pid, signal.SIGCONT)
    wait_gone(launcher_pid)  # nothing is left to do
    assert "1 late results; 1 do not count" in launcher_log(site)
    assert not list(ledger.directory(site).iterdir())
    assert "of a dead launcher" not in (site.log / "scheduler.log").read_text()
    assert jobs.get(job_id).attempt == 2


def test_a_result_survives_its_launcher_while_the_job_store_is_away(
    site: Site, services: Services, jobs: Jobs, witness: Witness, running: tuple[str, int, int]
) -> None:
    job_id, launcher_pid, _ = running
    services.kill("jobstore")
    witness.let_go()
    wait_until(lambda: any(file.stat().st_size for file in ledger.directory(site).glob("*")))
    os.kill(launcher_pid, signal.SIGKILL)
    services.start("jobstore")
    job = jobs.wait(job_id, State.JOB_FINISHED)
    assert (job.attempt, job.exit_code, job.restarts) == (1, 0, 0)
    assert [line.split()[0] for line in witness.lines()] == ["begin", "end"]
    wait_until(lambda: not list(ledger.directory(site).iterdir()), what="the ledger is removed")


def test_a_launcher_that_ends_leaves_no_ledger(site: Site, services: Services, jobs: Jobs) -> None:
    jobs.add("short", args="sleep 0.1")
    launcher(site)
    assert states(site) == {"short": "JOB_FINISHED"}
    assert not list(ledger.directory(site).iterdir())


def test_runs_end_before_others_get_the_jobs_though_launcher_and_agent_are_both_stopped(
    site: Site, jobs: Jobs, witness: Witness, running: tuple[str, int, int]
) -> None:
    job_id, launcher_pid, run_pid = running
    for pid in (launcher_pid, agent_of(launcher_pid)):
        os.kill(pid, signal.SIGSTOP)
    try:
        jobs.wait(job_id, State.RESTART_READY)
        assert not alive(run_pid)
    finally:
        os.kill(launcher_pid, signal.SIGCONT)
    witness.wait_until_begun(2)
    witness.let_go()
    assert jobs.wait(job_id, State.JOB_FINISHED).attempt == 2
    assert not witness.overlapped


def end_session_of(site: Site, launcher_pid: int) -> None:
    """Ends a launcher's session behind its back."""
    connection = Connection(site)
    sessions = connection.call(SessionServiceStub, "ListSessions", session_service_pb2.ListSessionsRequest()).sessions
    (session_id,) = [session.session_id for session in sessions if session.pid == launcher_pid]
    request = session_service_pb2.CloseSessionRequest(session_id=session_id)
    connection.call(SessionServiceStub, "CloseSession", request)
    connection.close()


@long_leases
def test_runs_end_when_their_session_is_ended_and_the_launcher_goes_on(
    site: Site, jobs: Jobs, witness: Witness, running: tuple[str, int, int]
) -> None:
    job_id, launcher_pid, run_pid = running
    agent_pid = agent_of(launcher_pid)
    end_session_of(site, launcher_pid)
    wait_gone(run_pid)
    witness.wait_until_begun(2)
    assert agent_of(launcher_pid) == agent_pid
    witness.let_go()
    assert jobs.wait(job_id, State.JOB_FINISHED).attempt == 2
    assert not witness.overlapped


@long_leases
def test_an_agent_that_hangs_when_its_session_is_ended_is_killed_with_its_runs(
    site: Site, jobs: Jobs, witness: Witness, running: tuple[str, int, int]
) -> None:
    job_id, launcher_pid, run_pid = running
    agent_pid = agent_of(launcher_pid)
    os.kill(agent_pid, signal.SIGSTOP)
    end_session_of(site, launcher_pid)
    wait_gone(agent_pid, run_pid)
    witness.wait_until_begun(2)
    witness.let_go()
    assert jobs.wait(job_id, State.JOB_FINISHED).attempt == 2
    assert "the node agent does not end its runs" in launcher_log(site)


def test_a_job_store_that_was_stopped_ends_no_session_for_that(
    services: Services, jobs: Jobs, witness: Witness, running: tuple[str, int, int]
) -> None:
    job_id, _, run_pid = running
    os.kill(services.pid("jobstore"), signal.SIGSTOP)
    try:
        wait_gone(run_pid)  # nobody can know whether the lease lives
        time.sleep(2 * SHORT)
    finally:
        os.kill(services.pid("jobstore"), signal.SIGCONT)
    witness.wait_until_begun(2)
    witness.let_go()
    jobs.wait(job_id, State.JOB_FINISHED)
    assert not witness.overlapped


def test_short_jobs_survive_the_death_of_everything_once(site: Site, services: Services, jobs: Jobs) -> None:
    names = [f"job{number}" for number in range(60)]
    for name in names:
        jobs.add(name, args="sleep 0.05", node_packing_count=4)
    with running_launcher(site) as process:
        wait_until(lambda: "JOB_FINISHED" in states(site).values())
        services.kill("jobstore")
        services.start("jobstore")
        os.kill(agent_of(process.pid), signal.SIGKILL)
        wait_until(lambda: list(states(site).values()).count("JOB_FINISHED") > 20, 60)
        services.kill("scheduler")
        services.start("scheduler")
        process.kill()
        process.wait()
    launcher(site)
    assert states(site) == dict.fromkeys(names, "JOB_FINISHED")
