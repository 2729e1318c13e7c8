"""What a run leaves behind when its launcher or its agent is killed: nothing, within about two seconds."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from balsam.processes import process_table
from balsam.site import Site
from balsam.states import State
from tests.support.agents import alive, wait_gone
from tests.support.processes import Services, running_launcher
from tests.support.scheduling import Jobs
from tests.support.sites import wait_until

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


@pytest.mark.parametrize("victim", ["launcher", "agent"])
def test_a_detached_grandchild_is_gone_soon_after_its_launcher_or_agent(
    site: Site, services: Services, jobs: Jobs, tmp_path: Path, victim: str
) -> None:
    script, pid_file = tmp_path / "daemon.py", tmp_path / "pid"
    script.write_text(DAEMON)
    job_id = jobs.add("daemon", args=f"{sys.executable} {script} {pid_file}")
    with running_launcher(site, "--persistent") as process:
        wait_until(pid_file.exists)
        daemon = int(pid_file.read_text())
        jobs.wait(job_id, State.RUNNING)
        (agent,) = process_table().children(process.pid)
        assert alive(daemon)
        os.kill(process.pid if victim == "launcher" else agent, signal.SIGKILL)
        seconds = wait_gone(daemon)
        print(f"\nthe detached grandchild of a killed {victim}'s job was gone after {seconds:.2f} s")
    assert seconds < BOUND_SECONDS
