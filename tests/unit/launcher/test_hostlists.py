"""Lists of hosts, as batch systems write them."""

from __future__ import annotations

import pytest

from balsam.errors import ValidationError
from balsam_launcher.hostlists import expand, lines, repeated


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n1", ["n1"]),
        ("n1,n7", ["n1", "n7"]),
        ("n[1-3,7]", ["n1", "n2", "n3", "n7"]),
        ("n[08-11]", ["n08", "n09", "n10", "n11"]),
        ("gpu[1-2],cpu[01-02],login", ["gpu1", "gpu2", "cpu01", "cpu02", "login"]),
        ("r[1-2]n[1-2]-ib", ["r1n1-ib", "r1n2-ib", "r2n1-ib", "r2n2-ib"]),
        ("b2,a1", ["b2", "a1"]),
        ("node-1.cluster.org", ["node-1.cluster.org"]),
    ],
)
def test_lists_are_expanded_in_their_order(text: str, names: list[str]) -> None:
    assert expand("SLURM_JOB_NODELIST", text) == names


def test_a_large_list() -> None:
    names = expand("SLURM_JOB_NODELIST", "nid[000001-004096]")
    assert (len(names), names[-1]) == (4096, "nid004096")


@pytest.mark.parametrize(
    "text", ["n[1-", "n[1-3", "n1-3]", "n[3-1]", "n[a-b]", "n1,,n2", "n 1", "@all", "n1!n2", "n1,n1"]
)
def test_what_is_damaged_is_named_with_what_to_do(text: str) -> None:
    with pytest.raises(ValidationError, match=r"^SLURM_JOB_NODELIST = .*no list of nodes.*unset it, or .*node_file"):
        expand("SLURM_JOB_NODELIST", text)


@pytest.mark.parametrize(
    "text", ["[4-99999999]", "r[1-9999]n[1-9999]", f"n[1-{'9' * 5000}]", "a[1-150000],b[1-150000]"], ids=range(4)
)
def test_a_list_that_names_too_many_is_refused_before_it_is_written_out(text: str) -> None:
    with pytest.raises(ValidationError, match=r"^COBALT_PARTNAME = .*names more than 200000 nodes.*unset it"):
        expand("COBALT_PARTNAME", text)


def test_an_empty_list_is_an_error() -> None:
    with pytest.raises(ValidationError, match=r"^SLURM_JOB_NODELIST is empty"):
        expand("SLURM_JOB_NODELIST", " ")


@pytest.mark.parametrize(("text", "numbers"), [("4", [4]), ("4(x3),2", [4, 4, 4, 2]), ("1,2(x2)", [1, 2, 2])])
def test_repeated_numbers(text: str, numbers: list[int]) -> None:
    assert repeated("SLURM_JOB_CPUS_PER_NODE", text) == numbers


@pytest.mark.parametrize("text", ["", "x", "4(x999999)", "4(x", "4(x3)2", "-1", "0", "4,", "4(y2)"])
def test_damaged_numbers_are_named(text: str) -> None:
    with pytest.raises(ValidationError, match=r"SLURM_JOB_CPUS_PER_NODE = .*4\(x3\),2.*cores_per_node"):
        repeated("SLURM_JOB_CPUS_PER_NODE", text)


def test_a_file_of_names_counts_how_often_each_is_there() -> None:
    assert lines("PBS_NODEFILE", "n2\nn1\n\nn2  # twice\n# none\n") == {"n2": 2, "n1": 1}


def test_a_line_of_a_file_may_be_a_list() -> None:
    assert lines("node_file", "n[1-3]\nlogin\nn[08,10]-ib\n") == dict.fromkeys(
        ["n1", "n2", "n3", "login", "n08-ib", "n10-ib"], 1
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "names no node"),
        ("# n1\n", "names no node"),
        ("n1 4\n", "'n1 4'"),
        ("n[1-3\n", r"'n\[1-3' is no list of nodes like"),
        ("n[1-3],n5\n", r"'n\[1-3\],n5'"),
        ("n[1-999999]\n", "is no list"),
    ],
)
def test_a_damaged_file_is_named(text: str, what: str) -> None:
    with pytest.raises(ValidationError, match=f"^PBS_NODEFILE: .*{what}"):
        lines("PBS_NODEFILE", text)
