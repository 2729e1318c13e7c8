"""``python -m balsam_launcher.member``: keeps the node agent of another node, and the line to the launcher.

One is started on each node by the run command of the allocation (`srun`, `mpiexec`, ...), as a rank. It is to the agent
what the launcher is on its own host: it starts it, with its warden, and hands on what either side says. Where the line
breaks it connects again, and the runs go on for as long as the launcher has said that they may.

Nothing here speaks MPI: a rank that is lost would end the others, and waiting for messages would keep a core busy.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import re
import secrets
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from balsam.commands import base_environment
from balsam.outputs import OutputFile
from balsam.processes import become_subreaper
from balsam_launcher.agent_keeper import AgentKeeper
from balsam_launcher.frames import Notice, Order
from balsam_launcher.handshake import ACCEPTED, REPLACED, STALE, Hello, NotOurs, ask
from balsam_launcher.leftovers import kill_marked
from balsam_launcher.line import Garbled, Line
from balsam_launcher.reading import read_aside

log = logging.getLogger("balsam.launcher")

ENV_LAUNCHER = "BALSAM_MEMBER_OF"
"""``HOST:PORT`` of the launcher."""
ENV_SECRET = "BALSAM_MEMBER_SECRET"
ENV_ENSEMBLE = "BALSAM_ENSEMBLE"
"""Marks what an ensemble has started on a node."""
ENV_NODES = "BALSAM_MEMBER_NODES"
"""Names of the nodes that members are started for, and the number of each: ``name=number,...``, in order of rank."""

_RANKS = (
    *("SLURM_PROCID", "PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "PALS_RANKID", "ALPS_APP_PE"),
    "FLUX_TASK_RANK",
)
_CHOOSES_HOSTS = "JSM_NAMESPACE_RANK"
"""Set by jsrun, which takes no names of hosts: which of the allocation's it has taken, only the host can tell."""
_OF_A_RANK = re.compile(
    r"(PMI|PMIX|OMPI|PRTE|PALS|HYDI?|MPI|MPIR|JSM|I_MPI_HYDRA)_\w+|HYDRA_\w+|FLUX_TASK_\w+|ALPS_APP_PE"
    r"|SLURM_(PROCID|LOCALID|NODEID|GTIDS|TASK_PID|STEPID|STEPMGR|NTASKS|NPROCS|DISTRIBUTION|LAUNCH_NODE_IPADDR)"
    r"|SLURM_(STEP|SRUN|CPU_BIND|TASKS)_\w+|SLURM_CPU_BIND|SLURM_UMASK|SLURM_PMI\w*"
)
"""Variables by which a rank knows itself: an MPI program that finds them takes itself for a part of the ensemble."""

_CONNECT_SECONDS = 10.0
_PAUSE_SECONDS = (0.05, 2.0)
_REFUSED_SECONDS = 3.0
"""Nobody listens any more, for so long: the launcher is gone. Out of reach is something else."""
_SILENT_BEATS = 3
_READ_BYTES = 1 << 18


@dataclass(frozen=True)
class Membership:
    """Whom this member belongs to.

    Attributes:
        host: of the launcher.
        port: of the launcher.
        secret: see `handshake`.
        node: number of this node.
        mark: value of ENV_ENSEMBLE for what is started on this node.
    """

    host: str
    port: int
    secret: bytes
    node: int
    mark: str


def membership(environ: Mapping[str, str], host: str) -> Membership:
    """From the environment that the launcher made.

    Args:
        environ: the environment.
        host: the name of this host.

    Raises:
        ValueError: it was not started by a launcher, or no node can be found that this is.
    """
    try:
        address, secret = environ[ENV_LAUNCHER], bytes.fromhex(environ[ENV_SECRET])
        nodes = [
            (name, int(number)) for name, _, number in (one.rpartition("=") for one in environ[ENV_NODES].split(","))
        ]
        mark = environ[ENV_ENSEMBLE]
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is not set: only a launcher starts this") from None
    launcher, _, port = address.rpartition(":")
    node = which_node(environ, host, nodes)
    return Membership(launcher, int(port), secret, node, f"{mark}:{node}")


def which_node(environ: Mapping[str, str], host: str, nodes: list[tuple[str, int]]) -> int:
    """The number of this node: by the name that the batch system gives it, by the host's, else by the rank.

    Raises:
        ValueError: neither tells.
    """
    chosen_by_name = _CHOOSES_HOSTS not in environ
    if len(nodes) == 1 and chosen_by_name:
        return nodes[0][1]
    for name in (environ.get("SLURMD_NODENAME", ""), host):
        short = name.partition(".")[0]
        found = [number for node, number in nodes if name and short == node.partition(".")[0]]
        if len(found) == 1:
            return found[0]
    for variable in _RANKS if chosen_by_name else ():
        rank = environ.get(variable, "")
        if rank.isdecimal() and int(rank) < len(nodes):
            return nodes[int(rank)][1]
    names = ", ".join(name for name, _ in nodes)
    if not chosen_by_name:
        raise ValueError(f"jsrun has started an agent on {host}, where one was wanted on {names}")
    raise ValueError(f"{host} is none of {names}, and no variable tells the rank")


def without_ranks(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without what makes its process a rank."""
    return {name: value for name, value in environ.items() if not _OF_A_RANK.fullmatch(name)}


class Member:
    """The loop between a launcher and an agent.

    Args:
        of: whom it belongs to.
        environ: what the agent hands on to runs.
    """

    def __init__(self, of: Membership, environ: Mapping[str, str]) -> None:
        self._of = of
        self._environ = {**environ, ENV_ENSEMBLE: of.mark}
        self._leaving = asyncio.Event()
        self._line = Line()
        self._incarnation = b""
        self._starts_from = 0
        self._writer: asyncio.StreamWriter | None = None
        self._keeper: AgentKeeper | None = None
        self._waiting: list[tuple[Any, ...]] = []
        """Orders that came while there was no agent."""
        self._reading: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Serves until the launcher ends; returns the exit status."""
        while True:
            # What an earlier member has left here must not run beside us.
            kill_marked(ENV_ENSEMBLE, self._of.mark)
            self._line, self._incarnation, self._starts_from = Line(), secrets.token_bytes(16), 0
            self._keeper = self._new_keeper()
            self._waiting = []
            await self._keeper.start()
            verdict = await self._stay_connected()
            await self._keeper.close()
            if verdict != STALE:
                return 0

    def _new_keeper(self) -> AgentKeeper:
        return AgentKeeper(
            self._environ,
            Path(os.devnull),
            on_notices=self._tell,
            on_lost=self._lost,
            on_back=self._back,
            on_hopeless=self._leave,
        )

    def _leave(self) -> None:
        """No agent stays up here. Somebody else may see to that: what is left of this one ends."""
        self._leaving.set()
        if self._writer is not None:
            self._writer.close()

    def _lost(self) -> None:
        self._tell([(Notice.RUNS_LOST,)])
        # What the launcher orders before it knows counts as lost there, and must not be started by the next agent.
        self._starts_from = self._line.sent

    def _back(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._hand_on(waiting)

    def _hand_on(self, orders: list[tuple[Any, ...]]) -> None:
        assert self._keeper is not None
        if not self._keeper.serves:
            self._waiting += orders
            return
        for order in orders:
            self._keeper.order(*order)
        self._keeper.flush()

    def _tell(self, notices: list[tuple[Any, ...]]) -> None:
        frame = self._line.frame(notices)
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(frame)

    # The line

    async def _stay_connected(self) -> int:
        """Until the launcher ends, or gives this agent up: STALE, or REPLACED by another."""
        pause, refused_since = _PAUSE_SECONDS[0], 0.0
        while not self._leaving.is_set():
            try:
                verdict = await self._converse()
                if verdict != ACCEPTED:
                    return verdict
                pause, refused_since = _PAUSE_SECONDS[0], 0.0
            except ConnectionRefusedError:
                refused_since = refused_since or time.monotonic()
                if time.monotonic() - refused_since > _REFUSED_SECONDS:
                    log.warning("the launcher is gone")
                    return REPLACED
            except (OSError, EOFError, TimeoutError, Garbled) as error:
                log.info("no line to the launcher: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), pause)
            pause = min(2 * pause, _PAUSE_SECONDS[1])
        return REPLACED

    async def _converse(self) -> int:
        """One connection; returns the launcher's verdict."""
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(self._of.host, self._of.port)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                hello = Hello(self._of.node, self._incarnation, self._line.received)
                verdict, received, beat_seconds = await ask(reader, writer, self._of.secret, hello)
            if verdict != ACCEPTED:
                return verdict
            writer.write(self._line.resume(received))
            self._writer = writer
            beats = asyncio.create_task(self._beat(writer, beat_seconds))
            try:
                await self._listen(reader, beat_seconds * _SILENT_BEATS)
            finally:
                beats.cancel()
        finally:
            self._writer = None
            writer.close()
        return verdict

    async def _listen(self, reader: asyncio.StreamReader, patience: float) -> None:
        while data := await asyncio.wait_for(reader.read(_READ_BYTES), patience):
            orders: list[tuple[Any, ...]] = []
            try:
                for message in self._line.feed(data):
                    if message[0] in (Order.TRUST, Order.LEAVE, Order.KILL, Order.PING, Order.READ):
                        self._obey(*message)
                    elif message[0] != Order.START or self._line.known >= self._starts_from:
                        orders.append(message)
            finally:  # also where something odd follows: these will not come again
                self._hand_on(orders)

    def _obey(self, order: int, *rest: Any) -> None:
        """What is for who keeps the agent."""
        assert self._keeper is not None
        if order == Order.TRUST:
            self._keeper.trust(*rest)
        elif order == Order.KILL:
            self._keeper.kill()
        elif order == Order.PING:
            self._pass([(Notice.ALIVE, *rest)])
        elif order == Order.READ:
            read = asyncio.create_task(self._read_output(*rest))
            self._reading.add(read)
            read.add_done_callback(self._reading.discard)
        else:
            self._leaving.set()

    async def _read_output(self, question: int, *rest: Any) -> None:
        *file, offset = rest
        try:
            answer: tuple[Any, ...] = await read_aside(OutputFile(*file), offset)
        except OSError as error:
            answer = error.errno or errno.EIO, error.strerror or str(error)
        self._pass([(Notice.OUTPUT, question, *answer)])

    def _pass(self, notices: list[tuple[Any, ...]]) -> None:
        """Tells what would be out of date on another connection."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(self._line.passing(notices))

    async def _beat(self, writer: asyncio.StreamWriter, seconds: float) -> None:
        while not writer.is_closing():
            writer.write(self._line.passing([(Notice.BEAT, time.monotonic())]))
            await asyncio.sleep(seconds)


def main() -> int:
    """The process; returns its exit status."""
    # Whom a batch system signals is the launcher; members end with it, and after its runs.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format=f"node agent on {socket.gethostname()}: %(message)s")
    become_subreaper()
    try:
        of = membership(os.environ, socket.gethostname())
    except ValueError as error:
        print(f"balsam_launcher.member: {error}", file=sys.stderr)
        return 2
    environ = without_ranks(base_environment(os.environ))
    for name in (ENV_LAUNCHER, ENV_SECRET, ENV_NODES):
        environ.pop(name, None)
    try:
        return asyncio.run(Member(of, environ).run())
    except (NotOurs, OSError) as error:
        print(f"balsam_launcher.member: {of.host}:{of.port}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
