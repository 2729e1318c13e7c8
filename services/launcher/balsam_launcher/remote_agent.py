"""The agent of another node, as the launcher sees it: orders go out, notices come in, and connections come and go.

The node may be out of reach while its runs go on. They are lost for certain only when the time has passed until which
the agent was told that it may let them run: then it has ended them, or its warden has, or the node is gone.

Times go to the agent by its own clock. The difference is taken from its signs of life, which tell its time: when one
arrives, that clock shows at least as much. So an end of trust is never later there than it is here.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import logging
import time
from collections.abc import Callable
from typing import Any

from balsam.outputs import OutputFile
from balsam_launcher.frames import Notice, Order
from balsam_launcher.handshake import ACCEPTED, REPLACED, STALE, Hello, verdict
from balsam_launcher.line import Line

log = logging.getLogger("balsam.launcher")

_READ_BYTES = 1 << 18
_ANSWER_SECONDS = 10.0
_SILENT_BEATS = 3
_SLACK_SECONDS = 0.5
"""After the end of its time, an agent and its runs are given so long to be gone."""
_BACK_SECONDS = 30.0
"""A node whose clock is so much further back than it was has been started anew: that clock counts from there. Signs of
life that come late set it back by less."""


class RemoteAgent:
    """One node's agent, whichever process and connection it has at the moment.

    Args:
        node: its number.
        name: its name, for people.
        on_notices: called with what it tells.
        on_change: called when it has come within reach, or has gone out of it.
        on_lost: called with why, when the runs that it had are certainly gone.
        on_alive: called with the number of the last question (`ask`) that it has answered.
        on_down: called with why, when its whole node was lost, with what others than the agent had started there.
    """

    def __init__(
        self,
        node: int,
        name: str,
        *,
        on_notices: Callable[[list[tuple[Any, ...]]], None],
        on_change: Callable[[RemoteAgent], None],
        on_lost: Callable[[RemoteAgent, str], None],
        on_alive: Callable[[RemoteAgent, int], None],
        on_down: Callable[[RemoteAgent, str], None],
    ) -> None:
        self.node = node
        self.name = name
        self.came_at = 0.0
        """When its process last came for the first time, by the monotonic clock."""
        self._on_notices = on_notices
        self._on_change = on_change
        self._on_lost = on_lost
        self._on_alive = on_alive
        self._on_down = on_down
        self._question = self._answered = 0
        self._reads: dict[int, asyncio.Future[tuple[Any, ...]]] = {}
        self._reads_asked = 0
        self._incarnation = b""
        self._given_up: set[bytes] = set()
        self._ended = False
        self._closed = False
        self._line = Line()
        self._orders: list[tuple[Any, ...]] = []
        self._writer: asyncio.StreamWriter | None = None
        self._clock_ahead = 0.0
        self._last_ahead: float | None = None
        self._trust: tuple[float, float, float] | None = None
        self._deadline = 0.0
        self._patience: asyncio.TimerHandle | None = None

    @property
    def serves(self) -> bool:
        """Whether it is within reach now."""
        return self._writer is not None

    @property
    def is_gone(self) -> bool:
        """Whether another may be started in its place: it is out of reach, and will not come back with its runs."""
        return self._writer is None and (self._ended or not self._incarnation)

    def has_ended(self) -> None:
        """Its process is known to have ended."""
        self._ended = True

    def order(self, *order: Any) -> None:
        """Something for it to do, sent by `flush`. Out of reach it starts nothing; stops wait until it is back."""
        self._orders.append(order)

    def flush(self) -> None:
        """Sends the orders there are."""
        if not self._orders:
            return
        if self._incarnation:
            self._write(self._line.frame(self._orders))
        self._orders.clear()

    def trust(self, until: float, grace: float, deadline: float) -> None:
        """Until when it may start runs and let them run, and when all of them must be gone; by our monotonic clock."""
        self._trust = (until, grace, deadline)
        self._tell_trust()

    def ask(self, question: int) -> None:
        """Asks for a sign of life that is later than this; out of reach, as soon as it is back. Numbers rise."""
        self._question = question
        self._put_question()

    def _put_question(self) -> None:
        if self._question > self._answered:
            self._write(self._line.passing([(Order.PING, self._question)]))

    async def read_output(self, file: OutputFile, offset: int) -> tuple[bytes, int]:
        """What its node has of a file; see `OutputFile.read`.

        Raises:
            OSError: it cannot be read, or no answer comes.
        """
        self._reads_asked += 1
        question = self._reads_asked
        answer = self._reads[question] = asyncio.get_running_loop().create_future()
        try:
            self._write(self._line.passing([(Order.READ, question, *dataclasses.astuple(file), offset)]))
            async with asyncio.timeout(_ANSWER_SECONDS if self.serves else 0.0):
                first, second = await answer
        except TimeoutError:
            raise OSError(errno.ETIMEDOUT, f"the node agent on {self.name} does not answer", str(file.path)) from None
        finally:
            del self._reads[question]
        if isinstance(first, bytes):
            return first, second
        raise OSError(first, second, str(file.path))

    def kill(self) -> None:
        """Has an agent that does not do as it is told ended, with its runs."""
        self.order(Order.KILL)
        self.flush()

    def close(self) -> None:
        """Lets it go: it ends what it still runs."""
        self._closed = True
        self._be_patient(None)
        if self._writer is not None:
            self._write(self._line.passing([(Order.LEAVE,)]))
            self._writer.close()

    # Connections

    async def serve(
        self, hello: Hello, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, beat_seconds: float
    ) -> None:
        """Speaks with it until the connection breaks, is silent for too long, or another takes its place."""
        if hello.incarnation != self._incarnation:
            if hello.received or hello.incarnation in self._given_up:
                writer.write(verdict(REPLACED if self._incarnation else STALE, 0, beat_seconds))
                return
            self._give_up(f"the node agent on {self.name} ended")
            self._incarnation, self._line = hello.incarnation, Line()
            self.came_at = time.monotonic()
        if self._writer is not None:
            self._writer.close()
        missed = self._line.resume(hello.received)
        writer.write(verdict(ACCEPTED, self._line.received, beat_seconds) + missed)
        self._clock_ahead = 0.0
        self._writer, self._ended = writer, False
        self._be_patient(None)
        self._put_question()
        try:
            await self._listen(reader, writer, beat_seconds * _SILENT_BEATS)
        finally:
            if self._writer is writer:
                self._writer = None
                if not self._closed:
                    self._watch()
                    self._on_change(self)

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience: float) -> None:
        while self._writer is writer:
            data = await asyncio.wait_for(reader.read(_READ_BYTES), patience)
            if not data or self._writer is not writer:
                return  # another connection has taken its place: what is left in this one is sent again there
            self._take_in(data)

    def _take_in(self, data: bytes) -> None:
        notices: list[tuple[Any, ...]] = []
        try:
            for message in self._line.feed(data):
                if message[0] == Notice.BEAT:
                    self._beat(message[1])
                elif message[0] == Notice.ALIVE:
                    self._answered = max(self._answered, message[1])
                    self._on_alive(self, message[1])
                elif message[0] == Notice.OUTPUT:
                    self._read(*message[1:])
                elif message[0] == Notice.RUNS_LOST:
                    self._hand_on(notices)  # what ended before that has ended
                    self._on_lost(self, f"the node agent on {self.name} was lost")
                else:
                    notices.append(message)
        finally:  # also where something odd follows: these will not come again
            self._hand_on(notices)

    def _read(self, question: int, *answer: Any) -> None:
        waiting = self._reads.get(question)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def _hand_on(self, notices: list[tuple[Any, ...]]) -> None:
        if notices:
            self._on_notices(notices[:])
            notices.clear()
            self._write(self._line.passing([]))  # it need not keep them any longer

    def _beat(self, its_time: float) -> None:
        first = not self._clock_ahead
        self._clock_ahead = its_time - time.monotonic()
        if self._last_ahead is not None and self._clock_ahead < self._last_ahead - _BACK_SECONDS:
            self._on_down(self, f"the node {self.name} was started anew")
        self._last_ahead = self._clock_ahead
        self._tell_trust()
        if first:
            self._on_change(self)

    def _tell_trust(self) -> None:
        if self._trust is None or self._writer is None or not self._clock_ahead:
            return
        until, grace, deadline = self._trust
        ahead = self._clock_ahead
        self._deadline = max(self._deadline, deadline)
        self._write(self._line.passing([(Order.TRUST, until + ahead, grace, deadline + ahead)]))

    def _write(self, data: bytes) -> None:
        if self._writer is not None and not self._writer.is_closing():
            with contextlib.suppress(OSError):
                self._writer.write(data)

    # What is out of reach

    def _watch(self) -> None:
        left = max(0.0, self._deadline + _SLACK_SECONDS - time.monotonic())
        self._be_patient(asyncio.get_running_loop().call_later(left, self._not_heard_of))

    def _not_heard_of(self) -> None:
        reason = f"the node {self.name} was lost: nothing was heard of it for a lease time"
        if not self._ended:  # by what had started it: that says nothing of the node
            self._on_down(self, reason)
        self._give_up(reason)

    def _be_patient(self, until: asyncio.TimerHandle | None) -> None:
        if self._patience is not None:
            self._patience.cancel()
        self._patience = until

    def _give_up(self, reason: str) -> None:
        self._be_patient(None)
        if self._incarnation:
            self._given_up.add(self._incarnation)
            self._incarnation = b""
            self._on_lost(self, reason)
