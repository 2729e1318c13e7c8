"""Who could run a job."""

from __future__ import annotations

import pytest

from balsam_cli.takers import NOBODY, Need, NodeKind, Taker, hindrance, matches, need_of, too_large, warning, why_not

SERIAL = Need("scan", nodes=1, serial=True)
BOUND = Need("scan", nodes=1, serial=True, launch=7)
MPI = Need("scan", nodes=2, serial=False)
LONG = Need("scan", nodes=1, serial=True, minutes=90)
USED = Need("scan", nodes=1, serial=True, minutes=90, application="simulate", expected=20)
BOBS = Need("scan", nodes=1, serial=True, owner="bob")
OF_ANN = frozenset({"ann"})


@pytest.mark.parametrize(
    ("need", "taker", "reason"),
    [
        (SERIAL, Taker(1, "auto", ""), ""),
        (SERIAL, Taker(1, "mpi", "sc*"), ""),
        (SERIAL, Taker(1, "auto", "fit"), "takes workflow 'fit' only"),
        (MPI, Taker(4, "serial", ""), "takes serial jobs only"),
        (MPI, Taker(1, "auto", ""), "has 1 of the 2 nodes"),
        (SERIAL, Taker(1, "auto", "", launch=7), ""),
        (BOUND, Taker(1, "auto", "", launch=7), ""),
        (BOUND, Taker(1, "auto", ""), "is not of launch 7"),
        (BOUND, Taker(1, "auto", "", launch=8), "is not of launch 7"),
        (SERIAL, Taker(1, "auto", "", launch=7, bound_only=True), "takes jobs that are bound to launch 7 only"),
        (BOUND, Taker(1, "auto", "", launch=7, bound_only=True), ""),
        (LONG, Taker(1, "auto", "", launch=7, minutes=90), ""),
        (LONG, Taker(1, "auto", "", launch=7, minutes=89), "has 89 of the 90 minutes"),
        (USED, Taker(1, "auto", "", minutes=20), "has 20 of the 90 minutes"),
        (USED, Taker(1, "auto", "", minutes=20, quick=frozenset({"simulate"})), ""),
        (LONG, Taker(1, "auto", "", minutes=20, quick=frozenset({"simulate"})), "has 20 of the 90 minutes"),
        (USED, Taker(1, "auto", "", launch=7, minutes=20, label="launch 7"), ""),
        (USED, Taker(1, "auto", "", launch=7, minutes=19, label="launch 7"), "has 19 of the 20 minutes"),
        (BOBS, Taker(1, "auto", "", users=OF_ANN), "takes the jobs of ann, and not those of bob"),
        (BOBS, Taker(1, "auto", "", users=OF_ANN | {"bob"}), ""),
        (BOBS, Taker(1, "auto", ""), ""),
    ],
)
def test_why_a_launcher_never_runs_a_job(need: Need, taker: Taker, reason: str) -> None:
    assert why_not(need, taker) == reason


@pytest.mark.parametrize(
    ("workflow", "pattern", "fits"),
    [
        ("wf1", "wf1", True),
        ("wf10", "wf1", False),
        ("wf10", "wf*", True),
        ("wf[1]", "wf[1]", True),
        ("wf1", "wf[1]*", False),
    ],
)
def test_filters_are_exact_or_globs(workflow: str, pattern: str, fits: bool) -> None:
    assert matches(workflow, pattern) is fits


def test_one_launcher_that_can_is_enough() -> None:
    assert warning([SERIAL], [Taker(1, "auto", "fit"), Taker(1, "auto", "")]) == ""


def test_a_warning_says_what_is_missing() -> None:
    assert "balsam launcher" in warning([SERIAL], [])
    assert "the launcher at work has 1 of the 2 nodes" in warning([MPI], [Taker(1, "auto", "")])
    submitted = Taker(1, "auto", "", launch=7, minutes=30, label="launch 7")
    assert warning([LONG], [submitted]) == (
        "nothing at work or submitted can run this: launch 7 has 30 of the 90 minutes"
    )
    assert "each of the 2 launchers and launches has 1 of the 2 nodes" in warning(
        [MPI], [Taker(1, "auto", ""), submitted]
    )


# Cores and GPUs

NODES = (NodeKind(2, cores=8, gpus=2), NodeKind(1, cores=16, gpus=0))
HERE = Taker(3, "auto", "", kinds=NODES)


@pytest.mark.parametrize(
    ("fields", "cores", "gpus"),
    [
        ({}, 0, 0),
        ({"threads_per_rank": 8}, 0, 0),
        ({"threads_per_rank": 8, "cpu_affinity": "depth"}, 8, 0),
        ({"threads_per_rank": 8, "threads_per_core": 2, "cpu_affinity": "depth"}, 4, 0),
        ({"threads_per_rank": 2, "ranks_per_node": 4, "cpu_affinity": "depth"}, 8, 0),
        ({"gpus_per_rank": 0.5}, 0, 1),
        ({"gpus_per_rank": 0.5, "ranks_per_node": 4}, 0, 2),
        ({"gpus_per_rank": 1.5}, 0, 2),
        ({"gpus_per_rank": 2, "ranks_per_node": 3}, 0, 6),
    ],
)
def test_what_a_job_needs_on_each_node(fields: dict[str, object], cores: int, gpus: int) -> None:
    need = need_of(fields)
    assert (need.cores, need.gpus) == (cores, gpus)


def test_a_serial_job_takes_its_share_and_others_their_nodes() -> None:
    assert need_of({"node_packing_count": 4}).total == 0.25
    assert need_of({"num_nodes": 3, "node_packing_count": 4}).total == 3


@pytest.mark.parametrize(
    ("fields", "what", "text"),
    [
        ({"gpus_per_rank": 2, "num_nodes": 2}, "", ""),
        ({"gpus_per_rank": 4}, "gpus", "has no node with 4 GPUs (at most 2)"),
        ({"gpus_per_rank": 1, "num_nodes": 3}, "gpus", "has 2 of the 3 nodes with 1 GPU"),
        ({"threads_per_rank": 16, "cpu_affinity": "depth"}, "", ""),
        (
            {"threads_per_rank": 17, "cpu_affinity": "depth"},
            "cores",
            "has no node with 17 cores to be bound to (at most 16)",
        ),
        (
            {"threads_per_rank": 16, "cpu_affinity": "depth", "gpus_per_rank": 1},
            "gpus",
            "has 0 of the 1 nodes with 1 GPU and 16 cores to be bound to",
        ),
    ],
)
def test_cores_and_gpus_of_the_nodes_count(fields: dict[str, object], what: str, text: str) -> None:
    found = hindrance(need_of(fields), HERE)
    assert (found.what if found else "", found.text if found else "") == (what, text)


def test_of_nodes_that_nobody_knows_nothing_is_said() -> None:
    assert hindrance(need_of({"gpus_per_rank": 4}), Taker(1, "auto", "")) is None


def test_what_no_node_has_is_said_first() -> None:
    need = need_of({"gpus_per_rank": 4})
    assert warning([need], [HERE]) == (
        "no node has 4 GPUs: nothing at work can run this: the launcher at work has no node with 4 GPUs (at most 2)"
    )
    assert warning([need], [Taker(1, "auto", "", kinds=(NodeKind(1, 4, 0),))]).endswith("(they have none)")


def test_without_a_launcher_the_settings_say_what_a_node_has() -> None:
    need = need_of({"gpus_per_rank": 4})
    site = NodeKind(1, gpus=2)
    assert warning([need], [], site) == "no node has 4 GPUs: by settings.toml (gpus_per_node) each has 2"
    assert warning([need_of({"gpus_per_rank": 2})], [], site) == NOBODY
    assert warning([need], [], NodeKind(1, cores=4)) == NOBODY


def test_without_a_launcher_what_this_host_lacks_is_said() -> None:
    here = Taker(1, "auto", "", label="a launcher here", kinds=(NodeKind(1, cores=2, gpus=0),))
    never = "nothing that exists can ever run this: a launcher here has "
    assert too_large([need_of({"num_nodes": 50})], here) == never + "1 of the 50 nodes"
    assert too_large([SERIAL, need_of({"gpus_per_rank": 2})], here) == never + "no node with 2 GPUs (they have none)"
    assert too_large([LONG, BOUND], here) == ""
