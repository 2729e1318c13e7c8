"""The live line of a launcher on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from rich.console import Console
from rich.status import Status

from balsam_launcher.launcher import Launcher

_FRAME_SECONDS = 0.25


def line(launcher: Launcher, rate: float) -> str:
    """The text of the line.

    Args:
        launcher: the launcher.
        rate: runs that ended lately [1/s].
    """
    parts = [
        f"{len(launcher.pool.running)} running",
        f"{len(launcher.pool.waiting) + len(launcher.pool.queued)} waiting",
        f"{launcher.outcomes.ended} ended",
        f"{launcher.outcomes.errors} with errors",
        f"{rate:.1f}/s",
    ]
    left = launcher.seconds_left
    if left is not None:
        parts.append(f"{int(left // 60)}:{int(left % 60):02d} left")
    if launcher.draining:
        parts.append("draining")
    return f"{launcher.nodes[0].name}, {launcher.options.job_mode}: " + ", ".join(parts)


@contextlib.asynccontextmanager
async def shown(launcher: Launcher) -> AsyncIterator[None]:
    """Shows the line on stderr, as long as the context lasts; the last state of it stays."""
    console = Console(stderr=True)
    with console.status(line(launcher, 0.0)) as status:
        task = asyncio.create_task(_update(launcher, status))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    console.print(f"{launcher.outcomes.ended} runs ended, {launcher.outcomes.errors} with errors", highlight=False)


async def _update(launcher: Launcher, status: Status) -> None:
    rate, ended, then = 0.0, launcher.outcomes.ended, time.monotonic()
    while True:
        await asyncio.sleep(_FRAME_SECONDS)
        now = time.monotonic()
        rate += 0.3 * ((launcher.outcomes.ended - ended) / (now - then) - rate)
        ended, then = launcher.outcomes.ended, now
        status.update(line(launcher, rate))
