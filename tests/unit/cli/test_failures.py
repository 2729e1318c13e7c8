"""Failed jobs are grouped by cause."""

from __future__ import annotations

import random
from typing import Any

import pytest

from balsam_cli.failures.grouping import group
from balsam_cli.failures.templates import join, normal, parts


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("exit code 3", "exit code 3"),
        ("killed by SIGKILL (9): out of memory", "killed by SIGKILL (9): out of memory"),
        ("exit code 139 (128 + SIGSEGV)", "exit code 139 (128 + SIGSEGV)"),
        ("no input in /site/data/w/job_1a2b3c4d/run.7/in.dat", "no input in .../in.dat"),
        ("step 17: E = -3.2e-05", "step #: E = -#"),
        ("node 3f2a9c1b failed at 0x7ffd12", "node # failed at #"),
        ("job 6a2f41a3-c54c-4ce8-92ab-7ddc2a4de5ee", "job #"),
        ("cannot open fit_1a2b3c4d.h5", "cannot open fit_#.h#"),
        ("decade facade", "decade facade"),
    ],
)
def test_what_differs_from_job_to_job_does_not_count(line: str, shown: str) -> None:
    assert normal(line) == shown


def test_the_first_line_says_how_and_the_last_what_the_program_said() -> None:
    assert parts("exit code 1\nTraceback\n\nValueError: 7 is odd\n") == ("exit code 1", "ValueError: # is odd")
    assert parts("exit code 1") == ("exit code 1", "")
    assert parts("") == ("", "")


@pytest.mark.parametrize("last", ["Aborting.", "aborted", "-----", "\ufffd\ufffd", "Bye!"])
def test_a_last_line_that_says_nothing_does_not_count(last: str) -> None:
    assert parts(f"exit code 1\nmatrix is singular\n{last}\n") == ("exit code 1", "matrix is singular")
    assert parts(f"exit code 1\n{last}") == ("exit code 1", last)


def test_lines_that_differ_in_a_few_words_are_joined() -> None:
    joined = join(["cannot read alpha in time", "cannot read beta in time", "cannot read beta in time", "out of disk"])
    assert set(joined.values()) == {"cannot read * in time", "out of disk"}


def test_of_many_names_after_one_kind_of_error_none_counts() -> None:
    names = [f"mol_{chr(97 + n)}" for n in range(20)]
    lines = [f"KeyError: {name}" for name in names] + [f"FileNotFoundError: {name}.dat" for name in names] * 3
    assert set(join(lines).values()) == {"KeyError: *", "FileNotFoundError: *"}


def test_few_names_and_one_that_is_frequent_are_causes_of_their_own() -> None:
    few = ["KeyError: 'energy'"] * 50 + ["KeyError: 'forces'"] * 50 + ["", "killed"]
    assert join(few) == {line: line for line in few}
    many = [f"error: mol_{chr(97 + n)}" for n in range(20)]
    assert set(join([*many, *["error: timeout"] * 500]).values()) == {"error: *", "error: timeout"}


PLANTED: list[tuple[str, int | None, str]] = [
    ("sim", 3, "exit code 3\nstep {n}\nno convergence after {n} steps"),
    ("sim", 137, "killed by SIGKILL (9): out of memory\nallocating {n} MB"),
    ("sim", 139, "exit code 139 (128 + SIGSEGV)\nat 0x{n:08x} in /data/{n}/lib.so"),
    ("fit", 1, "exit code 1\nTraceback\nFileNotFoundError: /data/w/fit_{n:08x}/in.dat"),
    ("fit", None, "preprocess failed: exit code 2\nbad header in line {n}"),
]


def test_four_thousand_failures_of_five_causes_are_five_groups() -> None:
    chance = random.Random(7)
    jobs: list[dict[str, Any]] = []
    for number in range(4000):
        application, code, message = PLANTED[number % 5]
        text = message.format(n=chance.randrange(10**6))
        jobs.append({"job_id": f"{number:08d}", "application": application, "exit_code": code, "message": text})
    groups = group(jobs)
    assert [len(one.job_ids) for one in groups] == [800] * 5
    assert {(one.application, one.exit_code) for one in groups} == {(a, c) for a, c, _ in PLANTED}
    chance.shuffle(jobs)
    assert {one.name for one in group(jobs)} == {one.name for one in groups}
    record = groups[0].record()
    assert record["jobs"] == 800
    assert record["example"] in groups[0].job_ids


def test_what_failed_with_a_parent_is_one_group() -> None:
    jobs = [{"job_id": f"{n}", "message": f"parent x{n} (1234abcd) ended without finishing"} for n in range(3)]
    (found,) = group(jobs)
    assert found.by_parent
    assert len(found.job_ids) == 3


def test_no_failures_are_no_groups() -> None:
    assert group([]) == []


def failed_on(*nodes: str) -> list[dict[str, Any]]:
    return [{"job_id": str(n), "message": "exit code 1", "node": node} for n, node in enumerate(nodes)]


@pytest.mark.parametrize(
    ("nodes", "shown"),
    [
        ([""], ""),
        (["node1"] * 3, "node1"),
        (["node1"] * 900 + ["node2"] * 50 + ["node3"] * 50, "node1 (900), 2 others"),
        (["node1"] * 3 + ["node2"], "2 nodes"),
        (["node1", "node2", "node3", ""], "3 nodes"),
    ],
)
def test_a_node_where_far_more_failed_than_elsewhere_stands_out(nodes: list[str], shown: str) -> None:
    (found,) = group(failed_on(*nodes))
    assert found.where == shown


def test_the_node_parts_no_group_and_is_counted_in_each() -> None:
    (found,) = group(failed_on("node2", "node1", "node2", ""))
    assert list(found.record()["nodes"].items()) == [("node2", 2), ("node1", 1)]
    assert found.name == group(failed_on("node9"))[0].name
