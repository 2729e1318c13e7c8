"""How long runs of each application take, for a launcher that may go by that (the setting `fit_by_history`)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping

from balsam.client import Client
from balsam.errors import BalsamError
from balsam.run_times import expected_minutes
from balsam.site import Site
from balsam_launcher.leased import LeasedJob

log = logging.getLogger("balsam.launcher")

_AGAIN_SECONDS = 600.0
_MOST_NAMES = 1000  # as many as count


class Experience:
    """What the history tells of applications; without the setting it knows of none, and nothing is read.

    Args:
        site: the site.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._share = site.settings.fit_by_history
        self._task: asyncio.Task[None] | None = None
        self.expected: Mapping[str, int] = {}
        """Application -> minutes within which the wanted share of its runs ended."""

    async def start(self) -> None:
        """Reads the history, and again from time to time."""
        if self._share > 0:
            await self._learn()
            self._task = asyncio.create_task(self._go_on())

    def stop(self) -> None:
        """Reads no more."""
        if self._task is not None:
            self._task.cancel()

    def minutes(self, leased: LeasedJob) -> int:
        """How long a run may take [minutes]: what its job says, or less by experience."""
        expected = self.expected.get(leased.program.name) if leased.program is not None else None
        return leased.minutes if expected is None else min(leased.minutes, expected)

    def quick(self, minutes_left: int | None) -> list[str]:
        """Applications whose runs end in so many minutes, those first that take least; None: there is no limit."""
        if minutes_left is None or not self.expected:
            return []
        fitting = sorted((minutes, name) for name, minutes in self.expected.items() if minutes <= minutes_left)
        return [name for _, name in fitting[:_MOST_NAMES]]

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(_AGAIN_SECONDS)
            await self._learn()

    async def _learn(self) -> None:
        try:
            self.expected = await asyncio.to_thread(self._read)
        except BalsamError as error:
            log.warning("how long runs take is not known: %s", error)
        else:
            log.info("minutes that runs take, by application: %s", dict(self.expected))

    def _read(self) -> Mapping[str, int]:
        with contextlib.closing(Client(self._site)) as client:
            return expected_minutes(client)
