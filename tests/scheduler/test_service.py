"""The scheduler as a process beside a real job store. What a launcher would do is done by hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from balsam.rpc import Connection
from balsam.site import Site, write_secret
from balsam.states import State
from balsam.v1 import scheduler_service_pb2
from balsam.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from tests.support.processes import Services, services
from tests.support.scheduling import Jobs
from tests.support.sites import make_test_site, wait_until

BEFORE_RUN = ["CREATED", "READY", "STAGED_IN", "PREPROCESSED"]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_test_site(tmp_path, lease_seconds=2.0, script_timeout_seconds=20.0)


@pytest.fixture
def jobs(site: Site) -> Iterator[Jobs]:
    jobs = Jobs(site)
    yield jobs
    jobs.close()


class Witness:
    """A script that says when it runs: it appends to a file, and waits there until it is let go."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "witness"
        self.gate = directory / "gate"
        self.script = directory / "witness.sh"
        self.script.write_text(
            f"""
            exec 9>>{directory}/lock
            flock -n 9 || echo overlap >> {self.file}
            echo begin $BALSAM_ATTEMPT $$ >> {self.file}
            while [ ! -e {self.gate} ]; do sleep 0.02; done
            echo end $BALSAM_ATTEMPT >> {self.file}
            """
        )

    @property
    def command(self) -> str:
        return f"sh {self.script}"

    def lines(self) -> list[str]:
        return self.file.read_text().splitlines() if self.file.exists() else []

    def begun(self) -> list[str]:
        return [line for line in self.lines() if line.startswith("begin")]

    def wait_until_begun(self, times: int = 1) -> int:
        """Waits until it has begun so many times; gives the pid of the last."""
        wait_until(lambda: len(self.begun()) >= times, what=f"{times} begun, of {self.lines()}")
        return int(self.begun()[-1].split()[2])

    def let_go(self) -> None:
        self.gate.touch()


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return Witness(tmp_path)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def status(site: Site) -> scheduler_service_pb2.GetSchedulerStatusResponse:
    connection = Connection(site, "scheduler")
    request = scheduler_service_pb2.GetSchedulerStatusRequest()
    answer: scheduler_service_pb2.GetSchedulerStatusResponse = connection.call(
        SchedulerServiceStub, "GetSchedulerStatus", request
    )
    connection.close()
    return answer


# The way of a job


def test_a_job_that_needs_nothing_needs_no_step(site: Site, services: Services, jobs: Jobs) -> None:
    job = jobs.add("plain")
    jobs.wait(job, State.PREPROCESSED)
    jobs.set_state(job, State.RUN_DONE)
    jobs.wait(job, State.JOB_FINISHED)
    assert jobs.history(job) == [*BEFORE_RUN, "RUN_DONE", "POSTPROCESSED", "JOB_FINISHED"]
    assert status(site).done == 0


def test_a_job_that_needs_everything(site: Site, services: Services, jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "given.dat").write_text("given")
    app = jobs.add_app("app", preprocess="cp given.dat prepared.dat", postprocess="cp prepared.dat result.dat")
    job = jobs.add(
        "full",
        application=app,
        stage_in_url=f"local:{tmp_path}/given.dat",
        stage_out_url=f"local:{tmp_path}/out",
        stage_out_files="result.*",
    )
    jobs.wait(job, State.PREPROCESSED)
    jobs.set_state(job, State.RUN_DONE)
    jobs.wait(job, State.JOB_FINISHED)
    assert jobs.history(job) == [*BEFORE_RUN, "RUN_DONE", "POSTPROCESSED", "JOB_FINISHED"]
    assert (tmp_path / "out" / "result.dat").read_text() == "given"
    assert status(site).done == 4


def test_a_child_gets_its_parents_files_when_they_have_finished(services: Services, jobs: Jobs) -> None:
    parents = [jobs.add("mother"), jobs.add("father")]
    child = jobs.add("child", parents=parents, input_files="*.dat")
    for parent in parents:
        directory = Path(jobs.wait(parent, State.PREPROCESSED).working_directory)
        directory.mkdir(parents=True)
        (directory / "result.dat").write_text(directory.name)
    jobs.wait(child, State.AWAITING_PARENTS)
    for parent in parents:
        jobs.set_state(parent, State.JOB_FINISHED)
    directory = Path(jobs.wait(child, State.PREPROCESSED).working_directory)
    assert {entry.name: entry.read_text() for entry in directory.iterdir()} == {
        "result.dat": f"mother_{parents[0][:8]}",
        f"result.dat_{parents[1][:8]}": f"father_{parents[1][:8]}",
    }


def test_a_child_fails_with_its_parent(services: Services, jobs: Jobs) -> None:
    parent = jobs.add("parent")
    child = jobs.add("child", parents=[parent])
    grandchild = jobs.add("grandchild", parents=[child])
    jobs.wait(child, State.AWAITING_PARENTS)
    jobs.set_state(parent, State.FAILED)
    assert "parent" in jobs.wait(child, State.FAILED).message
    assert "child" in jobs.wait(grandchild, State.FAILED).message


def test_one_bad_script_stops_no_other(services: Services, jobs: Jobs) -> None:
    bad = jobs.add_app("bad", preprocess="sh -c 'echo no good; exit 4'")
    missing = jobs.add_app("missing", preprocess="no-such-program")
    good = jobs.add_app("good", preprocess="true")
    ids = [jobs.add(f"job{i}", application=(bad, missing, good)[i % 3]) for i in range(9)]
    ended = [jobs.wait(job, State.PREPROCESSED, State.FAILED) for job in ids]
    assert [job.message for job in ended[0::3]] == ["preprocess failed: exit code 4\nno good"] * 3
    assert all("no-such-program" in job.message for job in ended[1::3])
    assert all(job.state == State.PREPROCESSED for job in ended[2::3])


HANDLER = """
import os, sys
from balsam.rpc import Connection
from balsam.site import find_site
from balsam.v1 import job_service_pb2
from balsam.v1.job_service_pb2_grpc import JobServiceStub

state = sys.argv[1]
if state != "nothing":
    ids = job_service_pb2.JobSelector.Ids(job_ids=[os.environ["BALSAM_JOB_ID"]])
    request = job_service_pb2.SetJobStateRequest(
        selector=job_service_pb2.JobSelector(ids=ids), state=state, message="handled"
    )
    print(Connection(find_site()).call(JobServiceStub, "SetJobState", request))
"""


@pytest.mark.parametrize(
    ("error", "chosen", "end"),
    [
        (State.RUN_ERROR, "RESTART_READY", State.RESTART_READY),
        (State.RUN_TIMEOUT, "JOB_FINISHED", State.JOB_FINISHED),
        (State.RUN_ERROR, "nothing", State.FAILED),
    ],
)
def test_a_handler_decides_what_becomes_of_its_job(
    services: Services, jobs: Jobs, tmp_path: Path, error: State, chosen: str, end: State
) -> None:
    script = tmp_path / "handler.py"
    script.write_text(HANDLER)
    app = jobs.add_app("app", postprocess=f"{script} {chosen}", python=sys.executable)
    job = jobs.add("job", application=app, post_error_handler=True, post_timeout_handler=True)
    jobs.wait(job, State.PREPROCESSED)
    jobs.set_state(job, error)
    wait_until(lambda: jobs.get(job).state != error and not jobs.get(job).leased, what="handled", site=jobs.site)
    assert jobs.get(job).state == end
    assert jobs.history(job) == [*BEFORE_RUN, error.name, end.name]


# Stopping


def test_a_kill_stops_the_script_of_a_job(services: Services, jobs: Jobs, witness: Witness) -> None:
    job = jobs.add("job", application=jobs.add_app("app", preprocess=witness.command))
    pid = witness.wait_until_begun()
    jobs.kill(job)
    wait_until(lambda: not alive(pid), timeout=10, what="script gone", site=jobs.site)
    wait_until(lambda: not jobs.get(job).leased, what="lease given back", site=jobs.site)
    assert jobs.get(job).state == State.USER_KILLED
    assert jobs.history(job)[-2:] == ["STAGED_IN", "USER_KILLED"]


def test_no_more_scripts_at_once_than_the_setting_says(tmp_path: Path) -> None:
    site = make_test_site(tmp_path, script_workers=3)
    count = tmp_path / "count"
    text = f"echo + >> {count}; sleep 0.1; echo - >> {count}"
    with services(site):
        jobs = Jobs(site)
        app = jobs.add_app("app", preprocess=f'sh -c "{text}"')
        ids = [jobs.add(f"job{i}", application=app) for i in range(12)]
        for job in ids:
            jobs.wait(job, State.PREPROCESSED)
        assert status(site).workers == 3
        jobs.close()
    running = most = 0
    for sign in count.read_text().split():
        running += 1 if sign == "+" else -1
        most = max(most, running)
    assert most == 3


def test_a_clean_stop_gives_scripts_back_to_be_run_again(
    site: Site, services: Services, jobs: Jobs, witness: Witness
) -> None:
    job = jobs.add("job", application=jobs.add_app("app", preprocess=witness.command))
    pid = witness.wait_until_begun()
    services.stop("scheduler")
    assert not alive(pid)
    assert not jobs.get(job).leased
    assert not list(site.run.glob("scheduler.*[!k]"))  # neither socket nor record, the lock only
    services.start("scheduler")
    witness.wait_until_begun(2)
    witness.let_go()
    jobs.wait(job, State.PREPROCESSED)
    assert [line.split()[:2] for line in witness.lines()] == [["begin", "1"], ["begin", "2"], ["end", "2"]]


def test_a_killed_scheduler_takes_its_scripts_with_it_and_the_next_one_goes_on(
    services: Services, jobs: Jobs, witness: Witness
) -> None:
    job = jobs.add("job", application=jobs.add_app("app", preprocess=witness.command))
    pid = witness.wait_until_begun()
    services.kill("scheduler")
    services.start("scheduler")
    assert not alive(pid)  # before the next one takes work
    witness.wait_until_begun(2)
    witness.let_go()
    jobs.wait(job, State.PREPROCESSED)
    assert "overlap" not in witness.lines()
    assert jobs.history(job) == BEFORE_RUN


# The job store goes and comes


def test_a_script_outlives_the_job_store_and_is_run_once(services: Services, jobs: Jobs, witness: Witness) -> None:
    job = jobs.add("job", application=jobs.add_app("app", preprocess=witness.command))
    pid = witness.wait_until_begun()
    services.kill("jobstore")
    witness.let_go()
    wait_until(lambda: not alive(pid), what="script ended")
    services.start("jobstore")
    jobs.wait(job, State.PREPROCESSED)
    assert [line.split()[0] for line in witness.lines()] == ["begin", "end"]
    # The rules are in force again.
    jobs.wait(jobs.add("next"), State.PREPROCESSED)


def test_a_scheduler_without_a_job_store_waits_for_it(site: Site) -> None:
    site.make_run()
    command = [sys.executable, "-m", "balsam_scheduler", "--site", str(site.path)]
    scheduler = subprocess.Popen(command, start_new_session=True)
    try:
        log = site.log / "scheduler.log"
        wait_until(lambda: log.exists() and "waiting for the job store" in log.read_text(), what="it says so")
        assert status(site).session_id == ""
        with services(site, "jobstore"):
            wait_until(lambda: status(site).rules, what="rules in force", site=site)
            jobs = Jobs(site)
            jobs.wait(jobs.add("job"), State.PREPROCESSED)
            jobs.close()
    finally:
        scheduler.terminate()
        assert scheduler.wait(20) == 0


def test_after_a_pause_longer_than_its_lease_the_scheduler_begins_anew(
    services: Services, jobs: Jobs, witness: Witness
) -> None:
    job = jobs.add("job", application=jobs.add_app("app", preprocess=witness.command))
    witness.wait_until_begun()
    os.kill(services.pid("scheduler"), signal.SIGSTOP)
    wait_until(lambda: not jobs.get(job).leased, what="session ended", site=jobs.site)
    os.kill(services.pid("scheduler"), signal.SIGCONT)
    witness.wait_until_begun(2)
    witness.let_go()
    jobs.wait(job, State.PREPROCESSED)
    assert [line.split()[0] for line in witness.lines()] == ["begin", "begin", "end"]
    assert jobs.history(job) == BEFORE_RUN


def test_a_second_scheduler_refuses_to_start(site: Site, services: Services) -> None:
    command = [sys.executable, "-m", "balsam_scheduler", "--site", str(site.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert f"runs already (pid {services.pid('scheduler')} on " in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_is_no_site_is_refused_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "balsam_scheduler", "--site", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        f"balsam scheduler: {tmp_path} is not a Balsam site; make one with `balsam init {tmp_path}`\n"
    )


def test_nothing_is_left_after_a_drain(site: Site, services: Services, jobs: Jobs) -> None:
    app = jobs.add_app("app", preprocess="sh -c 'sleep 300 & setsid sleep 300 & true'")
    ids = [jobs.add(f"job{i}", application=app, stage_in_url="/etc/hostname") for i in range(4)]
    for job in ids:
        jobs.wait(job, State.PREPROCESSED)
    wait_until(lambda: status(site).running == 0, what="idle", site=site)
    scheduler = psutil.Process(services.pid("scheduler"))
    assert [child.cmdline()[1:4] for child in scheduler.children(recursive=True)] == [
        ["-P", "-m", "balsam_scheduler.guard"]
    ]
    directories = sorted(Path(jobs.get(job).working_directory) for job in ids)
    assert sorted(site.data.rglob("*")) == sorted(
        {site.data / "test", *directories}
        | {directory / name for directory in directories for name in ("hostname", "preprocess.log")}
    )


def test_a_scheduler_whose_token_is_not_good_any_more_says_so_and_ends(site: Site, services: Services) -> None:
    write_secret(site.owner_token_file, f"owner.{'x' * 43}")
    services.kill("jobstore")
    services.start("jobstore")
    scheduler = services.given_up("scheduler")
    assert scheduler.wait(60) == 1
    (line,) = (site.log / "scheduler.console").read_text().splitlines()
    assert line.startswith("balsam scheduler: the job store does not accept the credential")
