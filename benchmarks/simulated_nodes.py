"""``python -m benchmarks.simulated_nodes RECORD``: agents of thousands of nodes in one process, for a real launcher.

It stands in for `srun`: the launcher starts it with the environment of members, and it connects once for each node and
speaks as a member does. Runs are no processes: the first word of their arguments says how long they last [s], and at
that time they end. The first ones on each node last a part of that, so that ends come evenly from the beginning on.
Every second a line ``time running ended`` is added to RECORD.NODE, NODE the number of its first node: a launcher
starts the agents of thousands of nodes by several commands.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import os
import random
import secrets
import sys
import time
from typing import Any

from balsam_launcher.frames import Notice, Order, Start
from balsam_launcher.handshake import Hello, ask
from balsam_launcher.line import Line
from balsam_launcher.member import ENV_LAUNCHER, ENV_NODES, ENV_SECRET

_ANNOUNCE_SECONDS = 0.05
_TICK_SECONDS = 0.02
_AT_ONCE = 100  # connections that are being made


class SimulatedNode:
    """One node: its line to the launcher, and its runs."""

    def __init__(self, number: int, dice: random.Random, slots: int) -> None:
        self.number = number
        self._dice = dice
        self._fresh = slots
        self._line = Line()
        self._writer: asyncio.StreamWriter | None = None
        self.running: dict[int, int] = {}
        """Run id -> start [µs]."""
        self.due: list[tuple[float, int, int]] = []
        """(when, what, run id): notices that are to be sent."""

    async def serve(self, host: str, port: int, secret: bytes) -> None:
        """Connects, and serves until the launcher ends."""
        reader, writer = await asyncio.open_connection(host, port)
        hello = Hello(self.number, secrets.token_bytes(16), 0)
        _, received, beat_seconds = await ask(reader, writer, secret, hello)
        writer.write(self._line.resume(received))
        self._writer = writer
        beats = asyncio.create_task(self._beat(beat_seconds))
        with contextlib.suppress(OSError):  # the launcher is killed at the end
            while data := await reader.read(1 << 18):
                for message in self._line.feed(data):
                    self._obey(message)
        beats.cancel()
        writer.close()

    async def _beat(self, seconds: float) -> None:
        assert self._writer is not None
        await asyncio.sleep(self._dice.random() * seconds)
        while True:
            self._writer.write(self._line.passing([(Notice.BEAT, time.monotonic())]))
            await asyncio.sleep(seconds)

    def _obey(self, message: tuple[Any, ...]) -> None:
        if message[0] == Order.START:
            start = Start(*message)
            now = time.monotonic()
            self.running[start.run_id] = time.time_ns() // 1000
            seconds = float(start.argv[1])
            if self._fresh:
                self._fresh -= 1
                seconds *= self._dice.random()
            if seconds > _ANNOUNCE_SECONDS:
                heapq.heappush(self.due, (now + _ANNOUNCE_SECONDS, Notice.STARTED, start.run_id))
            heapq.heappush(self.due, (now + seconds, Notice.ENDED, start.run_id))
        elif message[0] == Order.STOP:
            self._end(message[1], -15, stopped=True)

    def tick(self, now: float) -> int:
        """Sends what is due; returns how many runs have ended."""
        notices: list[tuple[Any, ...]] = []
        ended = 0
        while self.due and self.due[0][0] <= now:
            _, kind, run_id = heapq.heappop(self.due)
            start_us = self.running.get(run_id)
            if start_us is None:
                continue
            if kind == Notice.STARTED:
                notices.append((Notice.STARTED, run_id, 1, start_us))
            else:
                del self.running[run_id]
                ended += 1
                notices.append((Notice.ENDED, run_id, 0, start_us, time.time_ns() // 1000, "", False))
        self._send(notices)
        return ended

    def _end(self, run_id: int, code: int, *, stopped: bool) -> None:
        start_us = self.running.pop(run_id, None)
        if start_us is not None:
            self._send([(Notice.ENDED, run_id, code, start_us, time.time_ns() // 1000, "", stopped)])

    def _send(self, notices: list[tuple[Any, ...]]) -> None:
        if notices and self._writer is not None:
            self._writer.write(self._line.frame(notices))


async def _serve(record: str) -> None:
    host, _, port = os.environ[ENV_LAUNCHER].rpartition(":")
    secret = bytes.fromhex(os.environ[ENV_SECRET])
    slots = int(os.environ["SIMULATED_SLOTS"])
    dice = random.Random(1)
    numbers = [int(one.rpartition("=")[2]) for one in os.environ[ENV_NODES].split(",")]
    nodes = [SimulatedNode(number, dice, slots) for number in numbers]
    tasks = []
    for begin in range(0, len(nodes), _AT_ONCE):
        tasks += [asyncio.create_task(node.serve(host, int(port), secret)) for node in nodes[begin : begin + _AT_ONCE]]
        await asyncio.sleep(0.1)
    everybody = asyncio.gather(*tasks)
    ended, told = 0, 0
    with open(f"{record}.{numbers[0]}", "a") as file:
        while not everybody.done():
            now = time.monotonic()
            ended += sum(node.tick(now) for node in nodes if node.due and node.due[0][0] <= now)
            if int(now) > told:
                told = int(now)
                print(f"{told} {sum(len(node.running) for node in nodes)} {ended}", file=file, flush=True)
            await asyncio.sleep(_TICK_SECONDS)
    await everybody


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
