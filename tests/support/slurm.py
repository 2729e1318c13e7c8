"""A real Slurm of the tests: a controller and emulated nodes on loopback, as root or not, without munge.

    def test_something(slurm: Slurm) -> None:
        slurm.command("sbatch", "--wrap", "true")

The commands of Slurm find it by SLURM_CONF in the environment, and so does what the test starts. All nodes share this
host's name; what runs on one has SLURMD_NODENAME. Everything of it ends with the test, by process id.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from balsam.processes import process_table, send
from balsam.site import Site
from tests.support.components import missing
from tests.support.sites import wait_until

NODES = 4
CORES = 4
_PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
_START_SECONDS = 20.0
_COMMAND_SECONDS = 30.0
_TRIES = 3
_MARK = "EMULATED_SLURM_NODE"
"""A variable of the daemons of a node, which what they start without a user's environment has too."""


@dataclass
class Slurm:
    """A private cluster; `nodes` are the names of its nodes, of `CORES` cores each."""

    directory: Path
    nodes: tuple[str, ...] = tuple(f"node{number}" for number in range(1, NODES + 1))
    _daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def configuration(self) -> Path:
        """What SLURM_CONF names."""
        return self.directory / "slurm.conf"

    @property
    def environ(self) -> dict[str, str]:
        """The environment in which the commands find this cluster."""
        others = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
        return others | {"SLURM_CONF": str(self.configuration)}

    def command(self, *words: str, check: bool = True) -> str:
        """Runs a command of Slurm; gives its output. Fails the test if it fails, unless `check` is off."""
        done = subprocess.run(
            words,
            env=self.environ,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"{' '.join(words)} ended with {done.returncode}: {done.stderr}\n{self.story()}")
        return done.stdout

    def state(self, job: str) -> str:
        """The state of a job, as RUNNING; empty: it is not known (any more)."""
        return self.command("squeue", "-h", "-t", "all", "-o", "%T", "-j", job, check=False).strip()

    def wait_until_over(self, job: str, site: Site, timeout: float = 120.0) -> str:
        """Waits until a job of a site is over [s at the most]; gives its last state. If it does not end, fails with all
        that is known of both."""

        def over() -> str:
            state = self.state(job)
            return "" if state in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING") else state or "gone"

        try:
            return wait_until(over, timeout, f"batch job {job} is over", site=site)
        except BaseException:
            print(self.story())
            raise

    # Daemons

    def start_controller(self) -> None:
        """Starts the controller, with the jobs that it knew; returns when it answers."""
        kept = [] if (self.directory / "state" / "job_state").exists() else ["-c"]
        self._daemons["slurmctld"] = self._spawn("slurmctld", "-D", *kept)
        self._wait("the controller answers", lambda: "is UP" in self.command("scontrol", "ping", check=False))

    def stop_controller(self) -> None:
        """Stops the controller: whoever asks it hears nothing. Jobs go on, and it knows them when it is back."""
        process = self._daemons.pop("slurmctld")
        process.terminate()
        process.wait(_START_SECONDS)

    def kill_controller(self) -> None:
        """Kills the controller: it forgets what it has not saved yet, of the last seconds."""
        self._end("slurmctld")

    @contextlib.contextmanager
    def controller_stopped(self) -> Iterator[None]:
        """The controller takes connections and does not answer, as one that is overloaded."""
        process = self._daemons["slurmctld"]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def start_node(self, name: str) -> None:
        """Starts the daemon of a node."""
        self._daemons[name] = self._spawn("slurmd", "-D", "-N", name)

    def kill_node(self, name: str) -> None:
        """Kills a node: its daemon and all that runs there. The controller notices after a while; see `set_down`."""
        self._end(name)
        self._kill_all((f"{_MARK}={name}", f"SLURMD_NODENAME={name}"))

    def set_down(self, name: str) -> None:
        """Tells the controller at once that a node is lost."""
        self.command("scontrol", "update", f"nodename={name}", "state=down", "reason=test")

    def start(self) -> None:
        """Starts all of it; returns when every node is idle."""
        self.start_controller()
        for name in self.nodes:
            self.start_node(name)
        self._wait("all nodes are idle", lambda: self._node_states() == ["idle"] * len(self.nodes))

    def stop(self) -> None:
        """Ends all of it, and whatever jobs have left."""
        for name in list(self._daemons):
            self._end(name)
        self._kill_all((f"SLURM_CONF={self.configuration}",))

    def story(self) -> str:
        """The ends of all logs, for a failed test to print."""
        logs = sorted(path for path in self.directory.glob("slurm*") if path.suffix in (".log", ".out"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)

    def _node_states(self) -> list[str]:
        return self.command("sinfo", "-h", "-N", "-o", "%T", check=False).split()

    def _spawn(self, program: str, *options: str) -> subprocess.Popen[bytes]:
        path = shutil.which(program, path=_PATH)
        assert path
        mark = {_MARK: options[-1]} if program == "slurmd" else {}
        with (self.directory / f"{program}.out").open("ab") as output:
            return subprocess.Popen(
                [path, *options],
                env=self.environ | mark,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _end(self, name: str) -> None:
        process = self._daemons.pop(name)
        process.kill()
        process.wait()

    def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not condition():
            ended = [name for name, process in self._daemons.items() if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                raise _DidNotStart(f"{what}: not so; ended: {ended}\n{self.story()}")
            time.sleep(0.02)

    def _kill_all(self, marks: Sequence[str]) -> None:
        """Kills whatever has one of these variables, and all below it, until nothing is left."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            table = process_table()
            roots = [pid for pid in table.by_pid if pid != os.getpid() and _has(pid, marks)]
            living = [pid for pid in table.descendants(roots) if table.alive(pid)]
            if not living:
                return
            send(living, signal.SIGSTOP)  # as on a node that loses its power, nobody lives to report another's end
            send(living, signal.SIGKILL)
            time.sleep(0.01)
        pytest.fail(f"processes of the test's Slurm cannot be killed: {living}")


class _DidNotStart(Exception):
    """A daemon ended at once: most often, somebody took its port."""


def _has(pid: int, marks: Sequence[str]) -> bool:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(mark.encode() in variables for mark in marks)


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    """A cluster of four idle nodes; the test, and what it starts, finds it."""
    lacking = [program for program in _PROGRAMS if not shutil.which(program, path=_PATH)]
    if lacking:
        missing("Slurm", f"there is no {', '.join(lacking)}; `make system` as root installs them")
    for name in [name for name in os.environ if name.startswith(("SLURM", "SBATCH"))]:
        monkeypatch.delenv(name)
    with tempfile.TemporaryDirectory(prefix="balsam-slurm-") as name:
        cluster = _started(Path(name))
        monkeypatch.setenv("SLURM_CONF", str(cluster.configuration))
        try:
            yield cluster
        finally:
            cluster.stop()


def _started(directory: Path) -> Slurm:
    """A cluster that runs. Ports that somebody else takes meanwhile: other ones."""
    for attempt in range(_TRIES):
        cluster = Slurm(directory / str(attempt))
        _configure(cluster)
        try:
            cluster.start()
            return cluster
        except _DidNotStart as error:
            problem = error
            cluster.stop()
        except BaseException:
            cluster.stop()
            raise
    pytest.fail(f"Slurm does not start: {problem}")


def _configure(cluster: Slurm) -> None:
    directory, user = cluster.directory, pwd.getpwuid(os.getuid()).pw_name
    for name in ("state", *(f"spool.{node}" for node in cluster.nodes)):
        (directory / name).mkdir(parents=True)
    host = socket.gethostname().partition(".")[0]
    controller, *ports = _free_ports(1 + len(cluster.nodes))
    nodes = "\n".join(
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CORES} RealMemory=1000"
        for node, port in zip(cluster.nodes, ports, strict=True)
    )
    lines = f"""
        ClusterName=test
        SlurmctldHost={host}(127.0.0.1)
        SlurmctldPort={controller}
        SlurmUser={user}
        SlurmdUser={user}
        AuthType=auth/none
        CredType=cred/none
        CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
        StateSaveLocation={directory}/state
        SlurmdSpoolDir={directory}/spool.%n
        SlurmctldPidFile={directory}/slurmctld.pid
        SlurmdPidFile={directory}/slurmd.%n.pid
        SlurmctldLogFile={directory}/slurmctld.log
        SlurmdLogFile={directory}/slurmd.%n.log
        MpiDefault=pmi2
        ProctrackType=proctrack/linuxproc
        TaskPlugin=task/none
        SelectType=select/cons_tres
        SelectTypeParameters=CR_Core
        SlurmdParameters=config_overrides
        SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
        AccountingStorageType=accounting_storage/none
        ReturnToService=2
        MessageTimeout=5
        SlurmctldTimeout=2
        SlurmdTimeout=5
        KillWait=3
        MinJobAge=300
        {nodes}
        PartitionName=debug Nodes={",".join(cluster.nodes)} Default=YES MaxTime=60 State=UP
    """
    cluster.configuration.write_text("".join(f"{line.strip()}\n" for line in lines.splitlines()))


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
