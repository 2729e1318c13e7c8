"""The progress of the campaign, as its jobs' moves build it."""

from __future__ import annotations

import io

from rich.console import Console

from eos.progress import Job, Progress, summary, view

FOUND = {"lattice_constant": 3.5898, "bulk_modulus": 134.4}


def campaign() -> Progress:
    progress = Progress()
    for i in range(3):
        progress.add(f"v{i}", Job(f"volume-Cu-0-{i}", "volume", {"metal": "Cu", "round": 0}))
    progress.add("f", Job("fit-Cu-0", "fit", {"metal": "Cu", "round": 0}))
    progress.add("u", Job("universal", "universal", {}))
    return progress


def shown(progress: Progress) -> list[str]:
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(view(progress, 12.3))
    return console.export_text().splitlines()


def row_of(metal: str, progress: Progress) -> str:
    (row,) = (line for line in shown(progress) if line.startswith(metal))
    return row


def test_a_dot_per_volume_says_where_it_is() -> None:
    progress = campaign()
    progress.move("v0", "JOB_FINISHED")
    progress.move("v1", "RUNNING")
    assert "●◉○" in row_of("Cu", progress)
    progress.move("v1", "FAILED", "exit code 1")
    assert "●✗○" in row_of("Cu", progress)


def test_each_scan_has_dots_of_its_own() -> None:
    progress = campaign()
    progress.add("v9", Job("volume-Cu-1-0", "volume", {"metal": "Cu", "round": 1}))
    assert "○○○  ○" in row_of("Cu", progress)


def test_finished_fit_is_news_and_shows_its_values() -> None:
    progress = campaign()
    progress.jobs["f"].data = {"metal": "Cu", "round": 0, "converged": False, "doubts": ["too wide"], **FOUND}
    line = progress.move("f", "JOB_FINISHED")
    assert line == "Cu scan 1: a = 3.5898 Å, B = 134.4 GPa; goes on: too wide"
    assert "3.5898" in row_of("Cu", progress)
    assert "goes on" in row_of("Cu", progress)


def test_finished_volume_and_a_move_told_twice_are_no_news() -> None:
    progress = campaign()
    assert progress.move("v0", "JOB_FINISHED") == ""
    assert progress.move("v1", "FAILED", "exit code 1") == "volume-Cu-0-1: FAILED: exit code 1"
    assert progress.move("v1", "FAILED", "exit code 1") == ""


def test_failure_is_told_in_one_line() -> None:
    line = campaign().move("v0", "FAILED", "exit code 1\n  File volume.py\nValueError: no such metal")
    assert line == "volume-Cu-0-0: FAILED: exit code 1 ... ValueError: no such metal"


def test_campaign_is_finished_when_every_job_is() -> None:
    progress = campaign()
    for job_id in ("v0", "v1", "v2"):
        progress.move(job_id, "JOB_FINISHED")
    assert not progress.finished()
    progress.jobs["f"].data = {"metal": "Cu", "round": 0, "converged": True, "doubts": [], **FOUND}
    progress.jobs["u"].data = {"k": 0.0, "rms": 0.002, "points_of_ranks": [2, 1]}
    assert progress.move("f", "JOB_FINISHED").endswith("converged")
    assert progress.move("u", "JOB_FINISHED").startswith("universal curve on 2 MPI ranks")
    assert progress.finished()
    assert progress.failed() == []


def test_summary_counts_the_jobs() -> None:
    progress = campaign()
    progress.move("v0", "JOB_FINISHED")
    progress.move("v1", "RUNNING")
    progress.move("v2", "USER_KILLED", "by a user")
    assert summary(progress, 12.3) == "5 jobs, 1 finished, 1 running, 2 to come, 1 failed  (12 s)"
    assert progress.failed() == ["volume-Cu-0-2"]


def test_ids_not_heard_of_are_named() -> None:
    assert campaign().unknown(["v0", "new"]) == ["new"]
