"""Nodes with their cores and GPUs, from what batch systems and the host say."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from balsam.errors import ValidationError
from balsam_launcher import gpus
from balsam_launcher.allocation import Host
from balsam_launcher.nodes import NOTHING_WANTED, Node, ThisHost, Wanted, find_nodes, is_same_host, nodes_of, select
from balsam_launcher.topology import cores_of_this_host, group, threads_of

HERE = ThisHost("n1", cores=8, threads_per_core=2, gpus=2)
NODES = [Node(f"n{number}", 4) for number in range(4)]


def nodes(*hosts: Host, assigned: tuple[str, ...] | None = None, wanted: Wanted = NOTHING_WANTED) -> list[Node]:
    return nodes_of(hosts, HERE, ("CUDA_VISIBLE_DEVICES", assigned) if assigned is not None else None, wanted)


def test_this_host_is_a_node_where_no_batch_system_is() -> None:
    (node,) = find_nodes({})
    assert (node.name, node.local) == (socket.gethostname(), True)
    assert 1 <= node.cores <= len(os.sched_getaffinity(0))


def test_an_allocation_of_slurm_is_found_with_this_host_in_it() -> None:
    environ = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_CPUS_PER_NODE": "2(x2)", "SLURMD_NODENAME": "n2"}
    assert [(node.name, node.local) for node in find_nodes(environ)] == [("n1", False), ("n2", True)]


def test_processors_are_hardware_threads() -> None:
    here, other = nodes(Host("n1", cpus=8), Host("n2", cpus=16))
    assert (here.cores, here.threads_per_core, other.cores) == (4, 2, 8)


def test_what_nobody_says_of_another_host_is_as_it_is_here() -> None:
    assert nodes(Host("n1"), Host("n2")) == [Node("n1", 8, 2, ("0", "1"), True), Node("n2", 8, 2, ("0", "1"), False)]


def test_no_more_cores_are_used_here_than_there_are() -> None:
    assert nodes(Host("n1", cpus=64))[0].cores == 8


def test_slots_of_lsf_are_cores() -> None:
    assert nodes(Host("h1", cores=42))[0].cores == 42


def test_exactly_the_gpus_that_the_allocation_assigns_are_used() -> None:
    here, other = nodes(Host("n1", gpus=2), Host("n2", gpus=2), assigned=("2", "3"))
    assert (here.gpus, other.gpus) == (("2", "3"), ("2", "3"))
    here, other = nodes(Host("n1"), Host("n2"), assigned=("GPU-ab", "GPU-cd"))
    assert (here.gpus, other.gpus) == (("GPU-ab", "GPU-cd"), ("0", "1"))
    assert nodes(Host("n1"), assigned=())[0].gpus == ()


def test_settings_and_options_count_before_what_is_found() -> None:
    wanted = Wanted(cores=3, gpus=4)
    assert nodes(Host("n2", cpus=64, gpus=2), wanted=wanted) == [Node("n2", 3, 2, ("0", "1", "2", "3"))]
    assert nodes(Host("n1"), assigned=("4", "5"), wanted=Wanted(gpus=1))[0].gpus == ("4",)
    assert nodes(Host("n1"), wanted=Wanted(gpus=0))[0].gpus == ()


@pytest.mark.parametrize(
    ("name", "other", "same"),
    [("n1", "n1", True), ("n1", "n1.a.org", True), ("n1.a.org", "n1.b.org", False), ("n1", "n10", False)],
)
def test_a_host_is_known_with_and_without_its_domain(name: str, other: str, same: bool) -> None:
    assert is_same_host(name, other) is same


def test_nodes_are_cut_to_what_was_asked_for() -> None:
    assert select(NODES) == NODES
    assert [node.name for node in select(NODES, offset=1, limit=2)] == ["n1", "n2"]


def test_no_node_left_is_an_error() -> None:
    with pytest.raises(ValidationError, match="leaves no node: there are 4"):
        select(NODES, offset=4)


# Cores


def test_hardware_threads_are_grouped_by_core() -> None:
    four = {0: (0, 0), 1: (0, 1), 2: (0, 0), 3: (0, 1)}
    cores = group(four)
    assert cores == [(0, 2), (1, 3)]
    assert (threads_of(cores, [1], 1), threads_of(cores, [0, 1], 2)) == ({1}, {0, 1, 2, 3})
    assert threads_of(cores, [0], 8) == {0, 2}


def test_cores_of_several_packages_have_numbers_of_their_own() -> None:
    assert group({4: (0, 0), 5: (1, 0)}) == [(4,), (5,)]


def test_every_processor_of_this_process_is_in_a_core() -> None:
    cores = cores_of_this_host()
    assert sorted(thread for core in cores for thread in core) == sorted(os.sched_getaffinity(0))


# GPUs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0,1", ("0", "1")),
        ("3", ("3",)),
        ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6",)),
        ("0.0,0.1", ("0.0", "0.1")),
        ("", ()),
        ("-1", ()),
        ("NoDevFiles", ()),
    ],
)
def test_ids_of_gpus(text: str, expected: tuple[str, ...]) -> None:
    assert gpus.assigned({"CUDA_VISIBLE_DEVICES": text}) == ("CUDA_VISIBLE_DEVICES", expected)


@pytest.mark.parametrize("text", ["0,,1", "0 1", "0,0", "$x"])
def test_what_is_no_list_of_gpus_is_named(text: str) -> None:
    with pytest.raises(ValidationError, match=r"ROCR_VISIBLE_DEVICES = .*no list of GPUs like 0,1,2; unset it"):
        gpus.assigned({"ROCR_VISIBLE_DEVICES": text})


def test_a_run_is_told_of_its_gpus_by_the_variables_of_all_vendors() -> None:
    names = {"CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"}
    assert gpus.variables(["0", "2"], {}) == dict.fromkeys(names, "0,2")


def test_where_rocm_has_a_filter_no_second_one_counts_what_it_leaves_anew() -> None:
    assert gpus.variables(["5"], {"ROCR_VISIBLE_DEVICES": "4,5"}) == {"ROCR_VISIBLE_DEVICES": "5"}


def test_gpus_of_a_host_are_seen_in_its_devices(tmp_path: Path) -> None:
    assert gpus.count_of_this_host(tmp_path) == 0
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia0x"):
        (tmp_path / "dev" / name).touch()
    assert gpus.count_of_this_host(tmp_path) == 2


def test_amds_topology_has_processors_too(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kfd").touch()
    for number, units in enumerate(("0", "0", "240", "240", "240")):
        node = tmp_path / f"sys/class/kfd/kfd/topology/nodes/{number}"
        node.mkdir(parents=True)
        (node / "simd_count").write_text(f"{units}\n")
    assert gpus.count_of_this_host(tmp_path) == 3
