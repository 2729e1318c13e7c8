"""Which node a member is on, and what starts members."""

from __future__ import annotations

import pytest

from balsam_launcher.member import membership, which_node, without_ranks
from balsam_launcher.mpi import Mpi
from balsam_launcher.starting import MEMBER, ensemble_command

NODES = [("node1", 0), ("node2", 1), ("node3.cluster.example", 4)]


@pytest.mark.parametrize(
    ("environ", "host", "node"),
    [
        ({"SLURMD_NODENAME": "node2", "SLURM_PROCID": "0"}, "vm", 1),
        ({"PMI_RANK": "0"}, "node2", 1),
        ({}, "node3", 4),
        ({}, "node3.cluster.example", 4),
        ({"PMI_RANK": "2"}, "vm", 4),
        ({"OMPI_COMM_WORLD_RANK": "1"}, "vm", 1),
        ({"PALS_RANKID": "0"}, "vm", 0),
    ],
)
def test_a_member_knows_its_node_by_name_or_by_rank(environ: dict[str, str], host: str, node: int) -> None:
    assert which_node(environ, host, NODES) == node


def test_the_only_node_needs_no_name() -> None:
    assert which_node({}, "vm", [("h1", 7)]) == 7


def test_a_member_that_cannot_know_says_so() -> None:
    with pytest.raises(ValueError, match="vm is none of node1, node2"):
        which_node({"PMI_RANK": "9"}, "vm", NODES)


def test_under_jsrun_which_chooses_hosts_itself_only_the_host_tells() -> None:
    rank = {"JSM_NAMESPACE_RANK": "0"}
    assert which_node(rank, "node2", NODES) == 1
    assert which_node(rank, "node2.cluster.example", [("node2", 1)]) == 1
    with pytest.raises(ValueError, match="jsrun has started an agent on node2, where one was wanted on node1"):
        which_node(rank, "node2", [("node1", 0)])


def test_only_a_launcher_starts_members() -> None:
    with pytest.raises(ValueError, match="BALSAM_MEMBER_OF is not set"):
        membership({}, "vm")


def test_what_a_member_finds_in_its_environment() -> None:
    environ = {
        "BALSAM_MEMBER_OF": "::1:4711",
        "BALSAM_MEMBER_SECRET": "00ff",
        "BALSAM_MEMBER_NODES": "a=0,b=1",
        "BALSAM_ENSEMBLE": "e",
        "PMI_RANK": "1",
    }
    found = membership(environ, "vm")
    assert (found.host, found.port, found.secret, found.node, found.mark) == ("::1", 4711, b"\0\xff", 1, "e:1")


def test_runs_do_not_take_themselves_for_ranks_of_the_ensemble() -> None:
    rank = {"PMI_RANK": "1", "PMI_FD": "5", "OMPI_COMM_WORLD_SIZE": "2", "SLURM_PROCID": "1", "SLURM_STEP_ID": "0"}
    kept = {"PATH": "/bin", "SLURM_JOB_ID": "7", "SLURM_CONF": "/etc/slurm.conf", "PMIX": "mine"}
    assert without_ranks(rank | kept) == kept


def test_slurm_starts_one_on_each_node_beside_other_steps() -> None:
    words = ensemble_command(["node1", "node4"], None, "/usr/bin/srun")
    assert words[: -len(MEMBER)] == [
        *("/usr/bin/srun", "--overlap", "--no-kill", "--kill-on-bad-exit=0", "--wait=0", "--mpi=none"),
        *("--cpu-bind=none", "--unbuffered", "--nodes", "2", "--ntasks", "2", "--ntasks-per-node", "1"),
        *("--nodelist", "node1,node4"),
    ]
    assert tuple(words[-len(MEMBER) :]) == MEMBER


def test_elsewhere_the_mpi_does() -> None:
    words = ensemble_command(["a", "b"], Mpi("mpich", "/opt/mpiexec"), None)
    assert words[:3] == ["/opt/mpiexec", "-n", "2"]
    assert words[3:8] == ["-ppn", "1", "-hosts", "a,b", "-disable-auto-cleanup"]
    assert tuple(words[-len(MEMBER) :]) == MEMBER


def test_variables_are_passed_by_name_where_the_mpi_does_not_pass_all() -> None:
    words = ensemble_command(["a", "b"], Mpi("openmpi", "/opt/mpiexec"), None)
    named = [words[place + 1] for place, word in enumerate(words) if word == "-x"]
    assert {"BALSAM_MEMBER_OF", "BALSAM_MEMBER_SECRET", "BALSAM_MEMBER_NODES", "BALSAM_ENSEMBLE"} == set(named)
    assert not any("=" in name for name in named)  # a secret in an argument list could be read by everybody
