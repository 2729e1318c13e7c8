"""What is taken from the words of a run command that starts node agents."""

from __future__ import annotations

from pathlib import Path

import pytest

from balsam_launcher.starter_process import StarterProcess, nodes_without


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("srun: error: node3: task 2: Exited with exit code 2", [("node3", "Exited with exit code 2")]),
        (
            "srun: error: node[3-4]: tasks 2-3: Exited with exit code 1",
            [("node3", "Exited with exit code 1"), ("node4", "Exited with exit code 1")],
        ),
        (
            "srun: error: Task launch for StepId=5.0 failed on node node3: Unspecified error",
            [("node3", "Unspecified error")],
        ),
        ("srun: error: Node failure on node2", [("node2", "Node failure on node2")]),
        ("srun: error: Timed out waiting for job step to complete", []),
        ("srun: error: n[: task 1: Killed", []),
        ("node agent on node3: no line to the launcher", []),
    ],
)
def test_nodes_of_which_srun_says_that_nothing_runs_there(line: str, found: list[tuple[str, str]]) -> None:
    assert list(nodes_without(line)) == found


def test_what_it_prints_is_in_the_log_and_its_last_line_is_the_reason(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = "echo one; echo 'srun: error: n2: task 0: Killed' >&2; printf 'no such host'; exit 3"
    starter = StarterProcess([0], ["sh", "-c", program], {}, log, 60.0)
    starter.wait(30.0)
    with log.open("a") as ours:
        ours.write("a line of ours\n")
    starter.hear()
    assert (starter.status, starter.reason) == ("exit status 3", "no such host")
    assert starter.without == {"n2": "Killed"}
    assert log.read_text() == "a line of ours\none\nsrun: error: n2: task 0: Killed\nno such host"
    starter.close()


def test_one_that_says_nothing_is_known_by_its_status(tmp_path: Path) -> None:
    starter = StarterProcess([0], ["false"], {"PATH": "/usr/bin:/bin"}, tmp_path / "log", 60.0)
    starter.wait(30.0)
    starter.hear()
    assert starter.reason == "it ended with exit status 1"
    starter.close()
