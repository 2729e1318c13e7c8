"""The run commands that start node agents, and when they are started again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from balsam_launcher.member import ENV_NODES
from balsam_launcher.remote_agent import RemoteAgent
from balsam_launcher.starter_process import StarterProcess

log = logging.getLogger("balsam.launcher")

_START_SECONDS = 120.0
"""So long a run command may take to start agents; then those that have not come are started by another."""
_LOOK_SECONDS = 1.0
_PAUSE_SECONDS = (1.0, 60.0)
_MOST_VAIN_ROUNDS = 4
_MOST_VAIN_STARTS = 3
_VAIN_SECONDS = 30.0
"""A node is given up when so many starts have failed there, the first of them so long ago, while others work."""
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
        on_vain: called with the number of a node, why, and whether that was the last time, when no agent could be
            started there though others serve.
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
        on_vain: Callable[[int, str, bool], None],
        on_hopeless: Callable[[str], None],
    ) -> None:
        self._agents = agents
        self._command = command
        self._environ = environ
        self._log_file = log_file
        self._on_ended = on_ended
        self._on_vain = on_vain
        self._on_hopeless = on_hopeless
        self._starters: list[StarterProcess] = []
        self._vain_starts: Counter[int] = Counter()
        self._vain_since: dict[int, float] = {}
        self._to_tell: dict[int, str] = {}
        self._given_up: set[int] = set()
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

    def came(self, node: int) -> None:
        """The agent of a node has come: it works."""
        del self._vain_starts[node]
        self._vain_since.pop(node, None)
        self._to_tell.pop(node, None)
        self._vain_rounds = 0
        self._pause = _PAUSE_SECONDS[0]

    def expects(self, node: int) -> bool:
        """Whether an agent may still come to a node that has none."""
        return node not in self._given_up

    async def close(self, patience: float) -> None:
        """Waits for the run commands to end, as they do when their members have; after `patience` seconds ends them."""
        await asyncio.gather(*(asyncio.to_thread(starter.wait, patience) for starter in self._starters))
        starters, self._starters = self._starters, []  # nobody hears them any more, or closes them again
        for starter in starters:
            starter.hear()
            starter.close()

    def _look(self) -> None:
        for starter in list(self._starters):
            has_ended = starter.has_ended  # before it is heard: then nothing is missed
            starter.hear()
            self._leave_out(starter)
            if has_ended:
                self._starters.remove(starter)
                self._ended(starter)
                starter.close()
        self._end_those_that_hang()
        self._tell()
        missing = self._missing()
        if missing and time.monotonic() >= self._not_before:
            self._start_round(missing)

    def _missing(self) -> list[int]:
        """Nodes without an agent for which no run command is at work.

        One that is out of reach for a moment is none of them: a second agent would end the runs of the first.
        """
        now = time.monotonic()
        coming = {node for starter in self._starters if now < starter.patience_until for node in starter.nodes}
        without = coming | self._given_up
        return [agent.node for agent in self._agents if agent.is_gone and agent.node not in without]

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
            words = list(self._command(names))
            starter = StarterProcess(nodes, words, environ, self._log_file, _START_SECONDS)
        except OSError as error:
            self._in_vain(nodes, f"{error.filename}: {error.strerror}")
            return
        log.info("starting %d node agents: %s", len(nodes), " ".join(starter.words))
        for before in self._starters:  # what becomes of it says nothing of these any more
            late = [node for node in before.nodes if node in nodes]
            self._failed([node for node in late if not self._has_come(node, before)], _too_late())
            before.nodes = [node for node in before.nodes if node not in late]
        self._starters.append(starter)

    def _has_come(self, node: int, starter: StarterProcess) -> bool:
        return self._agents[node].came_at > starter.began

    def _leave_out(self, starter: StarterProcess) -> None:
        """It goes on without some of its nodes, as it says: no need to wait for those."""
        if not starter.without or not any(self._has_come(node, starter) for node in starter.nodes):
            return
        for node in [node for node in starter.nodes if not self._has_come(node, starter)]:
            reason = starter.without.get(self._agents[node].name)
            if reason is not None:
                starter.nodes.remove(node)
                self._failed([node], reason)

    def _ended(self, starter: StarterProcess) -> None:
        came = [node for node in starter.nodes if self._has_come(node, starter)]
        log.warning("the run command of %d node agents ended with %s", len(starter.nodes), starter.status)
        for node in starter.nodes:
            self._agents[node].has_ended()
        if came:
            self._on_ended(came)
            self._failed([node for node in starter.nodes if node not in came], starter.reason)
        elif starter.nodes:
            self._in_vain(starter.nodes, starter.reason)

    def _end_those_that_hang(self) -> None:
        now = time.monotonic()
        for starter in self._starters:
            if now > starter.patience_until and not any(self._agents[node].serves for node in starter.nodes):
                if any(not self._agents[node].is_gone for node in starter.nodes):
                    continue  # out of reach for a moment
                log.error("%s: ending %s", _too_late(), starter.words[0])
                starter.last_words = starter.last_words or _too_late()
                starter.kill()

    def _in_vain(self, nodes: Sequence[int], reason: str) -> None:
        """A run command has started nobody: one node may keep it from starting any, so fewer are tried at once."""
        log.error("no node agent was started on %d nodes: %s", len(nodes), reason)
        self._at_once = max(1, min(self._at_once, len(nodes) // 8))
        if not self._round_was_vain:
            self._round_was_vain = True
            self._vain_rounds += 1
        if len(nodes) == 1:
            self._failed(nodes, reason)
        if self._vain_rounds >= _MOST_VAIN_ROUNDS and not any(agent.serves for agent in self._agents):
            names = ", ".join(agent.name for agent in self._agents[:3])
            self._on_hopeless(f"no node agent can be started on {names}: {reason}")

    # Nodes without one

    def _failed(self, nodes: Sequence[int], reason: str) -> None:
        """It is these nodes that have no agent, and not the run command."""
        for node in nodes:
            self._vain_starts[node] += 1
            self._vain_since.setdefault(node, time.monotonic())
            self._to_tell[node] = reason

    def _tell(self) -> None:
        """Where no agent serves, that says nothing of any node."""
        if not self._to_tell or not any(agent.serves for agent in self._agents):
            return
        for node, reason in self._to_tell.items():
            long_ago = self._vain_since[node] + _VAIN_SECONDS <= time.monotonic()
            if long_ago and self._vain_starts[node] >= _MOST_VAIN_STARTS:
                self._given_up.add(node)
            self._on_vain(node, reason, node in self._given_up)
        self._to_tell.clear()


def _too_late() -> str:
    return f"no node agent has come within {_START_SECONDS:g} s"
