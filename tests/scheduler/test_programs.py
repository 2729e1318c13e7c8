"""Programs of jobs as real processes: they end, are stopped, and leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from balsam.processes import Tree
from balsam_scheduler.limits import Limit, Stopped, TimedOut
from balsam_scheduler.programs import Call, CannotStart, Runner, open_output

JOB_ID = str(uuid.uuid4())  # a guard kills what bears the mark, whichever test has started it
MARK = {"BALSAM_JOB_ID": JOB_ID, "BALSAM_ATTEMPT": "1"}


class Heard:
    """A watch that keeps what it hears."""

    def __init__(self) -> None:
        self.pids: set[int] = set()

    def add(self, tree: Tree) -> None:
        self.pids.add(tree.pid)

    def remove(self, tree: Tree) -> None:
        self.pids = set()


@pytest.fixture
def limit() -> Iterator[Limit]:
    limit = Limit(30)
    limit.begin()
    yield limit
    limit.close()


@pytest.fixture
def run(tmp_path: Path, limit: Limit) -> Callable[..., int]:
    """Runs a shell text, its output in `out`."""

    def run(text: str, limit: Limit = limit, grace: float = 5.0, linger: float = 0.0) -> int:
        output = open_output(tmp_path / "out")
        call = Call(["sh", "-c", text], tmp_path, {**os.environ, **MARK}, output, JOB_ID, 1, b"hello\n", linger)
        try:
            return Runner(Heard(), grace).run(call, limit)
        finally:
            os.close(output)

    return run


@pytest.fixture
def left() -> Callable[[], list[str]]:
    """Statuses of the processes below this one that were not there when the test began; zombies count."""
    before = set(psutil.Process().children(recursive=True))
    return lambda: [process.status() for process in set(psutil.Process().children(recursive=True)) - before]


def wait_for(path: Path) -> str:
    """The text of a file, once there is some."""
    deadline = time.monotonic() + 20
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.01)
    return path.read_text()


def stop_when(limit: Limit, path: Path) -> threading.Thread:
    def watch() -> None:
        wait_for(path)
        limit.stop()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(("text", "code"), [("true", 0), ("exit 3", 3), ("kill -9 $$", -9)])
def test_how_a_program_ends(run: Callable[..., int], text: str, code: int) -> None:
    assert run(text) == code


def test_output_and_errors_are_appended_and_input_is_read(run: Callable[..., int], tmp_path: Path) -> None:
    run("cat; echo wrong >&2")
    run("echo again")
    assert (tmp_path / "out").read_text() == "hello\nwrong\nagain\n"


def test_a_program_leads_a_session_of_its_own(run: Callable[..., int], tmp_path: Path) -> None:
    run(f'{sys.executable} -c "import os; print(os.getsid(0))"; echo $$')
    session, pid = (tmp_path / "out").read_text().split()
    assert session == pid


def test_a_stop_ends_the_whole_tree(run: Callable[..., int], tmp_path: Path, limit: Limit) -> None:
    thread = stop_when(limit, tmp_path / "child")
    with pytest.raises(Stopped):
        run("sleep 60 & echo $! > child; wait")
    thread.join()
    assert gone(int((tmp_path / "child").read_text()))


def test_a_program_that_ignores_sigterm_is_killed_after_the_grace(
    run: Callable[..., int], tmp_path: Path, limit: Limit
) -> None:
    thread = stop_when(limit, tmp_path / "child")
    with pytest.raises(Stopped):
        run("trap '' TERM; echo $$ > child; while :; do sleep 60; done", grace=0.2)
    thread.join()
    assert gone(int((tmp_path / "child").read_text()))


def test_a_program_may_end_by_itself_on_sigterm(run: Callable[..., int], tmp_path: Path, limit: Limit) -> None:
    thread = stop_when(limit, tmp_path / "child")
    with pytest.raises(Stopped):
        run("trap 'echo saved > last; exit 0' TERM; echo $$ > child; while :; do sleep 0.05; done")
    thread.join()
    assert (tmp_path / "last").read_text() == "saved\n"


def test_a_program_over_its_limit_is_stopped(run: Callable[..., int], tmp_path: Path) -> None:
    short = Limit(0.3)
    short.begin()
    with pytest.raises(TimedOut):
        run("echo $$ > child; sleep 60", limit=short)
    short.close()
    assert gone(int((tmp_path / "child").read_text()))


def test_what_a_program_leaves_may_have_time_for_its_last_words(run: Callable[..., int], tmp_path: Path) -> None:
    assert run("(sleep 0.3; echo last words) & exit 3", linger=60) == 3
    assert (tmp_path / "out").read_text() == "last words\n"


def test_what_has_no_last_words_does_not_stay_for_ever(
    run: Callable[..., int], left: Callable[[], list[str]], tmp_path: Path
) -> None:
    assert run("echo $$ > pid; sleep 60 & exit 3", linger=0.2) == 3
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
    assert left() == []


def test_what_a_program_leaves_in_the_background_ends_with_it(run: Callable[..., int], tmp_path: Path) -> None:
    assert run("sleep 60 & echo $! > child") == 0
    assert gone(int((tmp_path / "child").read_text()))


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["no-such-program"], "there is no program 'no-such-program'"),
        (["./text"], "'./text' is not executable"),
        (["./noise"], "'./noise': Exec format error"),
    ],
)
def test_what_cannot_be_started_says_why(tmp_path: Path, limit: Limit, command: list[str], reason: str) -> None:
    (tmp_path / "text").write_text("text")
    (tmp_path / "noise").write_bytes(b"\0\1\2")
    (tmp_path / "noise").chmod(0o755)
    output = open_output(tmp_path / "out")
    call = Call(command, tmp_path, dict(os.environ), output, JOB_ID, 1)
    with pytest.raises(CannotStart, match=reason):
        Runner(Heard(), 1.0).run(call, limit)
    os.close(output)


def test_what_detaches_itself_ends_with_the_program_too(run: Callable[..., int], tmp_path: Path) -> None:
    detach = "import os, sys, time; os.fork() and os._exit(0); os.setsid(); print(os.getpid(), file=open('child', 'w'))"
    run(f'{sys.executable} -c "{detach}; time.sleep(60)"; while [ ! -s child ]; do sleep 0.01; done')
    assert gone(int((tmp_path / "child").read_text()))


def test_no_zombie_stays(run: Callable[..., int], left: Callable[[], list[str]]) -> None:
    run("(sleep 0.05 & sleep 0.1 &) ; sleep 0.2")
    assert left() == []


def test_children_that_were_there_before_are_left_alone(tmp_path: Path, limit: Limit) -> None:
    with subprocess.Popen(["sh", "-c", "exit 5"]) as other:
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        output = open_output(tmp_path / "out")
        Runner(Heard(), 1.0).run(Call(["true"], tmp_path, dict(os.environ), output, JOB_ID, 1), limit)
        os.close(output)
        assert other.wait() == 5


def test_many_at_once_each_get_their_own_exit_code(tmp_path: Path, limit: Limit) -> None:
    runner, codes = Runner(Heard(), 1.0), {}

    def one(number: int) -> None:
        output = open_output(tmp_path / f"out{number}")
        call = Call(["sh", "-c", f"exit {number}"], tmp_path, dict(os.environ), output, str(number), 1)
        codes[number] = runner.run(call, limit)
        os.close(output)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == {number: number for number in range(40)}


@pytest.mark.parametrize("what", ["a link", "a pipe"])
def test_output_goes_to_plain_files_only(tmp_path: Path, what: str) -> None:
    if what == "a link":
        (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    else:
        os.mkfifo(tmp_path / "out")
    with pytest.raises(OSError):  # noqa: PT011 - each has its own errno
        open_output(tmp_path / "out")
    assert not (tmp_path / "elsewhere").exists()


SCHEDULER = """
import os, sys, threading, time
from pathlib import Path
from balsam_scheduler.guarding import Guard
from balsam_scheduler.limits import Limit
from balsam_scheduler.programs import Call, Runner, open_output

directory = Path(sys.argv[1])
guard = Guard(directory / "guard.lock")
if len(sys.argv) > 4:
    guard.trust(time.monotonic() + float(sys.argv[4]))
text = sys.argv[2]
mark = {"BALSAM_JOB_ID": sys.argv[3], "BALSAM_ATTEMPT": "1"}
call = Call(["sh", "-c", text], directory, {**os.environ, **mark}, open_output(directory / "out"),
            mark["BALSAM_JOB_ID"], 1)
Runner(guard, 1.0).run(call, Limit(60))
guard.close()
"""


@contextlib.contextmanager
def scheduler(directory: Path, text: str, job_id: str = JOB_ID, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", SCHEDULER, str(directory), text, job_id, *more]) as process:
        try:
            yield process
        finally:
            process.kill()


def test_when_the_scheduler_is_killed_its_programs_end_too(tmp_path: Path) -> None:
    detached = f'{sys.executable} -c "import os, time; os.fork() and os._exit(0); os.setsid(); time.sleep(60)"'
    text = f"sleep 60 & echo $! > child; {detached}; echo $$ > leader; wait"
    job_id = str(uuid.uuid4())
    with scheduler(tmp_path, text, job_id):
        leader = int(wait_for(tmp_path / "leader"))
        marked = [p.pid for p in psutil.process_iter() if environment(p).get("BALSAM_JOB_ID") == job_id]
        assert len(marked) == 3  # the shell, its child, and the one that detached itself
        assert leader in marked
    deadline = time.monotonic() + 10
    while not all(gone(pid) for pid in marked):
        assert time.monotonic() < deadline, f"still there: {[pid for pid in marked if not gone(pid)]}"
        time.sleep(0.02)


def environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def test_the_guard_ends_with_the_scheduler(tmp_path: Path) -> None:
    with scheduler(tmp_path, "sleep 60") as process:
        wait_for_guard = time.monotonic() + 20
        while not (children := psutil.Process(process.pid).children()):
            assert time.monotonic() < wait_for_guard
            time.sleep(0.01)
    gone_by = time.monotonic() + 10
    while not all(gone(child.pid) for child in children):
        assert time.monotonic() < gone_by
        time.sleep(0.02)


def test_who_is_not_trusted_any_more_is_killed_with_all_programs_though_it_was_stopped(tmp_path: Path) -> None:
    with scheduler(tmp_path, "echo $$ > leader; sleep 60", str(uuid.uuid4()), "2.0") as process:
        leader = int(wait_for(tmp_path / "leader"))
        os.kill(process.pid, signal.SIGSTOP)
        assert process.wait(20) == -signal.SIGKILL
        gone_by = time.monotonic() + 10
        while not gone(leader):
            assert time.monotonic() < gone_by
            time.sleep(0.02)


def test_who_waits_himself_hears_of_the_end(tmp_path: Path, limit: Limit) -> None:
    """While runs end beside it, whose orphans are collected: a child that is waited for is none."""
    runner = Runner(Heard(), 5.0)
    output = open_output(tmp_path / "out")
    call = Call(["true"], tmp_path, {**os.environ, **MARK}, output, JOB_ID, 1)
    for _ in range(20):
        with runner.start(["sh", "-c", "exit 3"], stdout=subprocess.PIPE) as process:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and its exit is still there
            runner.run(call, limit)
            process.communicate(timeout=20)
        assert process.returncode == 3
    os.close(output)
