"""Reads output files beside all else that a launcher, or who keeps an agent, has threads for."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from balsam.outputs import OutputFile

THREADS = 4
"""So many read at once."""
_threads = ThreadPoolExecutor(THREADS, "outputs")


async def read_aside(file: OutputFile, offset: int) -> tuple[bytes, int]:
    """Some of an output; see `OutputFile.read`.

    In threads of its own: where a file system hangs, as those of networks do, readers of outputs must not take the
    threads in which the ledger is written and sessions are opened.

    Raises:
        OSError: it cannot be read.
    """
    return await asyncio.get_running_loop().run_in_executor(_threads, file.read, offset)
