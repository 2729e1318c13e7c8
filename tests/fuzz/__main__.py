"""Fuzzes a job store for the record: ``python -m tests.fuzz --inputs 1000000 --database sqlite``."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from balsam_jobstore.postgres import Cluster
from tests.fuzz.campaign import Plan
from tests.fuzz.report import render
from tests.fuzz.sites import fuzz_job_store, fuzz_launcher_and_scheduler
from tests.support.sites import make_test_site


def main() -> int:
    """Prints a report; 1 if there was a problem."""
    parser = argparse.ArgumentParser(prog="tests.fuzz", description="Nonsense to the services of a site of its own.")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="messages to send (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=1000, help="at once (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="that they come from (default: %(default)s)")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--servers", action="store_true", help="those of a launcher and a scheduler instead")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="of an earlier run, to get the same messages")
    options = parser.parse_args()
    plan = Plan(options.inputs, options.connections, options.processes, options.seed)
    with tempfile.TemporaryDirectory(prefix="balsam-fuzz-") as name:
        directory = Path(name)
        os.environ["XDG_RUNTIME_DIR"] = name
        os.environ["XDG_DATA_HOME"] = str(directory / "user-data")
        with _database(options.database, directory) as database:
            site = make_test_site(directory, database, lease_seconds=10.0)
            if options.servers:
                found = list(fuzz_launcher_and_scheduler(site, plan))
            else:
                found = [(options.database, fuzz_job_store(site, plan))]
    for title, findings in found:
        print(render(title, findings))
    return int(any(findings.problems for _, findings in found))


@contextlib.contextmanager
def _database(name: str, directory: Path) -> Iterator[str]:
    if name == "sqlite":
        yield name
        return
    cluster = Cluster(directory / "cluster", directory, durable=False)
    cluster.start(directory / "postgres.log")
    try:
        yield cluster.url
    finally:
        cluster.stop()


if __name__ == "__main__":
    sys.exit(main())
