"""Subscribers, each with a connection of its own, who note when each event arrives.

    python -m benchmarks.subscribers SITE WORKFLOW SUBSCRIBERS EVENTS

Says "ready" when all have subscribed to the jobs that are killed in the workflow, and ends when each has seen so many,
with one line of JSON: how long each took from its record to its arrival [s].
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import grpc.aio

from balsam import rpc
from balsam.site import Site, open_site
from balsam.states import State
from balsam.v1 import event_service_pb2, job_pb2
from balsam.v1.event_service_pb2_grpc import EventServiceStub


async def _subscribe(site: Site, workflow: str, count: int, ready: asyncio.Semaphore) -> list[float]:
    delays: list[float] = []
    states = [job_pb2.Job.State.ValueType(State.USER_KILLED)]
    wanted = event_service_pb2.EventFilter(workflow=workflow, states=states)
    request = event_service_pb2.WatchEventsRequest(filter=wanted)
    async with grpc.aio.insecure_channel(site.address("jobstore"), options=rpc.CHANNEL_OPTIONS) as channel:
        stub: Any = EventServiceStub(channel)  # the generated stub types know no asyncio streams
        first = True
        async for answer in stub.WatchEvents(request, metadata=rpc.metadata(site)):
            now_us = time.time_ns() // 1000
            if first:
                ready.release()
            first = False
            delays += [(now_us - event.record_time.ToMicroseconds()) / 1e6 for event in answer.events]
            if len(delays) >= count:
                break
    return delays


async def _main(site: Site, workflow: str, subscribers: int, count: int) -> None:
    ready = asyncio.Semaphore(0)
    tasks = [asyncio.ensure_future(_subscribe(site, workflow, count, ready)) for _ in range(subscribers)]
    for _ in range(subscribers):
        await ready.acquire()
    print("ready", flush=True)
    print(json.dumps([delay for delays in await asyncio.gather(*tasks) for delay in delays]), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(open_site(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
