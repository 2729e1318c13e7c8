"""Reading outputs while a file system hangs."""

from __future__ import annotations

import asyncio
import threading

import pytest

from balsam.outputs import OutputFile
from balsam_launcher.reading import THREADS, read_aside


def test_files_that_hang_leave_threads_for_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    comes_back = threading.Event()

    def hang(file: OutputFile, offset: int) -> tuple[bytes, int]:
        assert comes_back.wait(60)
        return b"data", offset

    monkeypatch.setattr(OutputFile, "read", hang)

    async def look() -> list[tuple[bytes, int]]:
        reads = [asyncio.create_task(read_aside(OutputFile("/gone", "run.out"), 3)) for _ in range(THREADS + 40)]
        try:
            async with asyncio.timeout(20):
                await asyncio.to_thread(lambda: None)
        finally:
            comes_back.set()
        return await asyncio.gather(*reads)

    assert asyncio.run(look()) == [(b"data", 3)] * (THREADS + 40)
