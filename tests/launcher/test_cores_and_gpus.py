"""Runs have the cores and GPUs that were promised to them, and see them. The GPUs are made up: only ids matter."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from balsam.site import Site
from balsam.v1 import job_pb2
from balsam_launcher.topology import cores_of_this_host
from tests.support.agents import wait_for_text
from tests.support.processes import Services, launcher, launcher_command, running_launcher
from tests.support.scheduling import Jobs
from tests.support.shared import module_services as module_services
from tests.support.shared import services as services
from tests.support.shared import site as site
from tests.support.sites import make_test_site, states, wait_until

DEPTH = job_pb2.Job.DEPTH
CORES = len(cores_of_this_host())


def output(jobs: Jobs, job_id: str) -> str:
    job = jobs.get(job_id)
    return (Path(job.working_directory) / f"{job.name}.out").read_text()


def python(program: str) -> str:
    return shlex.join([sys.executable, "-c", program])


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """An allocation that assigns two GPUs."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")


def gated(directory: Path, show: str) -> str:
    """A job that notes its beginning and its end, waits between the two, and shows something."""
    script = (
        f"echo begin >> {directory}/log; while [ ! -e {directory}/go ]; do sleep 0.02; done; {show}; "
        f"echo end >> {directory}/log"
    )
    return shlex.join(["sh", "-c", script])


def test_two_jobs_share_a_gpu_and_the_next_one_waits(
    site: Site, services: Services, jobs: Jobs, tmp_path: Path, two_gpus: None
) -> None:
    command = gated(tmp_path, "printenv CUDA_VISIBLE_DEVICES")
    ids = [jobs.add(f"job{n}", args=command, gpus_per_rank=0.5, node_packing_count=16) for n in range(5)]
    with running_launcher(site) as process:
        wait_until(lambda: wait_for_text(tmp_path / "log", "begin").count("begin") == 4)
        (tmp_path / "go").touch()
        assert process.wait(60) == 0
    gpus = sorted(output(jobs, job_id).strip() for job_id in ids)
    assert gpus.count("3") + gpus.count("5") == 5
    assert {gpus.count("3"), gpus.count("5")} == {2, 3}
    assert (tmp_path / "log").read_text().split()[:5] == ["begin"] * 4 + ["end"]


def test_a_whole_gpu_is_for_one_job(site: Site, services: Services, jobs: Jobs, tmp_path: Path, two_gpus: None) -> None:
    command = gated(tmp_path, "printenv CUDA_VISIBLE_DEVICES")
    ids = [jobs.add(f"job{n}", args=command, gpus_per_rank=1, node_packing_count=16) for n in range(2)]
    ids.append(jobs.add("both", args="printenv CUDA_VISIBLE_DEVICES HIP_VISIBLE_DEVICES", gpus_per_rank=2))
    with running_launcher(site) as process:
        wait_until(lambda: wait_for_text(tmp_path / "log", "begin").count("begin") == 2)
        (tmp_path / "go").touch()
        assert process.wait(60) == 0
    seen = [output(jobs, job_id).split() for job_id in ids]
    assert sorted(seen[:2]) == [["3"], ["5"]]
    assert seen[2] == ["3,5", "3,5"]


def test_gpus_that_nobody_finds_may_be_said(site: Site, services: Services, jobs: Jobs) -> None:
    job_id = jobs.add("run", args="printenv CUDA_VISIBLE_DEVICES", gpus_per_rank=4)
    launcher(site, "--gpus-per-node", "4")
    assert output(jobs, job_id) == "0,1,2,3\n"


def test_what_needs_more_than_there_is_is_left_with_the_reason(site: Site, services: Services, jobs: Jobs) -> None:
    jobs.add("fits", args="true")
    jobs.add("gpu", args="true", gpus_per_rank=1)
    done = launcher(site, "--gpus-per-node", "0")
    assert states(site) == {"fits": "JOB_FINISHED", "gpu": "PREPROCESSED"}
    assert (
        "needs 1 GPU (gpus_per_rank = 1) on a node, and this launcher has no GPUs (see --gpus-per-node)" in done.stderr
    )
    launcher(site, "--gpus-per-node", "1")
    assert states(site) == {"fits": "JOB_FINISHED", "gpu": "JOB_FINISHED"}
    jobs.add("wide", args="true", cpu_affinity=DEPTH, threads_per_rank=4096)
    done = launcher(site)
    assert "needs 4096 cores to be bound to (cpu_affinity = depth) on a node" in done.stderr


def test_what_fits_on_too_few_nodes_is_left_with_the_reason(
    site: Site, services: Services, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[1-2]")
    monkeypatch.setenv("SLURM_JOB_CPUS_PER_NODE", "1,64")
    monkeypatch.setenv("SLURMD_NODENAME", "n1")
    jobs.add("pair", args="true", num_nodes=2, cpu_affinity=DEPTH, threads_per_rank=16)
    done = launcher(site)
    assert states(site) == {"pair": "PREPROCESSED"}
    assert "on each of 2 nodes, and this launcher has 1 such node" in done.stderr


def test_bound_jobs_run_on_cores_of_their_own_and_others_anywhere(
    site: Site, services: Services, jobs: Jobs, tmp_path: Path
) -> None:
    show = shlex.join([sys.executable, "-c", "import os; print(sorted(os.sched_getaffinity(0)))"])
    command = gated(tmp_path, show)
    bound = [jobs.add(f"bound{n}", args=command, cpu_affinity=DEPTH, node_packing_count=64) for n in range(CORES)]
    free = jobs.add("free", args=command, node_packing_count=64)
    with running_launcher(site) as process:
        wait_until(lambda: wait_for_text(tmp_path / "log", "begin").count("begin") == CORES + 1)
        (tmp_path / "go").touch()
        assert process.wait(60) == 0
    seen = sorted(json.loads(output(jobs, job_id)) for job_id in bound)
    assert seen == sorted([core[0]] for core in cores_of_this_host())
    assert json.loads(output(jobs, free)) == sorted(os.sched_getaffinity(0))


# MPI


AFFINITY = r"import os; os.write(1, f'{sorted(os.sched_getaffinity(0))}\n'.encode())"  # a line in one piece


@pytest.mark.mpi
def test_each_rank_has_its_own_gpu(site: Site, services: Services, jobs: Jobs, two_gpus: None) -> None:
    whole = jobs.add("whole", args="printenv CUDA_VISIBLE_DEVICES", ranks_per_node=2, gpus_per_rank=1)
    shared = jobs.add("shared", args="printenv CUDA_VISIBLE_DEVICES", ranks_per_node=4, gpus_per_rank=0.5)
    launcher(site)
    assert sorted(output(jobs, whole).split()) == ["3", "5"]
    assert sorted(output(jobs, shared).split()) == ["3", "3", "5", "5"]


@pytest.mark.mpi
@pytest.mark.skipif(CORES < 2, reason="this host has one core")
def test_ranks_are_bound_to_cores_of_their_own(site: Site, services: Services, jobs: Jobs) -> None:
    bound = jobs.add("bound", args=python(AFFINITY), ranks_per_node=2, cpu_affinity=DEPTH)
    free = jobs.add("free", args=python(AFFINITY), ranks_per_node=2)
    launcher(site)
    first, second = (set(json.loads(line)) for line in output(jobs, bound).splitlines())
    assert first.isdisjoint(second)
    assert [json.loads(line) for line in output(jobs, free).splitlines()] == [sorted(os.sched_getaffinity(0))] * 2


# What is shown


def shown(site: Site, *options: str) -> str:
    command = launcher_command(site, "--print-command", *options)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def test_nodes_time_and_commands_are_shown(tmp_path: Path, two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    site = make_test_site(tmp_path, mpi_command="openmpi", mpi_program="/bin/echo", mpi_options="--mca a b")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[1-3]")
    monkeypatch.setenv("SLURM_JOB_CPUS_PER_NODE", "1(x3)")
    monkeypatch.setenv("SLURMD_NODENAME", "n1")
    lines = shown(site, "--limit-nodes", "2", "--time-limit-minutes", "5").splitlines()
    assert lines[0].startswith("nodes:  2 nodes of 1 core")
    assert lines[0].endswith(", 2 GPUs (3,5): n1, n2")
    assert lines[1:4] == [
        "time:   5 minutes (--time-limit-minutes)",
        "mode:   auto",
        "serial: COMMAND",
    ]
    assert lines[4].startswith("MPI:    /bin/echo -n 4 --host n1:2,n2:2 --oversubscribe --map-by ppr:2:node ")
    hidden = "/usr/bin/env -u OMPI_MCA_orte_local_tmpdir_base"
    assert lines[4].endswith(f" --mca a b {hidden} COMMAND    (openmpi; here with num_nodes = 2, ranks_per_node = 2)")
    record = json.loads(shown(site, "--limit-nodes", "2", "--time-limit-minutes", "5", "--json"))
    assert (record["minutes"], record["serial"]) == (5, {"command": ["COMMAND"]})
    mpi = record["mpi"]
    assert (mpi["kind"], mpi["num_nodes"], mpi["ranks_per_node"]) == ("openmpi", 2, 2)
    assert (mpi["command"][0], mpi["command"][-1]) == ("/bin/echo", "COMMAND")


def test_settings_say_what_nodes_have(tmp_path: Path) -> None:
    names = tmp_path / "names"
    names.write_text("a\nb\n")
    site = make_test_site(tmp_path, cores_per_node=3, gpus_per_node=2, node_file=str(names), mpi_command="aprun")
    lines = shown(site, "--offset-nodes", "1", "--job-mode", "mpi").splitlines()
    assert lines[0].startswith("nodes:  1 node of 3 cores")
    assert lines[0].endswith(", 2 GPUs (0,1): b")
    assert lines[1] == "time:   no limit"
    assert lines[3].startswith("MPI:    none: no aprun found")
    record = json.loads(shown(site, "--offset-nodes", "1", "--job-mode", "mpi", "--json"))
    assert record["nodes"] == [{"name": "b", "cores": 3, "threads_per_core": 1, "gpus": ["0", "1"]}]
    assert (record["minutes"], record["serial"], record["mpi"]) == (None, None, None)
    assert record["why_no_mpi"].startswith("no aprun found")


def test_a_damaged_allocation_stops_a_launcher_in_one_line(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[1-")
    done = subprocess.run(launcher_command(site), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("balsam launcher: SLURM_JOB_NODELIST = 'n[1-': is no list of nodes")
    assert done.stderr.count("\n") == 1
