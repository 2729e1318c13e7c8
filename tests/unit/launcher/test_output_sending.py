"""Sending outputs to readers that take their time."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from balsam.v1 import output_service_pb2 as pb
from balsam.work import Response, Worker
from balsam_launcher.output_sending import OutputSending
from balsam_launcher.outputs import Outputs
from balsam_launcher.pool import Pool


class SlowCall:
    """A call whose other end takes each piece after a minute, by a clock that is set forward."""

    def __init__(self, pieces: int) -> None:
        self.left = pieces
        self.late = 0.0
        loop = asyncio.get_running_loop()
        time = loop.time
        loop.time = lambda: time() + self.late  # type: ignore[method-assign]

    def done(self) -> bool:
        """It goes on."""
        return False

    async def write(self, message: pb.SendOutputRequest) -> None:
        """Takes it at once."""

    async def done_writing(self) -> None:
        """Nothing to do."""

    async def read(self) -> object:
        """A minute later: a piece is taken; at last: the end."""
        self.late += 60
        for _ in range(3):
            await asyncio.sleep(0)  # what has a time limit is ended now
        self.left -= 1
        return pb.SendOutputResponse() if self.left >= 0 else object()


def test_the_last_pieces_have_as_long_as_their_reader_takes() -> None:
    async def send() -> int:
        worker = cast(Worker, SimpleNamespace(session_id="id"))
        pool = cast(Pool, SimpleNamespace(find=lambda handle: None))
        call: Any = SlowCall(4)
        sending = OutputSending(worker, pool, cast(Outputs, None))
        await sending._write_all(call, Response.OutputWanted(read_id="one"), too_many=False)
        return int(call.left)

    assert asyncio.run(send()) == -1
