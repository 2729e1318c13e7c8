"""Real processes of a test: the services of a site, and launchers on it. Stopped by process id, always."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from balsam.rpc import CHANNEL_OPTIONS
from balsam.site import Site
from balsam_jobstore.postgres import Cluster
from tests.support.nursery import Copy, start_module

Process = Copy | subprocess.Popen[bytes]
"""A process of ours that a test has started."""

SERVICES = ("jobstore", "scheduler")
START_SECONDS = 30.0
STOP_SECONDS = 20.0


class Services:
    """The services of a site; they may be stopped, killed and started again one by one.

    Of several job stores, the second is `jobstore-2`.

    Args:
        site: the site.
        words: what to put before their commands, so that they run elsewhere.
    """

    def __init__(self, site: Site, words: Sequence[str] = ()) -> None:
        self.site = site
        self._words = list(words)
        self._processes: dict[str, Process] = {}

    def start(self, *names: str) -> None:
        """Starts services, each when the one before answers; returns when all do."""
        self.site.make_run()
        for name in names:
            self._processes[name] = self._spawn(name)
            self._wait_until_it_serves(name)

    def pid(self, name: str) -> int:
        """Process id of a service."""
        return self._processes[name].pid

    def stop(self, *names: str) -> None:
        """Asks services to stop; fails the test if one does not, or had ended before."""
        problems = [self._end(name, signal.SIGTERM) for name in names]
        if any(problems):
            pytest.fail("; ".join(filter(None, problems)) + f"\n{log_tails(self.site)}")

    def kill(self, *names: str) -> None:
        """Kills services with SIGKILL."""
        for name in names:
            self._end(name, signal.SIGKILL)

    def given_up(self, name: str) -> Process:
        """A service that is to end by itself: its process, which is not looked after any more."""
        return self._processes.pop(name)

    def close(self) -> None:
        """Stops what still runs, last started first."""
        self.stop(*reversed(self._processes))

    def _spawn(self, name: str) -> Process:
        service, _, number = name.partition("-")
        module, options = f"balsam_{service}", ["--site", str(self.site.path)]
        options += ["--number", number] if number else []
        with _console(self.site, name).open("ab") as console:
            return _start(module, options, self._words, console)

    def _wait_until_it_serves(self, name: str) -> None:
        process = self._processes[name]
        deadline = time.monotonic() + START_SECONDS
        while self.site.read_info(name).get("pid") != process.pid or not serves(self.site, name):
            if process.poll() is not None:
                pytest.fail(f"{name} ended with {process.returncode} as it started\n{log_tails(self.site)}")
            if time.monotonic() > deadline:
                pytest.fail(f"{name} does not serve after {START_SECONDS:g} s\n{log_tails(self.site)}")
            time.sleep(0.01)

    def _end(self, name: str, number: signal.Signals) -> str:
        """Ends a service; gives what was wrong with that."""
        process = self._processes.pop(name)
        if process.poll() is not None:
            return f"{name} had ended by itself with {process.returncode}"
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return f"{name} did not stop within {STOP_SECONDS:g} s"
        if number == signal.SIGTERM and process.returncode != 0:
            return f"{name} stopped with {process.returncode}"
        return ""


def _start(module: str, options: Sequence[str], words: Sequence[str], console: IO[bytes]) -> Process:
    if not words:
        return start_module(module, options, stdout=console)
    command = [*words, sys.executable, "-m", module, *options]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True)


def serves(site: Site, name: str) -> bool:
    """Whether a service answers its health check."""
    with grpc.insecure_channel(site.address(name), options=CHANNEL_OPTIONS) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=5, wait_for_ready=True)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@contextlib.contextmanager
def services(site: Site, *names: str, words: Sequence[str] = ()) -> Iterator[Services]:
    """Services that run, by default all; afterwards none does, and none has logged a traceback."""
    running = Services(site, words)
    try:
        running.start(*(names or SERVICES))
        yield running
    except BaseException:
        print(log_tails(site))
        raise
    finally:
        try:
            running.close()
        finally:
            _stop_private_database(site)
    for log in _logs(site):
        assert "Traceback" not in log.read_text(errors="replace"), f"traceback in {log}\n{log_tails(site)}"


def launcher(site: Site, *options: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Runs a launcher until it ends by itself, and fails the test if it ends with an error."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = start_module("balsam_launcher", _launcher_options(site, *options), stdout=out, stderr=err)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail(f"the launcher runs after {timeout:g} s\n{_text(err)}\n{log_tails(site)}")
        done = subprocess.CompletedProcess(process.args, process.wait(), _text(out), _text(err))
    if done.returncode != 0 or "Traceback" in done.stderr:
        pytest.fail(f"the launcher ended with {done.returncode}\n{done.stdout}\n{done.stderr}\n{log_tails(site)}")
    return done


@contextlib.contextmanager
def running_launcher(site: Site, *options: str, words: Sequence[str] = ()) -> Iterator[Process]:
    """A launcher that runs beside the test; asked to stop afterwards, if the test has not ended it.

    `words`: what to put before its command, so that it runs elsewhere; they are to end in its process.
    """
    with _console(site, "launcher").open("ab") as console:
        process = _start("balsam_launcher", _launcher_options(site, *options), words, console)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            pytest.fail(f"the launcher did not stop within {STOP_SECONDS:g} s\n{log_tails(site)}")


def launcher_command(site: Site, *options: str) -> list[str]:
    """The command line of a launcher."""
    return [sys.executable, "-m", "balsam_launcher", *_launcher_options(site, *options)]


def _launcher_options(site: Site, *options: str) -> list[str]:
    return ["--site", str(site.path), *options]


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _stop_private_database(site: Site) -> None:
    """Of a job store that was killed: its database goes on without it."""
    if site.settings.database == "postgres":
        Cluster(site.database / "postgres", site.run).stop()


def log_tails(site: Site, size: int = 3000) -> str:
    """The ends of all logs of a site."""
    return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-size:]}" for log in _logs(site))


def _logs(site: Site) -> list[Path]:
    return sorted(path for path in site.log.glob("*") if path.is_file())


def _console(site: Site, name: str) -> Path:
    return site.log / f"{name}.console"
