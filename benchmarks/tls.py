"""W13: what TLS costs. The same over a port with TLS and over the Unix socket, in the same round on the same site.

Both go first in turn: the second of two finds a fuller database.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator

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


def measure(bench: Bench) -> None:
    """Each round has a site of its own."""
    for number in bench.rounds():
        ways = _WAYS if number % 2 else _WAYS[::-1]
        with bench.site(listen=f"127.0.0.1:{_free_port()}") as running, _logged_in(bench, running) as far:
            clients = {"socket": running.client, "tls": far}
            inserted = {way: _insert(bench, clients[way], way) for way in ways}
            bench.record(BULK, inserted["tls"], inserted["socket"])
        with bench.site(listen=f"127.0.0.1:{_free_port()}") as running, _logged_in(bench, running) as far:
            clients = {"socket": running.client, "tls": far}
            run = {way: _run(bench, running, clients[way], way) for way in ways}
            bench.record(NOOP, run["tls"], run["socket"])


def _insert(bench: Bench, client: Client, way: str) -> float:
    """Jobs per second."""
    count = bench.size(10_000, 200)
    noop_jobs(client, 1, f"warm-up-{way}")[0].save()
    began = time.perf_counter()
    client.BalsamJob.objects.bulk_create(noop_jobs(client, count, way))
    seconds = time.perf_counter() - began
    checks.states(client, {"PREPROCESSED": count}, way)
    return count / seconds


def _run(bench: Bench, running: RunningSite, client: Client, way: str) -> float:
    """Jobs per second, from the first that is made until all are seen finished."""
    count = bench.size(2_000, 40)
    running.spawn_launcher(environ={"BALSAM_DB_PATH": str(client.site.path)})
    try:
        run_until_seen(client, noop_jobs(client, 1, f"warm-up-{way}"))
        seconds = timed_noop_run(client, count, way)
    finally:
        running.stop_launcher()
    checks.ran(client, way, {checks.FREE: count})
    return count / seconds


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
