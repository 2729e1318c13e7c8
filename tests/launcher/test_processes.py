"""Process trees: found with all that belongs to them, and ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam import processes
from balsam.processes import Process, ProcessTable, Tree, mark_of, oom_kills, process_table, read_process, stop
from tests.support.agents import alive, clean_environ, wait_for_text

MARK = {"BALSAM_JOB_ID": "some-job", "BALSAM_ATTEMPT": "2"}

# Starts: a child; one in a group of its own; one in a session of its own; and a daemon, whose parent has ended.
FAMILY = """
echo $$ >> pids
sleep 300 & echo $! >> pids
timeout 300 sleep 300 & echo $! >> pids
setsid sleep 300 & echo $! >> pids
(setsid bash -c 'sleep 300 & echo $! >> pids; disown; echo done > daemon')
%s
echo ready > ready
wait
"""


class Family:
    """A shell with descendants of every kind."""

    def __init__(self, directory: Path, extra: str = "") -> None:
        self.process = subprocess.Popen(
            ["bash", "-c", FAMILY % extra], cwd=directory, env=clean_environ(**MARK), start_new_session=True
        )
        wait_for_text(directory / "ready", "ready")
        wait_for_text(directory / "daemon", "done")
        self.pids = {int(line) for line in (directory / "pids").read_text().split()}
        self.tree = Tree(self.process.pid, "some-job", 2)


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    family = Family(tmp_path)
    yield family
    stop(family.tree, 0)
    family.process.wait()


def test_a_tree_has_all_its_descendants_and_what_detached_itself(family: Family) -> None:
    assert len(family.pids) == 5
    assert family.pids <= set(family.tree.members())


def test_without_its_mark_a_daemon_is_not_found(family: Family) -> None:
    assert len(family.pids - set(Tree(family.process.pid).members())) == 1
    assert len(family.pids - set(Tree(family.process.pid, "some-job", 3).members())) == 1


def test_stopping_ends_all_of_it_by_term(family: Family) -> None:
    assert stop(family.tree, 20) == []
    assert not [pid for pid in family.pids if alive(pid)]
    assert family.process.wait() == -15


def test_what_ignores_term_is_killed_after_the_grace(tmp_path: Path) -> None:
    family = Family(tmp_path, extra="trap '' TERM; sleep 300 &")
    began = time.monotonic()
    assert stop(family.tree, 0.3) == []
    assert 0.3 <= time.monotonic() - began < 10
    family.process.wait()


def test_a_stopped_process_hears_of_its_end(tmp_path: Path) -> None:
    family = Family(tmp_path)
    os.kill(family.process.pid, 19)
    assert stop(family.tree, 20) == []
    assert family.process.wait() == -15


def test_a_run_that_keeps_forking_ends(tmp_path: Path) -> None:
    script = "trap '' TERM; echo x > ready; while true; do (sleep 0.05; sleep 300) & sleep 0.002; done"
    process = subprocess.Popen(["bash", "-c", script], cwd=tmp_path, start_new_session=True)
    wait_for_text(tmp_path / "ready", "x")
    assert stop(Tree(process.pid), 0.1) == []
    process.wait()


def test_marks_are_read_from_the_environment() -> None:
    process = subprocess.Popen(["sleep", "300"], env=clean_environ(**MARK))
    plain = subprocess.Popen(["sleep", "300"])
    try:
        assert mark_of(process.pid) == ("some-job", 2)
        assert mark_of(plain.pid) is None
    finally:
        for each in (process, plain):
            each.kill()
            each.wait()
    assert mark_of(process.pid) is None


def test_who_ends_many_trees_reads_the_mark_of_each_process_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred runs of one agent took a second to find, each beside all others, and outlived their lease by that."""
    reads: Counter[int] = Counter()

    def counted(pid: int) -> tuple[str, int] | None:
        reads[pid] += 1
        return mark_of(pid)

    monkeypatch.setattr(processes, "mark_of", counted)
    runs = [
        subprocess.Popen(
            ["sleep", "300"], start_new_session=True, env=clean_environ(BALSAM_JOB_ID=job, BALSAM_ATTEMPT="1")
        )
        for job in "abcd"
    ]
    table = process_table()
    found = [Tree(run.pid, job, 1).members(table) for run, job in zip(runs, "abcd", strict=True)]
    for run in runs:
        run.kill()
        run.wait()
    assert found == [[run.pid] for run in runs]
    assert max(reads.values()) == 1


def test_the_table_knows_parents_sessions_and_zombies() -> None:
    process = subprocess.Popen(["true"], start_new_session=True)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    table = process_table()
    assert process.pid in table.children(os.getpid())
    assert table.sessions[process.pid] == [process.pid]
    assert not table.alive(process.pid)
    assert table.alive(os.getpid())
    process.wait()
    assert read_process(process.pid) is None


def test_a_name_with_brackets_is_no_trap(tmp_path: Path) -> None:
    program = tmp_path / "a) Z (b"
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([program, "300"])
    try:
        found = read_process(process.pid)
        assert found is not None
        assert (found.parent, found.zombie) == (os.getpid(), False)
    finally:
        process.kill()
        process.wait()


SUBREAPER = """
import os, subprocess, sys, time
from balsam.processes import become_subreaper, process_table
assert become_subreaper()
subprocess.run(["bash", "-c", "sleep 300 & disown"])
(orphan,) = process_table().children(os.getpid())
os.kill(orphan, 9)
print(os.waitpid(orphan, 0) == (orphan, 9), process_table().children(os.getpid()))
"""


def test_a_subreaper_gets_the_orphans() -> None:
    done = subprocess.run([sys.executable, "-c", SUBREAPER], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("True []\n", "")


def test_kills_for_lack_of_memory_are_counted() -> None:
    assert oom_kills() >= 0


def test_a_parent_hears_of_a_signal_before_what_it_has_started() -> None:
    """A shell whose commands end first would go on to its next line, or end with 0."""
    family = {20: 1, 8: 20, 1000: 8, 3: 1000, 24: 20, 16: 3}  # numbers begin anew when they have all been used
    table = ProcessTable(Process(pid, parent, 20, 20, zombie=False) for pid, parent in sorted(family.items()))
    members = Tree(20).members(table)
    assert sorted(members) == sorted(family)
    assert all(members.index(family[pid]) < members.index(pid) for pid in members[1:])
