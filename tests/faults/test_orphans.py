"""What a run leaves behind when those who watch it are killed or stopped: nothing, within about two seconds."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from balsam.processes import process_table
from balsam.states import State
from tests.support.agents import wait_gone
from tests.support.processes import running_launcher
from tests.support.processes import services as run_services
from tests.support.scheduling import Jobs
from tests.support.sites import make_test_site, wait_until

BOUND_SECONDS = 4.0
"""Two seconds on a machine that does nothing else, which that of the tests is not."""

DAEMON = """
import os, signal, sys, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
for step in (1, 2):                       # the parent goes, and its session with it
    if os.fork():
        if step == 2:
            os._exit(0)
        time.sleep(1000)
    os.setsid()
for descriptor in (0, 1, 2):
    os.close(descriptor)
with open(sys.argv[1] + ".tmp", "w") as file:
    print(os.getpid(), file=file)
os.rename(sys.argv[1] + ".tmp", sys.argv[1])
os.execve("/bin/sleep", ["sleep", "1000"], {})
"""


@pytest.mark.parametrize(
    ("stopped", "killed"),
    [
        ("", "launcher"),
        ("", "agent"),
        ("", "warden"),
        ("launcher", "agent"),
        ("launcher", "warden"),
        ("agent", "launcher"),
        ("warden", "launcher"),
        ("warden", "agent"),
    ],
)
def test_a_detached_grandchild_is_gone_soon_after_any_of_those_who_watch_it(
    tmp_path: Path, stopped: str, killed: str
) -> None:
    site = make_test_site(tmp_path, lease_seconds=60.0)
    jobs = Jobs(site)
    script, pid_file = tmp_path / "daemon.py", tmp_path / "pid"
    script.write_text(DAEMON)
    with run_services(site), running_launcher(site, "--persistent") as process:
        job_id = jobs.add("daemon", args=f"{sys.executable} {script} {pid_file}")
        wait_until(pid_file.exists)
        daemon = int(pid_file.read_text())
        jobs.wait(job_id, State.RUNNING)
        (warden,) = process_table().children(process.pid)
        (agent,) = process_table().children(warden)
        pids = {"launcher": process.pid, "agent": agent, "warden": warden}
        if stopped:
            os.kill(pids[stopped], signal.SIGSTOP)
        try:
            os.kill(pids[killed], signal.SIGKILL)
            seconds = wait_gone(daemon)
        finally:
            if stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pids[stopped], signal.SIGCONT)
        also = f" while its {stopped} was stopped" if stopped else ""
        print(f"\nthe detached grandchild of a killed {killed}'s job was gone after {seconds:.2f} s{also}")
    jobs.close()
    assert seconds < BOUND_SECONDS
