"""What batch systems say of the hosts that they have given, in the environments that they make."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from balsam.errors import ValidationError
from balsam_launcher import allocation
from balsam_launcher.allocation import Host, find

# As Slurm 22.05 sets them in a batch script.
SLURM = {
    "SLURM_JOB_ID": "17",
    "SLURM_JOB_NODELIST": "node[1-3],big1",
    "SLURM_JOB_CPUS_PER_NODE": "4(x3),16",
    "SLURM_NNODES": "4",
}


def hosts(environ: dict[str, str], **more: Any) -> tuple[Host, ...]:
    found = find(environ, **more)
    assert found is not None
    return found.hosts


def file(directory: Path, text: str) -> str:
    (directory / "nodes").write_text(text)
    return str(directory / "nodes")


def test_slurm_tells_of_nodes_and_processors() -> None:
    found = find(SLURM)
    assert found == allocation.Allocation(
        "slurm", (Host("node1", 4), Host("node2", 4), Host("node3", 4), Host("big1", 16))
    )


@pytest.mark.parametrize(
    "variables", [{"SLURM_GPUS_ON_NODE": "2"}, {"SLURM_GPUS_PER_NODE": "a100:2"}, {"SLURM_JOB_GPUS": "0,3"}]
)
def test_slurm_tells_of_gpus(variables: dict[str, str]) -> None:
    assert {host.gpus for host in hosts(SLURM | variables)} == {2}


def test_slurms_numbers_must_be_of_its_nodes() -> None:
    with pytest.raises(ValidationError, match=r"SLURM_JOB_CPUS_PER_NODE = '4\(x2\)': is of 2 nodes, and .* names 4"):
        find(SLURM | {"SLURM_JOB_CPUS_PER_NODE": "4(x2)"})


def test_an_empty_variable_is_not_taken_for_this_host() -> None:
    with pytest.raises(ValidationError, match="SLURM_JOB_NODELIST is empty"):
        find(SLURM | {"SLURM_JOB_NODELIST": ""})


def test_pbs_names_a_node_once_for_each_rank(tmp_path: Path) -> None:
    path = file(tmp_path, "n1.cluster\nn1.cluster\nn2.cluster\nn2.cluster\n")
    assert hosts({"PBS_NODEFILE": path}) == (Host("n1.cluster"), Host("n2.cluster"))
    assert hosts({"PBS_NODEFILE": path, "NCPUS": "32"})[0] == Host("n1.cluster", 32)
    assert hosts({"PBS_NODEFILE": path, "PBS_NUM_PPN": "8", "NCPUS": "32"})[1] == Host("n2.cluster", 8)


def test_cobalt_names_node_ids_or_nodes(tmp_path: Path) -> None:
    assert hosts({"COBALT_PARTNAME": "4-6,9"}) == tuple(Host(name) for name in ("4", "5", "6", "9"))
    assert hosts({"COBALT_PARTNAME": "nid[00004-00005]"}) == (Host("nid00004"), Host("nid00005"))
    environ = {"COBALT_PARTNAME": "4-6", "COBALT_NODEFILE": file(tmp_path, "cc001\ncc002\n")}
    assert hosts(environ) == (Host("cc001"), Host("cc002"))


def test_lsf_tells_of_hosts_and_slots(tmp_path: Path) -> None:
    expected = (Host("h1", cores=4), Host("h2", cores=2))
    assert hosts({"LSB_MCPU_HOSTS": "h1 4 h2 2 "}) == expected
    assert hosts({"LSB_HOSTS": "h1 h1 h1 h1 h2 h2"}) == expected
    path = file(tmp_path, "h1\nh1\nh1\nh1\nh2\nh2\n")
    assert hosts({"LSB_DJOB_HOSTFILE": path, "LSB_HOSTS": "other"}) == expected


def test_where_jsrun_is_the_launch_node_of_lsf_is_no_compute_node(tmp_path: Path) -> None:
    environ = {"LSB_MCPU_HOSTS": "batch2 1 h1 42 h2 42"}
    assert [host.name for host in hosts(environ)] == ["batch2", "h1", "h2"]
    (tmp_path / "jsrun").touch(mode=0o755)
    assert [host.name for host in hosts(environ | {"PATH": str(tmp_path)})] == ["h1", "h2"]
    assert [host.name for host in hosts({"LSB_MCPU_HOSTS": "h1 1", "PATH": str(tmp_path)})] == ["h1"]


@pytest.mark.parametrize("text", ["h1", "h1 x", "h1 0", "h1 4 h2"])
def test_damaged_lists_of_lsf_are_named(text: str) -> None:
    with pytest.raises(ValidationError, match=f"LSB_MCPU_HOSTS = '{text}'"):
        find({"LSB_MCPU_HOSTS": text})


def command(directory: Path, name: str, script: str) -> dict[str, str]:
    (directory / name).write_text(f"#!/bin/sh\n{script}\n")
    (directory / name).chmod(0o755)
    return {"PATH": f"{directory}:{os.defpath}", "FLUX_URI": "local:///tmp/flux-1/local-0"}


def test_flux_is_asked(tmp_path: Path) -> None:
    environ = command(tmp_path, "flux", '[ "$*" = "hostlist local" ] && echo "f[1-2]"')
    assert hosts(environ) == (Host("f1"), Host("f2"))


def test_an_older_flux_is_asked_in_another_way(tmp_path: Path) -> None:
    environ = command(tmp_path, "flux", 'if [ "$*" = "getattr hostlist" ]; then echo f7; else exit 1; fi')
    assert hosts(environ) == (Host("f7"),)


def test_a_flux_that_says_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"FLUX_URI = 'local:.*flux hostlist local.*node_file"):
        find(command(tmp_path, "flux", "exit 1"))


def test_a_batch_command_that_hangs_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "ASK_SECONDS", 0.2)
    environ = command(tmp_path, "flux", "exec sleep 60")
    assert allocation.ask(["flux", "hostlist"], environ) == ""


def test_a_file_of_nodes_counts_where_no_batch_system_says_anything(tmp_path: Path) -> None:
    path = file(tmp_path, "a\nb\n")
    assert hosts({}, file=path) == (Host("a"), Host("b"))
    assert hosts(SLURM, file=path)[0].name == "node1"
    assert find({}) is None


@pytest.mark.parametrize("variable", ["PBS_NODEFILE", "COBALT_NODEFILE", "LSB_DJOB_HOSTFILE"])
def test_a_file_that_is_missing_is_named(variable: str) -> None:
    with pytest.raises(ValidationError, match=f"^{variable} = '/nowhere': cannot be read: No such file .*; unset it"):
        find({variable: "/nowhere"})


def test_the_node_file_of_the_settings_that_is_missing_is_named() -> None:
    with pytest.raises(ValidationError, match=r"^node_file = '/nowhere': cannot be read"):
        find({}, "/nowhere")


def test_inside_an_allocation_of_another_flux_comes_last() -> None:
    assert find(SLURM | {"FLUX_URI": "local:///x"}) == find(SLURM)
    assert [allocation.system_of(environ) for environ in (SLURM, {"PBS_NODEFILE": ""}, {})] == ["slurm", "pbs", ""]
