"""Jobs go through a real launcher, with real services beside it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from balsam.site import Site
from balsam.states import State
from balsam.v1 import job_pb2
from tests.launcher.conftest import Witness
from tests.support.agents import alive, wait_for_text, wait_gone
from tests.support.processes import Services, launcher, launcher_command, running_launcher
from tests.support.processes import services as run_services
from tests.support.scheduling import Jobs
from tests.support.shared import module_services as module_services
from tests.support.shared import services as services
from tests.support.shared import site as site
from tests.support.sites import make_test_site, states, wait_for_states, wait_until

FINISHED = [
    "CREATED", "READY", "STAGED_IN", "PREPROCESSED", "RUNNING", "RUN_DONE", "POSTPROCESSED", "JOB_FINISHED",
]  # fmt: skip


def output(job: job_pb2.Job) -> str:
    return (Path(job.working_directory) / f"{job.name}.out").read_text()


def python(program: str) -> str:
    """Args of a job that runs a Python program."""
    return shlex.join([sys.executable, "-c", program])


def test_a_serial_job_runs_and_finishes(site: Site, services: Services, jobs: Jobs) -> None:
    jobs.add_app("echo", executable="echo hello")
    job_id = jobs.add("greeting", application="echo", args="'big world'")
    launcher(site)
    job = jobs.get(job_id)
    assert jobs.history(job_id) == FINISHED
    assert (job.exit_code, job.attempt, output(job)) == (0, 1, "hello big world\n")


def test_the_output_of_a_job_without_a_name(site: Site, services: Services, jobs: Jobs) -> None:
    job_id = jobs.add("", args="echo x")
    launcher(site)
    assert (Path(jobs.get(job_id).working_directory) / "job.out").read_text() == "x\n"


def test_a_run_knows_all_it_is_promised(site: Site, services: Services, jobs: Jobs) -> None:
    parent = jobs.add("parent", args="true")
    show = (
        "import json, os, shutil; print(json.dumps({**os.environ, 'cwd': os.getcwd(), 'cli': shutil.which('balsam')}))"
    )
    child = jobs.add("child", args=python(show), parents=[parent], environ_vars={"A": "x=1:y"}, threads_per_rank=3)
    launcher(site)
    job = jobs.get(child)
    found = json.loads(output(job))
    expected = {
        "BALSAM_DB_PATH": str(site.path),
        "BALSAM_JOB_ID": child,
        "BALSAM_ATTEMPT": "1",
        "BALSAM_PARENT_IDS": json.dumps([parent]),
        "BALSAM_LAUNCHER_NODES": "1",
        "BALSAM_JOB_MODE": "auto",
        "BALSAM_NODES": os.uname().nodename,
        "OMP_NUM_THREADS": "3",
        "A": "x=1:y",
        "cwd": job.working_directory,
    }
    assert expected.items() <= found.items()
    assert found["BALSAM_JOB_TOKEN"]
    assert found["cli"]


def test_an_envscript_comes_before_the_application(site: Site, services: Services, jobs: Jobs, tmp_path: Path) -> None:
    good, bad = tmp_path / "good env.sh", tmp_path / "bad.sh"
    good.write_text("export COLOUR=blue\n")
    bad.write_text("return 5\n")
    jobs.add_app("show", executable="printenv COLOUR", envscript=str(good))
    jobs.add_app("never", executable="echo started", envscript=str(bad))
    shown, failed = jobs.add("shown", application="show"), jobs.add("failed", application="never")
    launcher(site)
    assert output(jobs.get(shown)) == "blue\n"
    assert jobs.get(failed).state == State.FAILED
    assert "failed with code 5" in jobs.get(failed).message


def test_errors_fail_with_their_reason_and_the_launcher_goes_on(site: Site, services: Services, jobs: Jobs) -> None:
    reasons = {
        "world!": (127, "no such command: world!"),
        "sh -c 'echo no basis set >&2; exit 3'": (3, "exit code 3\nno basis set"),
        "sh -c 'kill -9 $$'": (137, "killed by SIGKILL (9)"),
        "/etc/passwd": (126, "not executable"),
    }
    ids = {command: jobs.add(f"job{number}", args=command) for number, command in enumerate(reasons)}
    good = jobs.add("good", args="true")
    launcher(site)
    for command, (code, reason) in reasons.items():
        job = jobs.get(ids[command])
        assert (job.state, job.exit_code) == (State.FAILED, code)
        assert reason in job.message
    assert jobs.get(good).state == State.JOB_FINISHED


def test_a_job_without_a_command_fails_with_that_reason(site: Site, services: Services, jobs: Jobs) -> None:
    job_id = jobs.add("empty")
    launcher(site)
    assert "no command" in jobs.get(job_id).message
    assert jobs.history(job_id)[-3:] == ["RUNNING", "RUN_ERROR", "FAILED"]


def test_many_short_jobs_run_once_each(site: Site, services: Services, jobs: Jobs, tmp_path: Path) -> None:
    names = [f"job{number:03}" for number in range(150)]
    for name in names:
        jobs.add(name, args=f"sh -c 'echo {name} >> {tmp_path}/done'", node_packing_count=8)
    launcher(site)
    assert set(states(site).values()) == {"JOB_FINISHED"}
    assert sorted((tmp_path / "done").read_text().split()) == names


def test_jobs_share_a_node_as_they_ask_and_no_more(site: Site, services: Services, jobs: Jobs, tmp_path: Path) -> None:
    script = f"echo + >> {tmp_path}/log; sleep 0.15; echo - >> {tmp_path}/log"
    for number in range(6):
        jobs.add(f"job{number}", args=f"sh -c '{script}'", node_packing_count=3)
    launcher(site)
    level, levels = 0, []
    for sign in (tmp_path / "log").read_text().split():
        level += 1 if sign == "+" else -1
        levels.append(level)
    assert max(levels) == 3


def test_only_jobs_of_the_workflow_are_taken(site: Site, services: Services, jobs: Jobs) -> None:
    jobs.add("mine", args="true")  # of workflow `test`
    launcher(site, "--wf-filter", "other*")
    assert states(site) == {"mine": "PREPROCESSED"}
    launcher(site, "--wf-filter", "te*")
    assert states(site) == {"mine": "JOB_FINISHED"}


def test_in_serial_mode_mpi_jobs_are_left_alone(site: Site, services: Services, jobs: Jobs) -> None:
    jobs.add("serial", args="true")
    jobs.add("mpi", args="true", ranks_per_node=2)
    launcher(site, "--job-mode", "serial")
    assert states(site) == {"serial": "JOB_FINISHED", "mpi": "PREPROCESSED"}


def test_a_job_larger_than_the_launcher_is_left_alone(site: Site, services: Services, jobs: Jobs) -> None:
    jobs.add("large", args="true", num_nodes=2)
    launcher(site)
    assert states(site) == {"large": "PREPROCESSED"}


def test_with_nothing_to_do_it_exits_at_once_with_0(site: Site, services: Services) -> None:
    assert launcher(site).returncode == 0


def test_it_waits_for_what_its_jobs_bring_forth(site: Site, services: Services, jobs: Jobs) -> None:
    """Its only job adds another one, and that is run too."""
    add = shlex.join(["balsam", "job", "--yes", "--name", "second", "--workflow", "test", "--args", "true"])
    jobs.add("first", args=f"sh -c {shlex.quote(add)}")
    launcher(site)
    assert states(site) == {"first": "JOB_FINISHED", "second": "JOB_FINISHED"}


def test_a_persistent_launcher_takes_what_comes(site: Site, services: Services, jobs: Jobs) -> None:
    with running_launcher(site, "--persistent") as process:
        for name in ("one", "two"):
            jobs.wait(jobs.add(name, args="true"), State.JOB_FINISHED)
        assert process.poll() is None


def test_without_services_it_says_what_to_do(tmp_path: Path) -> None:
    site = make_test_site(tmp_path)
    done = subprocess.run(launcher_command(site), capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "balsam launcher: the job store is not running; start it with `balsam up`\n"


def test_a_wrong_option_is_one_line(site: Site) -> None:
    done = subprocess.run(
        launcher_command(site, "--offset-nodes", "7"), capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "offset_nodes = 7" in done.stderr


def test_on_a_terminal_it_shows_what_it_does(site: Site, services: Services, jobs: Jobs, witness: Witness) -> None:
    jobs.add("good", args=witness.command, node_packing_count=2)
    jobs.add("bad", args="false", node_packing_count=2)
    ours, theirs = pty.openpty()
    with open(theirs, "wb") as terminal:
        process = subprocess.Popen(launcher_command(site), stdin=terminal, stdout=terminal, stderr=terminal)
    shown = b""
    with contextlib.suppress(OSError), open(ours, "rb", buffering=0) as screen:  # an error is its end
        while data := screen.read(65536):
            shown += data
            if b"auto: 1 running, 0 waiting, 1 ended, 1 with errors" in shown:
                witness.let_go()
    assert process.wait(30) == 0
    assert b"2 runs ended, 1 with errors" in shown


# Kill


def test_a_killed_job_is_gone_at_once_with_its_whole_tree(
    site: Site, services: Services, jobs: Jobs, tmp_path: Path
) -> None:
    script = f"setsid sleep 300 & echo $! $$ > {tmp_path}/pids; wait"
    job_id = jobs.add("run", args=f"bash -c {shlex.quote(script)}")
    with running_launcher(site):
        pids = [int(pid) for pid in wait_for_text(tmp_path / "pids", "\n").split()]
        jobs.wait(job_id, State.RUNNING)
        jobs.kill(job_id)
        assert wait_gone(*pids) < 5  # about 0.1 s on a machine that does nothing else
        wait_until(lambda: not jobs.get(job_id).leased, what="the lease has ended")
    assert jobs.get(job_id).state == State.USER_KILLED
    assert jobs.history(job_id)[-2:] == ["RUNNING", "USER_KILLED"]


def test_a_job_that_is_killed_before_it_starts_never_runs(
    site: Site, services: Services, jobs: Jobs, witness: Witness, tmp_path: Path
) -> None:
    first = jobs.add("first", args=witness.command)
    with running_launcher(site):
        witness.wait_until_begun()
        second = jobs.add("second", args=f"touch {tmp_path}/ran")
        jobs.wait(second, State.PREPROCESSED)
        jobs.kill(second)
        witness.let_go()
        jobs.wait(first, State.JOB_FINISHED)
    assert not (tmp_path / "ran").exists()


def test_a_killed_run_that_ignores_term_is_killed_after_the_grace(tmp_path: Path) -> None:
    site = make_test_site(tmp_path, kill_grace_seconds=0.3)
    jobs = Jobs(site)
    stubborn = f"trap '' TERM; echo $$ > {tmp_path}/pid; while true; do sleep 0.05; done"
    with run_services(site), running_launcher(site, "--persistent"):
        job_id = jobs.add("run", args=f'bash -c "{stubborn}"')
        pid = int(wait_for_text(tmp_path / "pid", "\n"))
        jobs.kill(job_id)
        wait_gone(pid)
        wait_until(lambda: not jobs.get(job_id).leased, what="the lease has ended")
    jobs.close()


# MPI


@pytest.mark.mpi
def test_the_ranks_of_an_mpi_job_speak_with_each_other(site: Site, services: Services, jobs: Jobs) -> None:
    program = (
        "import os; from mpi4py import MPI; world = MPI.COMM_WORLD\n"
        "total = world.allreduce(world.rank + 1); tokens = world.gather(os.environ['BALSAM_JOB_TOKEN'])\n"
        "if world.rank == 0: print(world.size, total, len(set(tokens)), len(tokens[0]) > 20)"
    )
    job_id = jobs.add("ranks", args=python(program), ranks_per_node=2)
    launcher(site)
    job = jobs.get(job_id)
    assert jobs.history(job_id) == FINISHED
    assert output(job) == "2 3 1 True\n"


@pytest.mark.mpi
def test_the_credential_stands_in_no_argument_list(site: Site, services: Services, jobs: Jobs, tmp_path: Path) -> None:
    script = f"echo $BALSAM_JOB_TOKEN > {tmp_path}/token; ps -eo args > {tmp_path}/args"
    jobs.add("run", args=f"bash -c {shlex.quote(script)}", ranks_per_node=2)
    launcher(site)
    token = (tmp_path / "token").read_text().split()[0]
    assert len(token) > 20
    assert token not in (tmp_path / "args").read_text()


@pytest.mark.mpi
def test_ranks_have_default_signals_though_mpiexec_ignores_sigpipe(site: Site, services: Services, jobs: Jobs) -> None:
    job_id = jobs.add("run", args="grep SigIgn /proc/self/status", ranks_per_node=2)
    launcher(site)
    masks = [int(line.split()[1], 16) for line in output(jobs.get(job_id)).splitlines()]
    assert len(masks) == 2
    assert not any(mask >> (signal.SIGPIPE - 1) & 1 for mask in masks)


@pytest.mark.mpi
def test_a_rank_that_raises_ends_the_run(site: Site, services: Services, jobs: Jobs, tmp_path: Path) -> None:
    script = tmp_path / "sim.py"
    script.write_text(
        "from mpi4py import MPI\n"
        "if MPI.COMM_WORLD.rank == 1:\n    raise RuntimeError('no convergence')\n"
        "MPI.COMM_WORLD.barrier()\n"
    )
    jobs.add_app("sim", executable=str(script), python=sys.executable)
    job_id = jobs.add("run", application="sim", ranks_per_node=2)
    launcher(site)
    job = jobs.get(job_id)
    assert job.state == State.FAILED
    assert "RuntimeError: no convergence" in output(job)


@pytest.mark.mpi
def test_an_mpi_job_with_a_bad_command_fails_with_that_reason(site: Site, services: Services, jobs: Jobs) -> None:
    job_id = jobs.add("hello", args="world!", ranks_per_node=2)
    launcher(site)
    job = jobs.get(job_id)
    assert (job.state, job.message) == (State.FAILED, "no such command: world!")


@pytest.mark.mpi
def test_an_mpi_job_is_killed_with_all_its_ranks(site: Site, services: Services, jobs: Jobs, tmp_path: Path) -> None:
    script = f"echo $$ >> {tmp_path}/pids; exec sleep 300"
    job_id = jobs.add("run", args=f"bash -c {shlex.quote(script)}", ranks_per_node=2)
    with running_launcher(site):
        wait_until(lambda: (tmp_path / "pids").exists() and len((tmp_path / "pids").read_text().split()) == 2)
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        jobs.kill(job_id)
        wait_gone(*pids)
        wait_until(lambda: not jobs.get(job_id).leased, what="the lease has ended")


@pytest.mark.mpi
def test_in_mpi_mode_serial_jobs_are_started_by_mpiexec(site: Site, services: Services, jobs: Jobs) -> None:
    job_id = jobs.add("run", args="printenv PMI_SIZE", node_packing_count=4)
    launcher(site, "--job-mode", "mpi")
    assert output(jobs.get(job_id)) == "1\n"


@pytest.mark.mpi
def test_serial_and_mpi_jobs_run_side_by_side_in_one_campaign(site: Site, services: Services, jobs: Jobs) -> None:
    for number in range(10):
        jobs.add(f"serial{number}", args="true", node_packing_count=4)
    for number in range(3):
        jobs.add(f"mpi{number}", args="true", ranks_per_node=2)
    launcher(site)
    assert set(states(site).values()) == {"JOB_FINISHED"}


def test_without_mpi_an_mpi_job_fails_with_the_reason_and_serial_ones_run(tmp_path: Path) -> None:
    if shutil.which("aprun"):
        pytest.skip("this machine has aprun")
    site = make_test_site(tmp_path, mpi_command="aprun")
    jobs = Jobs(site)
    with run_services(site):
        jobs.add("serial", args="true")
        mpi = jobs.add("mpi", args="true", ranks_per_node=2)
        launcher(site)
        assert states(site) == {"serial": "JOB_FINISHED", "mpi": "FAILED"}
        assert "no aprun found" in jobs.get(mpi).message
    jobs.close()


@pytest.mark.mpi
def test_what_would_be_run_can_be_shown(site: Site) -> None:
    done = subprocess.run(
        launcher_command(site, "--print-command"), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0
    assert "mpiexec -n 2" in done.stdout
    assert os.uname().nodename in done.stdout


# Time


def test_at_its_time_limit_it_stops_what_runs_and_gives_back_the_rest(
    site: Site, services: Services, jobs: Jobs, witness: Witness
) -> None:
    run = jobs.add("run", args=witness.command, wall_time_minutes=0)
    with running_launcher(site, "--time-limit-minutes", "0.05") as process:
        witness.wait_until_begun()
        later = jobs.add("later", args="true", wall_time_minutes=0)
        too_long = jobs.add("too-long", args="true", wall_time_minutes=5)
        assert process.wait(30) == 0
    assert witness.lines()[-1] == "term"
    wait_for_states(site, {"run": "RESTART_READY", "later": "PREPROCESSED", "too-long": "PREPROCESSED"})
    assert jobs.history(run)[-3:] == ["RUNNING", "RUN_TIMEOUT", "RESTART_READY"]
    assert [jobs.get(job_id).attempt for job_id in (run, later, too_long)] == [1, 0, 0]
    witness.let_go()
    launcher(site)
    assert set(states(site).values()) == {"JOB_FINISHED"}
    assert jobs.get(run).attempt == 2


def test_jobs_that_do_not_fit_in_the_time_left_are_not_started(site: Site, services: Services, jobs: Jobs) -> None:
    jobs.add("short", args="true", wall_time_minutes=1)
    jobs.add("long", args="true", wall_time_minutes=10)
    launcher(site, "--time-limit-minutes", "5")
    assert states(site) == {"short": "JOB_FINISHED", "long": "PREPROCESSED"}


def test_so_little_time_that_no_job_is_started_is_said_with_what_would_do(
    site: Site, services: Services, jobs: Jobs
) -> None:
    jobs.add("job", args="true")
    done = launcher(site, "--time-limit-minutes", "1")
    assert states(site) == {"job": "PREPROCESSED"}
    assert "balsam launcher: --time-limit-minutes 1: no job is started but those with" in done.stderr
    assert "; give 2 or more\n" in done.stderr


def test_wall_time_is_an_estimate_and_stops_nothing(
    site: Site, services: Services, jobs: Jobs, witness: Witness
) -> None:
    job_id = jobs.add("run", args=witness.command, wall_time_minutes=0)
    with running_launcher(site):
        pid = witness.wait_until_begun()
        time.sleep(0.3)
        assert alive(pid)
        witness.let_go()
        jobs.wait(job_id, State.JOB_FINISHED)


def test_what_was_queued_behind_short_runs_does_not_start_too_late_behind_a_long_one(
    site: Site, services: Services, jobs: Jobs, witness: Witness
) -> None:
    for number in range(40):
        jobs.add(f"short-{number}", args="true", priority=3, wall_time_minutes=0)
    long = jobs.add("long", args=witness.command, priority=2, wall_time_minutes=0)
    later = jobs.add("later", args="true", priority=1, wall_time_minutes=1)
    began = time.monotonic()
    with running_launcher(site, "--time-limit-minutes", "1.05"):
        witness.wait_until_begun()
        wait_until(lambda: time.monotonic() - began > 5.0)  # less than a minute is left now
        witness.let_go()
        jobs.wait(long, State.JOB_FINISHED)
    job = jobs.get(later)
    assert (job.state, job.attempt) == (State.PREPROCESSED, 0)
