"""The run commands that start node agents, and when they are started again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from balsam_launcher.member import ENV_NODES
from balsam_launcher.remote_agent import RemoteAgent

log = logging.getLogger("balsam.launcher")

_START_SECONDS = 120.0
"""So long a run command may take to start agents; then those that have not come are started by another."""
_LOOK_SECONDS = 1.0
_PAUSE_SECONDS = (1.0, 60.0)
_MOST_VAIN_ROUNDS = 4
_MOST_AT_ONCE = 1000  # nodes of one run command: their names are one variable, and a part of its command line
_MOST_COMMANDS = 16  # in a round


class Starters:
    """Sees to it that each node has an agent.

    Args:
        agents: those of the nodes, by number.
        command: makes the command line that starts members on some of the nodes, given their names.
        environ: the environment of members.
        log_file: takes what run commands and members print.
        on_ended: called with the numbers of the nodes whose run command has ended, and their agents with it.
        on_hopeless: called with the reason when no agent can be started at all.
    """

    def __init__(
        self,
        agents: Sequence[RemoteAgent],
        command: Callable[[Sequence[str]], Sequence[str]],
        environ: Mapping[str, str],
        log_file: Path,
        *,
        on_ended: Callable[[Sequence[int]], None],
        on_hopeless: Callable[[str], None],
    ) -> None:
        self._agents = agents
        self._command = command
        self._environ = environ
        self._log_file = log_file
        self._on_ended = on_ended
        self._on_hopeless = on_hopeless
        self._starters: list[_Starter] = []
        self._at_once = _MOST_AT_ONCE
        self._pause = _PAUSE_SECONDS[0]
        self._not_before = 0.0
        self._vain_rounds = 0
        self._round_was_vain = False

    async def run(self) -> None:
        """Starts agents where there are none, for ever."""
        while True:
            try:
                self._look()
            except Exception:  # one odd run command must not stop the others
                log.exception("cannot see to the node agents")
            await asyncio.sleep(_LOOK_SECONDS)

    def came(self) -> None:
        """An agent has come: it works."""
        self._vain_rounds = 0
        self._pause = _PAUSE_SECONDS[0]

    async def close(self, patience: float) -> None:
        """Waits for the run commands to end, as they do when their members have; after `patience` seconds ends them."""
        await asyncio.gather(*(starter.end(patience) for starter in self._starters))

    def _look(self) -> None:
        for starter in [starter for starter in self._starters if starter.has_ended]:
            self._starters.remove(starter)
            self._ended(starter)
        self._end_those_that_hang()
        missing = self._missing()
        if missing and time.monotonic() >= self._not_before:
            self._start_round(missing)

    def _missing(self) -> list[int]:
        """Nodes without an agent for which no run command is at work.

        One that is out of reach for a moment is none of them: a second agent would end the runs of the first.
        """
        now = time.monotonic()
        coming = {node for starter in self._starters if now < starter.patience_until for node in starter.nodes}
        return [agent.node for agent in self._agents if agent.is_gone and agent.node not in coming]

    def _start_round(self, nodes: list[int]) -> None:
        self._not_before = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _PAUSE_SECONDS[1])
        self._round_was_vain = False
        for first in range(0, min(len(nodes), _MOST_COMMANDS * self._at_once), self._at_once):
            self._start(nodes[first : first + self._at_once])

    def _start(self, nodes: list[int]) -> None:
        names = [self._agents[node].name for node in nodes]
        environ = {**self._environ, ENV_NODES: ",".join(f"{self._agents[node].name}={node}" for node in nodes)}
        try:
            starter = _Starter(nodes, list(self._command(names)), environ, self._log_file)
        except OSError as error:
            self._in_vain(len(nodes), f"{error.filename}: {error.strerror}")
            return
        log.info("starting %d node agents: %s", len(nodes), " ".join(starter.words))
        for before in self._starters:  # what becomes of it says nothing of these any more
            before.nodes = [node for node in before.nodes if node not in nodes]
        self._starters.append(starter)

    def _ended(self, starter: _Starter) -> None:
        came = [node for node in starter.nodes if self._agents[node].came_at > starter.began]
        log.warning("the run command of %d node agents ended with %s", len(starter.nodes), starter.status)
        for node in starter.nodes:
            self._agents[node].has_ended()
        if came:
            self._on_ended(came)
        elif starter.nodes:
            self._in_vain(len(starter.nodes), starter.last_words or f"it ended with {starter.status}")

    def _end_those_that_hang(self) -> None:
        now = time.monotonic()
        for starter in self._starters:
            if now > starter.patience_until and not any(self._agents[node].serves for node in starter.nodes):
                if any(not self._agents[node].is_gone for node in starter.nodes):
                    continue  # out of reach for a moment
                log.error("no node agent has come within %g s: ending %s", _START_SECONDS, starter.words[0])
                starter.kill()

    def _in_vain(self, count: int, reason: str) -> None:
        """A run command has started nobody: one node may keep it from starting any, so fewer are tried at once."""
        log.error("no node agent was started on %d nodes: %s", count, reason)
        self._at_once = max(1, min(self._at_once, count // 8))
        if not self._round_was_vain:
            self._round_was_vain = True
            self._vain_rounds += 1
        if self._vain_rounds >= _MOST_VAIN_ROUNDS and not any(agent.serves for agent in self._agents):
            names = ", ".join(agent.name for agent in self._agents[:3])
            self._on_hopeless(f"no node agent can be started on {names}: {reason}")


class _Starter:
    """One run command, which starts members on some nodes."""

    def __init__(self, nodes: list[int], words: list[str], environ: Mapping[str, str], log_file: Path) -> None:
        self.nodes = nodes
        self.words = words
        self.began = time.monotonic()
        self.patience_until = self.began + _START_SECONDS
        self._log_file = log_file
        with self._open_log() as log:
            self._log_began = log.seek(0, os.SEEK_END)
            # A session of its own: what a terminal or a batch system sends to our group is for us to handle.
            self._process = subprocess.Popen(
                words, env=dict(environ), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _open_log(self) -> IO[bytes]:
        try:
            return open(self._log_file, "ab")
        except OSError:  # a full disk must not stop anything
            return open(os.devnull, "ab")

    @property
    def has_ended(self) -> bool:
        """Whether the run command has."""
        return self._process.poll() is not None

    @property
    def status(self) -> str:
        """How it ended, for people."""
        code = self._process.poll()
        return "nothing" if code is None else f"exit status {code}" if code >= 0 else f"signal {-code}"

    @property
    def last_words(self) -> str:
        """The last line that came of it."""
        try:
            with open(self._log_file, "rb") as file:
                file.seek(self._log_began)
                lines = deque(file.read(1 << 16).decode("utf-8", "replace").splitlines(), maxlen=20)
        except OSError:
            return ""
        said = [line.strip() for line in lines if line.strip()]
        return said[-1] if said else ""

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()

    async def end(self, patience: float) -> None:
        """Waits for its end; after `patience` seconds ends it."""
        for stop in (self._process.terminate, self._process.kill):
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, patience)
                return
            stop()
        await asyncio.to_thread(self._process.wait)
