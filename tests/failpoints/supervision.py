"""A site whose processes are started again when they die, as a batch script or an init system does it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.errors import BalsamError
from balsam.site import Site
from tests.support.processes import STOP_SECONDS, launcher_command, log_tails, serves
from tests.support.sites import job_table, states, wait_until

SCRIPT = Path(__file__).parent / "scripts" / "campaign.py"
JOBS = ("parent", "child", "long", "short0", "short1", "short2", "short3")
SCRIPTS = ("before", "after")
LAUNCHERS = ("launcher", "launcher2")
DONE_SECONDS = 60.0
_LOOK_SECONDS = 0.02


class Witnesses:
    """Runs and scripts that trust no clock: each holds the lock of its name while anything of it lives."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._script = directory / "witness.sh"
        self._script.write_text(
            f"""
            exec 9>>{directory}/$1.lock
            flock -n 9 || echo overlap >> {directory}/$1.witness
            [ $1 != child ] || grep -q end {directory}/parent.witness || echo early >> {directory}/$1.witness
            echo begin >> {directory}/$1.witness
            sleep $2
            echo end >> {directory}/$1.witness
            """
        )

    @property
    def command(self) -> str:
        """What a job runs, with a name and seconds after it."""
        return f"bash {self._script}"

    def lines(self, name: str) -> list[str]:
        """What those of a name have written."""
        file = self._directory / f"{name}.witness"
        return file.read_text().splitlines() if file.exists() else []


class Supervised:
    """The services of a site and a launcher, each started again whenever it has ended, from a thread.

    Args:
        site: the site.
        environ: what they are started with, beside this process's environment.
    """

    def __init__(self, site: Site, environ: dict[str, str]) -> None:
        self.site = site
        self._names = ["jobstore", "scheduler", LAUNCHERS[0]]
        self.ends: list[str] = []
        """Who has ended by itself, and with what."""
        self._environ = os.environ | environ
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look, name="supervisor")

    def start(self) -> None:
        """Starts everything; returns when jobs move."""
        self.site.make_run()
        self._thread.start()
        wait_until(lambda: serves(self.site, "scheduler"), what="the scheduler serves", site=self.site)

    def add_launcher(self) -> None:
        """A second launcher comes."""
        self._names.append(LAUNCHERS[1])

    def signal(self, name: str, number: signal.Signals) -> None:
        """Sends a signal to a process."""
        self._processes[name].send_signal(number)

    def stop(self) -> None:
        """Stops everything, the last started first; one that was to fail as it ends may do so, once."""
        self._stopping.set()
        self._thread.join()
        stubborn = [name for name in reversed(self._names) if not self._end(name)]
        if stubborn:
            pytest.fail(f"{stubborn} did not stop\n{log_tails(self.site)}")

    def _look(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            for name in self._names:
                process = self._processes.get(name)
                if process is not None and process.poll() is not None:
                    self.ends.append(f"{name}: {process.returncode}")
                elif process is not None:
                    continue
                # A launcher without a job store ends at once.
                if name not in LAUNCHERS or self._job_store_is_up():
                    self._processes[name] = self._spawn(name)

    def _job_store_is_up(self) -> bool:
        process = self._processes.get("jobstore")
        return process is not None and self.site.read_info("jobstore").get("pid") == process.pid

    def _spawn(self, name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"balsam_{name}", "--site", str(self.site.path)]
        if name in LAUNCHERS:
            command = launcher_command(self.site, "--persistent")
        with (self.site.log / f"{name}.console").open("ab") as console:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=self._environ,
                start_new_session=True,
            )

    def _end(self, name: str) -> bool:
        process = self._processes.get(name)
        if process is None:
            return True
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False
        return True


@contextlib.contextmanager
def supervised(site: Site, environ: dict[str, str]) -> Iterator[Supervised]:
    """A site whose processes come back; afterwards none runs, and none has logged a traceback."""
    running = Supervised(site, environ)
    try:
        running.start()
        yield running
    except BaseException:
        print(log_tails(site))
        raise
    finally:
        running.stop()
    for log in sorted(path for path in site.log.glob("*") if path.is_file()):
        assert "Traceback" not in log.read_text(errors="replace"), f"traceback in {log.name}\n{log_tails(site)}"


def run_campaign(site: Site, witnesses: Witnesses, environ: dict[str, str], *, long: float, tries: int) -> None:
    """Runs the script that makes the jobs; again, as its owner would, up to so many times until it succeeds.

    Args:
        site: where its services run.
        witnesses: what the jobs run.
        environ: added to the script's environment.
        long: how long its longest job takes [s].
        tries: how often it is run at most.
    """
    command = [sys.executable, str(SCRIPT), witnesses.command, str(long)]
    for _ in range(tries):
        done = subprocess.run(
            command,
            env=os.environ | environ | {"BALSAM_DB_PATH": str(site.path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode == 0:
            return
    pytest.fail(f"the campaign's script failed {tries} times: {done.stderr}\n{log_tails(site)}")


def wait_until_finished(site: Site) -> None:
    """Waits until every job of the campaign has ended well, whatever happens to the services meanwhile."""
    expected = dict.fromkeys(JOBS, "JOB_FINISHED")
    deadline = time.monotonic() + DONE_SECONDS
    found: dict[str, str] = {}
    while found != expected:
        if time.monotonic() > deadline:
            pytest.fail(f"not finished after {DONE_SECONDS:g} s\n{job_table(site)}\n{log_tails(site)}")
        with contextlib.suppress(BalsamError):
            found = states(site)
        time.sleep(_LOOK_SECONDS)


def left_over(mark: str) -> list[str]:
    """Processes that have this text in their environment: whatever a site has started, and lives."""
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in file.read_bytes():
                found.append(f"{file.parent.name}: {(file.parent / 'cmdline').read_bytes()!r}")
    return found
