"""Callers that say anything, over connections of their own: many in one process, and what they were answered."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from balsam.rpc import CHANNEL_OPTIONS
from balsam.v1.session_service_pb2 import WorkRequest
from tests.fuzz import valid
from tests.fuzz.known import Known
from tests.fuzz.messages import Messages
from tests.support.rpc_client import refusal

ANSWER_SECONDS = 300.0
"""A call that takes longer hangs. With a thousand callers on two cores, ten messages in a row may take a minute."""
STREAM_SECONDS = 0.5
CUT_OFF = "CUT OFF"
"""Stands for a status where the caller went away before there was one."""
SAYS_UNAVAILABLE = {"OutputService/ReadOutput"}
"""What others are needed for: that they are away is an answer."""
UNDERSTOOD = {
    "OK",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "FAILED_PRECONDITION",
    "ABORTED",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    CUT_OFF,
}
_LOST_HERE = "Internal error from Core"
"""What gRPC's client says by itself, of a stream that was ended by the service while it wrote to it."""
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_INTERNAL = ("Traceback", "sqlalchemy", "psycopg", "SELECT ", "site-packages")
_MOST_PROBLEMS = 20


@dataclass
class Tally:
    """What has been sent and answered."""

    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(Service/Method, status) -> calls."""
    inputs: int = 0
    """Messages sent."""
    slowest: float = 0.0
    """The longest that one call took [s]."""
    problems: list[str] = field(default_factory=list)
    """Answers that no caller should get, each with what was asked."""

    def add(self, other: Tally) -> None:
        """Counts what another process has counted."""
        self.calls += other.calls
        self.inputs += other.inputs
        self.slowest = max(self.slowest, other.slowest)
        self.problems += other.problems


class Caller:
    """One connection. It calls one method after the other, as chance has it.

    Args:
        methods: name -> rpc, of those it calls.
        seed: what it does follows from this, and from what it and its neighbours were answered.
        known: what they learn.
        tally: where they count.
    """

    def __init__(
        self, address: str, token: str, methods: Mapping[str, MethodDescriptor], seed: str, known: Known, tally: Tally
    ) -> None:
        self._address = address
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._methods = methods
        self._names = sorted(methods)
        self._chance = random.Random(seed)
        self._known = known
        self._tally = tally
        self._messages = Messages(self._chance, known)

    async def run(self, inputs: int) -> None:
        """Calls until so many inputs are counted."""
        async with grpc.aio.insecure_channel(self._address, options=CHANNEL_OPTIONS) as channel:
            while self._tally.inputs < inputs:
                name = self._chance.choice(self._names)
                method = self._methods[name]
                requests = self._requests(method)
                self._tally.inputs += len(requests)
                start = time.monotonic()
                code = await self._call(channel, name, method, requests)
                self._tally.slowest = max(self._tally.slowest, time.monotonic() - start)
                self._tally.calls[name, code] += 1

    def _requests(self, method: MethodDescriptor) -> list[bytes]:
        if not method.client_streaming:
            return [self._messages.request(method)]
        count = self._chance.choice([0, 1, 1, 2, 3, 10]) if self._chance.random() > 0.001 else 2000
        requests = [self._messages.request(method) for _ in range(min(count, 10))]
        requests += [self._chance.choice(requests) for _ in range(count - len(requests))]
        if method.name == "Work" and self._chance.random() < 0.9:
            requests[:1] = [self._attachment()]
        return requests

    def _attachment(self) -> bytes:
        request = WorkRequest()
        request.attach.session_id = self._known.pick("session_id", self._chance) or "nobody"
        for _ in range(self._chance.randrange(3)):
            handle, token = self._known.lease(self._chance)
            request.attach.held.add(handle=handle, token=token)
        request.attach.states.extend(self._chance.sample([3, 4, 7, 99, -1], self._chance.choice([0, 0, 1, 2])))
        if self._chance.random() < 0.3:
            valid.work(request, self._chance, self._known)
        return bytes(request.SerializeToString())

    async def _call(self, channel: Any, name: str, method: MethodDescriptor, requests: Sequence[bytes]) -> str:
        make = {
            (False, False): channel.unary_unary,
            (False, True): channel.unary_stream,
            (True, False): channel.stream_unary,
            (True, True): channel.stream_stream,
        }[method.client_streaming, method.server_streaming]
        path = f"/{method.containing_service.full_name}/{method.name}"
        cut_off = method.client_streaming and self._chance.random() < 0.1
        request = self._stream(requests, cut_off) if method.client_streaming else requests[0]
        call = make(path)(request, metadata=self._metadata, timeout=ANSWER_SECONDS, wait_for_ready=True)
        try:
            async with asyncio.timeout(STREAM_SECONDS if method.server_streaming or cut_off else None):
                if method.server_streaming:
                    async for answer in call:
                        self._learn(method, answer)
                else:
                    self._learn(method, await call)
        except TimeoutError:
            call.cancel()
            return CUT_OFF
        except grpc.aio.AioRpcError as error:
            return self._refused(name, error, requests)
        return "OK"

    async def _stream(self, requests: Sequence[bytes], cut_off: bool) -> AsyncIterator[bytes]:
        for number, request in enumerate(requests):
            yield request
            if number % 100 == 99:
                await asyncio.sleep(0)
        if cut_off:
            await asyncio.sleep(ANSWER_SECONDS)

    def _learn(self, method: MethodDescriptor, data: bytes) -> None:
        if method.name == "ListSessions":
            return  # the sessions of services are not to be closed here: that they live is what is looked at
        self._known.learn(GetMessageClass(method.output_type).FromString(data))

    def _refused(self, name: str, error: grpc.aio.AioRpcError, requests: Sequence[bytes]) -> str:
        refused = refusal(error)
        if refused.details == _LOST_HERE:
            return CUT_OFF
        problem = ""
        is_told = refused.code == "UNAVAILABLE" and name in SAYS_UNAVAILABLE
        if refused.code not in UNDERSTOOD and not is_told:
            problem = "a status that tells a caller nothing"
        elif "\n" in refused.details or any(word in refused.details for word in _INTERNAL):
            problem = "not one clear line"
        elif refused.code == "INVALID_ARGUMENT" and not refused.field:
            problem = "no field is named"
        if problem and len(self._tally.problems) < _MOST_PROBLEMS:
            shown = ", ".join(request.hex()[:2000] for request in requests[:5])
            self._tally.problems.append(
                f"{name}: {problem}: {refused.code}: {refused.details[:500]!r}\n  asked: {shown}"
            )
        return refused.code


async def talk_nonsense(address: str, inputs: int, seed: str, tally: Tally) -> None:
    """Connections whose bytes are no call at all, as long as the callers go on."""
    chance = random.Random(seed)
    while tally.inputs < inputs:
        try:
            _, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
            writer.write(chance.choice([b"", HTTP2_PREFACE]) + chance.randbytes(chance.randint(0, 200)))
            await asyncio.sleep(0.1)
            writer.close()
            await writer.wait_closed()
        except (ConnectionError, BrokenPipeError):
            pass  # as it should be
        tally.calls["bytes on a connection", CUT_OFF] += 1


async def call_all(
    address: str,
    token: str,
    methods: Mapping[str, MethodDescriptor],
    seed: str,
    connections: int,
    inputs: int,
    tally: Tally,
) -> None:
    """Runs many callers at once until they have sent so many inputs; counts in `tally`."""
    known = Known()
    callers = [Caller(address, token, methods, f"{seed} {n}", known, tally).run(inputs) for n in range(connections)]
    await asyncio.gather(*callers, talk_nonsense(address, inputs, seed, tally))
