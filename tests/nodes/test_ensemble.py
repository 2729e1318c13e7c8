"""Serial jobs over several nodes: an agent on each, started by the MPI run command, and what breaks."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from balsam.processes import process_table
from balsam.site import Site
from balsam.states import State
from tests.support.nodes import members
from tests.support.processes import launcher, running_launcher
from tests.support.scheduling import Jobs
from tests.support.sites import jobs as all_jobs
from tests.support.sites import states, wait_until

pytestmark = [pytest.mark.mpi, pytest.mark.timeout(120)]


def script(directory: Path, name: str, text: str) -> str:
    """Writes a script; gives the command that runs it."""
    path = directory / name
    path.write_text(text)
    return f"bash {path}"


def outputs(site: Site) -> Counter[str]:
    """What the runs have written, and how often."""
    files = site.path.glob("data/test/*/*.out")
    return Counter(line for file in files for line in file.read_text().splitlines())


def test_serial_jobs_are_packed_on_all_nodes_and_know_where_they_are(site: Site, jobs: Jobs, tmp_path: Path) -> None:
    command = script(tmp_path, "where.sh", "sleep 0.2; echo $BALSAM_NODES ${PMI_RANK:-none} $BALSAM_LAUNCHER_NODES")
    for number in range(24):
        jobs.add(f"job{number}", args=command, node_packing_count=4)
    launcher(site)
    assert set(states(site).values()) == {"JOB_FINISHED"}
    said = outputs(site)
    assert set(said) == {"nodeA none 2", "nodeB none 2"}, "runs do not take themselves for ranks"
    assert sum(said.values()) == 24


def test_serial_and_mpi_jobs_share_the_nodes(site: Site, jobs: Jobs, tmp_path: Path) -> None:
    serial = script(tmp_path, "serial.sh", "echo serial $BALSAM_NODES")
    ranks = script(tmp_path, "ranks.sh", "echo rank $PMI_RANK of $BALSAM_NODES")
    for number in range(6):
        jobs.add(f"serial{number}", args=serial)
    for number in range(2):
        jobs.add(f"mpi{number}", args=ranks, num_nodes=2, ranks_per_node=2)
    launcher(site)
    assert set(states(site).values()) == {"JOB_FINISHED"}
    said = outputs(site)
    assert {line for line in said if line.startswith("rank")} == {f"rank {rank} of nodeA,nodeB" for rank in range(4)}
    assert all(count == 2 for line, count in said.items() if line.startswith("rank"))


def test_jobs_of_a_node_whose_agent_is_killed_run_again(site: Site, jobs: Jobs, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    command = script(tmp_path, "wait.sh", f"echo $BALSAM_NODES; while [ ! -e {gate} ]; do sleep 0.05; done")
    ids = [jobs.add(f"job{number}", args=command) for number in range(2)]
    with running_launcher(site) as process:
        for job_id in ids:
            jobs.wait(job_id, State.RUNNING)
        os.kill(members(process.pid)[1], signal.SIGKILL)
        wait_until(
            lambda: any(job.restarts or job.attempt > 1 for job in all_jobs(site)), what="a job is lost", site=site
        )
        gate.touch()
        for job_id in ids:
            jobs.wait(job_id, State.JOB_FINISHED, timeout=60)


def test_where_the_run_command_of_the_agents_ends_no_restart_is_used_up(site: Site, jobs: Jobs, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    command = script(tmp_path, "wait.sh", f"while [ ! -e {gate} ]; do sleep 0.05; done")
    ids = [jobs.add(f"job{number}", args=command, max_restarts=0) for number in range(2)]
    with running_launcher(site) as process:
        for job_id in ids:
            jobs.wait(job_id, State.RUNNING)
        table = process_table()
        starters = [table.by_pid[table.by_pid[pid].parent].parent for pid in members(process.pid).values()]
        for pid in set(starters):
            os.kill(pid, signal.SIGKILL)
        for pid in members(process.pid).values():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: all(job.attempt == 2 for job in all_jobs(site)), what="both run again", site=site)
        gate.touch()
        for job_id in ids:
            assert jobs.wait(job_id, State.JOB_FINISHED, timeout=60).restarts == 0


def mpi_job_beside_agents(jobs: Jobs, directory: Path) -> tuple[str, Path, Path]:
    """An MPI job that runs on one node until a file is there, when both nodes have their agents: its id, that file,
    and one that takes its nodes."""
    for job_id in [jobs.add(f"serial{number}", args="sleep 0.5") for number in range(2)]:
        jobs.wait(job_id, State.JOB_FINISHED)
    gate, ran = directory / "gate", directory / "ran"
    command = script(directory, "wait.sh", f"echo $BALSAM_NODES >> {ran}; while [ ! -e {gate} ]; do sleep 0.05; done")
    job_id = jobs.add("mpi", args=command, ranks_per_node=2, max_restarts=0)
    wait_until(lambda: ran.exists() and len(ran.read_text().split()) == 2, what="both ranks run", site=jobs.site)
    return job_id, gate, ran


def test_an_mpi_run_that_ends_well_though_its_node_was_lost_runs_again(site: Site, jobs: Jobs, tmp_path: Path) -> None:
    """As under srun, which ends with 0 where the ranks that are left end well."""
    with running_launcher(site, "--persistent") as process:
        job_id, gate, ran = mpi_job_beside_agents(jobs, tmp_path)
        lost = ran.read_text().split()[0]
        os.kill(members(process.pid)["AB".index(lost[-1])], signal.SIGKILL)
        gate.touch()
        job = jobs.wait(job_id, State.JOB_FINISHED, timeout=60)
        assert (job.attempt, job.restarts) == (2, 0)
        assert lost not in ran.read_text().split()[2:]


def test_agents_that_are_replaced_cost_no_mpi_run(site: Site, jobs: Jobs, tmp_path: Path) -> None:
    with running_launcher(site, "--persistent") as process:
        job_id, gate, _ = mpi_job_beside_agents(jobs, tmp_path)
        before = set(members(process.pid).values())
        table = process_table()
        for pid in {table.by_pid[table.by_pid[pid].parent].parent for pid in before} | before:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(set(members(process.pid).values()) - before) == 2, timeout=60, what="both are replaced")
        gate.touch()
        assert jobs.wait(job_id, State.JOB_FINISHED, timeout=60).attempt == 1


def test_nothing_of_an_ensemble_outlives_its_launcher(site: Site, jobs: Jobs, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    command = script(tmp_path, "pid.sh", f"echo $$ >> {pids}; exec sleep 1000")
    ids = [jobs.add(f"job{number}", args=command) for number in range(2)]
    with running_launcher(site) as process:
        for job_id in ids:
            jobs.wait(job_id, State.RUNNING)
        started = [*map(int, pids.read_text().split()), *members(process.pid).values()]
        process.kill()
        wait_until(lambda: not any(process_table().alive(pid) for pid in started), what=f"{started} are gone")


def test_a_node_that_fails_every_job_is_set_aside_and_its_jobs_go_elsewhere(
    site: Site, jobs: Jobs, tmp_path: Path
) -> None:
    command = script(tmp_path, "scratch.sh", "[ $BALSAM_NODES = nodeB ] && { echo no scratch >&2; exit 3; }; sleep 0.1")
    for number in range(60):
        jobs.add(f"job{number}", args=command, node_packing_count=2, max_restarts=0)
    launcher(site)
    assert set(states(site).values()) == {"JOB_FINISHED"}
    assert all(job.restarts == 0 for job in all_jobs(site))
    (log,) = site.log.glob("launcher-*.log")
    assert "nodeB is set aside: " in log.read_text()


def test_jobs_that_are_wrong_fail_on_all_nodes_and_set_none_aside(site: Site, jobs: Jobs) -> None:
    for number in range(40):
        jobs.add(f"job{number}", args="false", node_packing_count=2)
    launcher(site)
    assert set(states(site).values()) == {"FAILED"}
    (log,) = site.log.glob("launcher-*.log")
    assert "set aside" not in log.read_text()


def test_agents_that_cannot_be_started_are_said_so(site: Site, jobs: Jobs, tmp_path: Path) -> None:
    """No node can be reached: one line says so, and nothing waits for ever."""
    text = (site.path / "settings.toml").read_text()
    (site.path / "settings.toml").write_text(text.replace("-launcher fork", "-launcher no-such-launcher"))
    job_id = jobs.add("job", args="true")
    # The reason is what the run command printed, and no line of the log that both write to.
    said = r"no node agent can be started on nodeA, nodeB: (?!.*balsam\.launcher)"
    with pytest.raises(pytest.fail.Exception, match=said):
        launcher(site)
    assert State(jobs.get(job_id).state) is State.PREPROCESSED
