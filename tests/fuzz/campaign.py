"""A fuzzing of one service: callers in some processes, a session that must live through it, and the memory."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import statistics
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor

from balsam.errors import BalsamError
from balsam.rpc import Connection
from balsam.site import Site
from balsam.v1 import launcher_service_pb2, scheduler_service_pb2, session_pb2, session_service_pb2
from balsam.v1.session_service_pb2_grpc import SessionServiceStub
from tests.fuzz.callers import Tally, call_all
from tests.support import rpc_client
from tests.support.rpc_client import Client

WARM_SHARE = 0.4
"""Of the inputs: until then caches fill."""
_LOOK_SECONDS = 0.25


def _methods(file: FileDescriptor) -> dict[str, MethodDescriptor]:
    return {f"{service.name}/{m.name}": m for service in file.services_by_name.values() for m in service.methods}


METHODS: Mapping[str, Mapping[str, MethodDescriptor]] = {
    "jobstore": rpc_client.METHODS,
    "scheduler": _methods(scheduler_service_pb2.DESCRIPTOR),
    "launcher": _methods(launcher_service_pb2.DESCRIPTOR),
}
"""Kind of service -> Service/Method -> its description, of all that it serves."""


@dataclass(frozen=True)
class Plan:
    """How much, and from where."""

    inputs: int
    connections: int = 100
    processes: int = 2
    seed: str = "0"


@dataclass
class Findings:
    """What came of it."""

    plan: Plan
    tally: Tally = field(default_factory=Tally)
    seconds: float = 0.0
    memory: list[tuple[int, int]] = field(default_factory=list)
    """(inputs so far, resident bytes of the service)."""
    renewals: list[float] = field(default_factory=list)
    """How long each renewal of the real session took [s]."""
    problems: list[str] = field(default_factory=list)

    @property
    def slope(self) -> float:
        """Bytes by which an input makes the service grow, after the warm-up."""
        warm = [(x, y) for x, y in self.memory if x >= WARM_SHARE * self.plan.inputs]
        if len({x for x, _ in warm}) < 3:
            return 0.0
        return statistics.linear_regression(*zip(*warm, strict=True)).slope

    @property
    def growth(self) -> int:
        """Bytes by which the service has grown after the warm-up."""
        warm = [rss for sent, rss in self.memory if sent >= WARM_SHARE * self.plan.inputs]
        return warm[-1] - warm[0] if warm else 0


def fuzz(site: Site, service: str, pid: int, plan: Plan, methods: Mapping[str, MethodDescriptor]) -> Findings:
    """Calls these methods of a service of a site, `plan.inputs` times."""
    token = site.owner_token_file.read_text().strip()
    findings = Findings(plan)
    context = multiprocessing.get_context("spawn")
    counts = context.Array("q", plan.processes)
    answers = context.SimpleQueue()
    processes = [
        context.Process(
            target=_process,
            args=(site.address(service), token, list(methods), plan, number, counts, answers),
            name=f"fuzz-{number}",
        )
        for number in range(plan.processes)
    ]
    start = time.monotonic()
    for process in processes:
        process.start()
    watched = psutil.Process(pid)
    while any(process.is_alive() for process in processes) and answers.empty():
        with contextlib.suppress(psutil.NoSuchProcess):
            findings.memory.append((sum(counts), watched.memory_info().rss))
        time.sleep(_LOOK_SECONDS)
    for process in processes:
        if process.exitcode in (None, 0):
            findings.tally.add(answers.get())
        process.join()
        if process.exitcode:
            findings.problems.append(f"{process.name} ended with {process.exitcode}")
    findings.seconds = time.monotonic() - start
    findings.problems += findings.tally.problems
    return findings


def _process(address: str, token: str, names: list[str], plan: Plan, number: int, counts: Any, answers: Any) -> None:
    methods = {name: kinds[name] for kinds in METHODS.values() for name in names if name in kinds}
    tally = Tally()
    ended = threading.Event()

    def count() -> None:
        while not ended.wait(_LOOK_SECONDS):
            counts[number] = tally.inputs

    threading.Thread(target=count, daemon=True).start()
    connections, inputs = plan.connections // plan.processes, plan.inputs // plan.processes
    asyncio.run(call_all(address, token, methods, f"{plan.seed} {number}", connections, inputs, tally))
    ended.set()
    answers.put(tally)


@contextlib.contextmanager
def living_session(site: Site, findings: list[float], problems: list[str]) -> Iterator[str]:
    """A launcher's session that is renewed in time all along, as a launcher does it; gives its id.

    How long each renewal took is added to `findings`, and what went wrong to `problems`.
    """
    client = Client(site, patient=True)
    request = session_service_pb2.OpenSessionRequest(
        session=session_pb2.Session(kind=session_pb2.Session.LAUNCHER, host="real", job_mode="auto"),
        request_id=str(uuid.uuid4()),
    )
    opened = client.call("SessionService/OpenSession", request)
    client.close()
    renewal = session_service_pb2.RenewSessionRequest(session_id=opened.session.session_id)
    connection = Connection(site, retry_seconds=0, address=opened.renewal_address)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(min(opened.lease_seconds / 6, 1.0)):
            start = time.monotonic()
            try:
                connection.call(SessionServiceStub, "RenewSession", renewal, timeout=opened.lease_seconds)
            except BalsamError as refused:
                problems.append(f"a renewal was refused: {refused}")
                return
            findings.append(time.monotonic() - start)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield str(opened.session.session_id)
    finally:
        ended.set()
        thread.join()
        connection.close()
