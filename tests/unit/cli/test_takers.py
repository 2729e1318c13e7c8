"""Who could run a job."""

from __future__ import annotations

import pytest

from balsam_cli.takers import Need, Taker, matches, warning, why_not

SERIAL = Need("scan", nodes=1, serial=True)
BOUND = Need("scan", nodes=1, serial=True, launch=7)
MPI = Need("scan", nodes=2, serial=False)
ANNS = Need("scan", nodes=1, serial=True, user="ann")
LONG = Need("scan", nodes=1, serial=True, minutes=90)


@pytest.mark.parametrize(
    ("need", "taker", "reason"),
    [
        (SERIAL, Taker(1, "auto", ""), ""),
        (ANNS, Taker(1, "auto", "", users=frozenset({"bob", "ann"})), ""),
        (ANNS, Taker(1, "auto", "", users=frozenset({"bob", "cid"})), "runs jobs of bob and cid only"),
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
