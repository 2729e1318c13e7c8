"""The plan of a campaign, and what its processes write: cut off anywhere, it can be read."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.plan import FAULTS, POSTGRES_FAULTS, load_plan, make_plan
from tests.chaos.records import cut_to_whole_lines, read_lines
from tests.chaos.subscriber import last_sequence
from tests.chaos.supervisor import PACKAGES, ROOT, environment, wrong_sources


def test_a_seed_gives_the_same_plan(tmp_path: Path) -> None:
    plan = make_plan(7, 200, 10, 2.0, postgres=True)
    plan.save(tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json") == make_plan(7, 200, 10, 2.0, postgres=True) == plan
    assert make_plan(8, 200, 10, 2.0, postgres=True) != plan


def test_another_number_of_faults_leaves_the_jobs_as_they_are() -> None:
    assert make_plan(7, 200, 10, 2.0, postgres=False).jobs == make_plan(7, 200, 99, 2.0, postgres=True).jobs


def test_parents_come_before_their_children() -> None:
    seen: set[str] = set()
    for job in make_plan(1, 500, 0, 2.0, postgres=False).jobs:
        assert seen.issuperset(job.parents)
        seen.add(job.job_id)
    assert len(seen) == 500


def test_a_large_plan_has_jobs_and_faults_of_every_kind() -> None:
    plan = make_plan(1, 5000, 500, 2.0, postgres=True)
    assert {job.action for job in plan.jobs} == {"", "kill", "restart", "anew"}
    assert len({job.application for job in plan.jobs}) == 5
    assert any(job.detached for job in plan.jobs)
    assert any(job.code for job in plan.jobs)
    assert max(len(job.parents) for job in plan.jobs) == 3
    faults = Counter((fault.kind, fault.target) for fault in plan.faults)
    assert set(faults) == {*FAULTS, *POSTGRES_FAULTS}
    assert all(0.2 <= fault.seconds <= 6.0 for fault in plan.faults if fault.kind == "SIGSTOP")


def test_faults_of_some_kinds_only_may_be_asked_for() -> None:
    plan = make_plan(1, 1, 50, 2.0, postgres=False, only=["SIGSTOP:launcher", "SIGKILL:agent"])
    assert {(fault.kind, fault.target) for fault in plan.faults} == {("SIGSTOP", "launcher"), ("SIGKILL", "agent")}
    with pytest.raises(ValueError, match="no such fault: SIGKILL:backend; there are SIGKILL:jobstore, "):
        make_plan(1, 1, 1, 2.0, postgres=False, only=["SIGKILL:backend"])


def test_what_a_kill_has_cut_off_is_left_out_and_written_again(tmp_path: Path) -> None:
    file = tmp_path / "stream.jsonl"
    file.write_text("[1]\n[2]\n[3")
    assert list(read_lines(file)) == [[1], [2]]
    cut_to_whole_lines(file)
    assert file.read_text() == "[1]\n[2]\n"
    assert last_sequence(file) == 2


def test_nothing_written_is_the_beginning(tmp_path: Path) -> None:
    assert last_sequence(tmp_path / "stream.jsonl") == 0
    assert json.dumps(list(read_lines(tmp_path / "stream.jsonl"))) == "[]"


def test_the_processes_import_the_sources_that_are_named(tmp_path: Path) -> None:
    for package, root in PACKAGES.items():
        package_directory = tmp_path / root / package
        package_directory.mkdir(parents=True)
        (package_directory / "__init__.py").touch()
    assert wrong_sources(environment(tmp_path, tmp_path), tmp_path) == []
    assert wrong_sources(environment(tmp_path, ROOT), ROOT) == []


def test_a_checkout_without_the_packages_is_seen(tmp_path: Path) -> None:
    assert len(wrong_sources(environment(tmp_path, tmp_path), tmp_path)) == len(PACKAGES)
