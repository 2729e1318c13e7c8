"""W13: what TLS costs. The same over a port with TLS and over the Unix socket, in the same round on the same site.

Both take turns several times in a round, and their totals are compared: one insertion takes half a second, in which the
speed of a machine changes by more than TLS costs. Both go first in turn: the second of two finds a fuller database.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator

from balsam.certificates import fingerprint
from balsam.client import Client
from balsam.logging_in import log_in
from balsam.site import open_site, read_owner_token
from benchmarks import checks
from benchmarks.campaigns import noop_jobs, run_until_seen, timed_noop_run
from benchmarks.figures import Figure, Workload
from benchmarks.harness import Bench, RunningSite

_LIMIT = "over the Unix socket"
BULK = Figure("w13.bulk", "10,000 jobs in one call, over TLS", "jobs/s", more_is_better=True, limit=_LIMIT)
NOOP = Figure("w13.noop", "2,000 no-op jobs, client and launcher over TLS", "jobs/s", more_is_better=True, limit=_LIMIT)
_WAYS = ("socket", "tls")
_TURNS_OF_BULK = 8
_TURNS_OF_NOOP = 2


def measure(bench: Bench) -> None:
    """Each round has a site of its own for each figure."""
    for _ in bench.rounds():
        with _two_clients(bench) as (_, clients):
            _measure_bulk(bench, clients)
        with _two_clients(bench) as (running, clients):
            _measure_noop(bench, running, clients)


def _measure_bulk(bench: Bench, clients: dict[str, Client]) -> None:
    count = bench.size(10_000, 200)
    turns = bench.size(_TURNS_OF_BULK, 1)
    seconds = _in_turns(turns, lambda way, turn: _insert(clients[way], count, f"{way}-{turn}"))
    bench.record(BULK, count / seconds["tls"], count / seconds["socket"])


def _measure_noop(bench: Bench, running: RunningSite, clients: dict[str, Client]) -> None:
    count = bench.size(2_000, 40)
    turns = bench.size(_TURNS_OF_NOOP, 1)
    seconds = _in_turns(turns, lambda way, turn: _run(running, clients[way], count, f"{way}-{turn}"))
    bench.record(NOOP, count / seconds["tls"], count / seconds["socket"])


def _in_turns(turns: int, timed: Callable[[str, int], float]) -> dict[str, float]:
    """Mean seconds of each way, which take turns."""
    seconds = dict.fromkeys(_WAYS, 0.0)
    for turn in range(turns):
        for way in _WAYS if turn % 2 else _WAYS[::-1]:
            seconds[way] += timed(way, turn) / turns
    return seconds


def _insert(client: Client, count: int, name: str) -> float:
    """Seconds."""
    noop_jobs(client, 1, f"warm-up-{name}")[0].save()
    began = time.perf_counter()
    client.BalsamJob.objects.bulk_create(noop_jobs(client, count, name))
    seconds = time.perf_counter() - began
    checks.states(client, {"PREPROCESSED": count}, name)
    return seconds


def _run(running: RunningSite, client: Client, count: int, name: str) -> float:
    """Seconds, from the first job that is made until all are seen finished."""
    running.spawn_launcher(environ={"BALSAM_DB_PATH": str(client.site.path)})
    try:
        run_until_seen(client, noop_jobs(client, 1, f"warm-up-{name}"))
        seconds = timed_noop_run(client, count, name)
    finally:
        running.stop_launcher()
    checks.ran(client, name, {checks.FREE: count})
    return seconds


@contextlib.contextmanager
def _two_clients(bench: Bench) -> Iterator[tuple[RunningSite, dict[str, Client]]]:
    """A site, and a client for each way to it."""
    with bench.site(listen=f"127.0.0.1:{_free_port()}") as running, _logged_in(bench, running) as far:
        yield running, {"socket": running.client, "tls": far}


@contextlib.contextmanager
def _logged_in(bench: Bench, running: RunningSite) -> Iterator[Client]:
    """A client that has logged in to where the site listens."""
    own = {name: str(bench.scratch / "user") for name in ("XDG_DATA_HOME", "XDG_STATE_HOME")}
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    running.environ.update(own)
    try:
        site = running.site
        login, _ = log_in(site.settings.listen, f"{read_owner_token(site)}:{fingerprint(site)}")
        client = Client(open_site(login.site))
        yield client
        client.close()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])


WORKLOAD = Workload("w13", "what TLS costs", (BULK, NOOP), measure)
