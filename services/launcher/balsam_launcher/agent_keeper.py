"""Keeps a node agent running: when one dies, its runs are ended and another takes its place."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from balsam.processes import become_subreaper, process_table
from balsam_launcher.agent_link import AgentLink
from balsam_launcher.leftovers import kill_leftovers

log = logging.getLogger("balsam.launcher")

_PAUSE_SECONDS = 1.0  # before another agent follows one that died young, or could not be started
_YOUNG_SECONDS = 1.0
_MOST_YOUNG_DEATHS = 5


class AgentKeeper:
    """The agent of this host, whichever process it is.

    Args:
        environ: what it hands on to runs.
        log_file: takes what its Python may print when it fails.
        on_notices: called with what it tells.
        on_lost: called when it has died; no process of its runs is left then.
        on_back: called when another one serves.
        on_hopeless: called instead of trying once more, when several in a row died as soon as they were started.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        log_file: Path,
        *,
        on_notices: Callable[[list[tuple[Any, ...]]], None],
        on_lost: Callable[[], None],
        on_back: Callable[[], None],
        on_hopeless: Callable[[], None],
    ) -> None:
        self._environ = environ
        self._log_file = log_file
        self._on_notices = on_notices
        self._on_lost = on_lost
        self._on_back = on_back
        self._on_hopeless = on_hopeless
        self._young_deaths = 0
        self._trust: tuple[float, float, float] | None = None
        self._link: AgentLink | None = None
        self._began = 0.0
        self._replacing: asyncio.Task[None] | None = None
        self._keep = process_table().children(os.getpid())

    @property
    def serves(self) -> bool:
        """Whether there is an agent now."""
        return self._link is not None

    async def start(self) -> None:
        """Starts the first agent."""
        become_subreaper()
        await self._start()

    def order(self, *order: Any) -> None:
        """Something for it to do, sent by `flush`; without an agent there is nothing to stop, and nothing starts."""
        if self._link is not None:
            self._link.order(*order)

    def trust(self, until: float, grace: float, deadline: float) -> None:
        """Until when it may start runs and let them run, the grace at that end [s], and when all of them must be gone.

        By the monotonic clock, and sent at once. An agent that takes the place of another is told too.
        """
        self._trust = (until, grace, deadline)
        if self._link is not None:
            self._link.trust(*self._trust)

    def kill(self) -> None:
        """Ends an agent that does not do as it is told; what then happens is what happens when one dies."""
        if self._link is not None:
            log.error("the node agent does not end its runs: killing it")
            self._link.kill()

    def flush(self) -> None:
        """Sends the orders there are."""
        if self._link is not None:
            self._link.flush()

    async def close(self) -> None:
        """Lets the agent go; it ends what it still runs."""
        if self._replacing is not None:
            self._replacing.cancel()
        if self._link is not None:
            await self._link.close()

    async def _start(self) -> None:
        link = AgentLink(self._log_file, self._on_notices, self._lost)
        self._began = time.monotonic()
        await link.start(self._environ)
        self._link = link
        if self._trust is not None:
            self.trust(*self._trust)

    def _lost(self) -> None:
        # Its runs have become our children, and nobody watches them any more.
        self._link = None
        killed = kill_leftovers(self._keep)
        log.error("the node agent was lost; %d processes of its runs were killed", killed)
        self._on_lost()
        self._young_deaths = self._young_deaths + 1 if time.monotonic() - self._began < _YOUNG_SECONDS else 0
        if self._young_deaths >= _MOST_YOUNG_DEATHS:
            self._on_hopeless()
        else:
            self._replacing = asyncio.get_running_loop().create_task(self._replace())

    async def _replace(self) -> None:
        if self._young_deaths:
            await asyncio.sleep(_PAUSE_SECONDS)
        while self._link is None:
            try:
                await self._start()
            except OSError as error:
                log.error("cannot start a node agent: %s", error)
                await asyncio.sleep(_PAUSE_SECONDS)
        self._on_back()
