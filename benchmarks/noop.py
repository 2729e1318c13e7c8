"""No-op jobs per second, from the first submit until the client has seen all of them finished.

Every service is a process of its own, every commit is durable, every state is in the history and every run has its
directory and output file. Beside it, in the same rounds, the rate at which this machine starts such processes from
Python at all: two threads with `subprocess`, a directory, an output file and a session for each.

    python benchmarks/noop.py [--jobs 1000] [--repeats 3] [--database sqlite|postgres] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import balsam
from balsam.site import Site, open_site

SLOTS = 2
BALSAM = [sys.executable, "-m", "balsam_cli"]


def main() -> int:
    """Measures, prints a table, writes JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--database", default="sqlite")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="balsam-bench-") as scratch,
        running_site(Path(scratch) / "site", options.database) as site,
    ):
        rounds = [
            (raw_rate(Path(scratch) / f"raw{i}", options.jobs), balsam_rate(site, options.jobs))
            for i in range(options.repeats)
        ]
    report(options, rounds)
    return 0


@contextlib.contextmanager
def running_site(path: Path, database: str) -> Iterator[Site]:
    """A fresh site whose services run, with a launcher that waits for work."""
    subprocess.run([*BALSAM, "init", str(path), "--db", database], check=True, stdout=subprocess.DEVNULL)
    environment = os.environ | {"BALSAM_DB_PATH": str(path)}
    subprocess.run([*BALSAM, "up"], check=True, stdout=subprocess.DEVNULL, env=environment)
    launcher = subprocess.Popen(
        [*BALSAM, "launcher", "--consume-all", "--persistent"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        warm_up(open_site(path))
        yield open_site(path)
    finally:
        launcher.terminate()
        launcher.wait()
        subprocess.run([*BALSAM, "down"], check=True, stdout=subprocess.DEVNULL, env=environment)


def warm_up(site: Site) -> None:
    """One job, so that everything has been loaded and connected."""
    run_jobs(site, 1, "warm-up")


def balsam_rate(site: Site, count: int) -> float:
    """Jobs per second through Balsam."""
    start = time.perf_counter()
    run_jobs(site, count, f"round-{time.time_ns()}")
    return count / (time.perf_counter() - start)


def run_jobs(site: Site, count: int, workflow: str) -> None:
    """Adds jobs and waits until all are seen finished."""
    client = balsam.connect(site.path)
    new = [
        client.BalsamJob(name=f"n{i}", workflow=workflow, args="/bin/true", node_packing_count=SLOTS)
        for i in range(count)
    ]
    client.BalsamJob.objects.bulk_create(new)
    ended = balsam.wait([balsam.FutureTask(job, print) for job in new], return_when="ALL_COMPLETED")
    if len(ended.done) != count:
        raise RuntimeError(f"{len(ended.failed)} jobs failed")


def raw_rate(directory: Path, count: int) -> float:
    """Processes per second from two threads of Python, each with a directory, an output file and a session."""
    directory.mkdir()
    numbers = iter(range(count))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            place = directory / f"n{number}"
            place.mkdir()
            with (place / "out").open("ab") as output:
                subprocess.run(["true"], cwd=place, stdout=output, stderr=output, start_new_session=True, check=True)

    threads = [threading.Thread(target=work) for _ in range(SLOTS)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count / (time.perf_counter() - start)


def report(options: argparse.Namespace, rounds: list[tuple[float, float]]) -> None:
    """Prints the medians, and writes all rounds where asked."""
    raw, rate = (statistics.median(values) for values in zip(*rounds, strict=True))
    print(f"{options.jobs} no-op jobs on {options.database}, {options.repeats} rounds, {os.cpu_count()} cores")
    print(f"  raw process starts   {raw:8.0f} /s")
    print(f"  through Balsam       {rate:8.0f} /s   {rate / raw:6.1%} of raw")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        result = {
            "machine": {"cores": os.cpu_count(), "memory_bytes": memory},
            "jobs": options.jobs,
            "database": options.database,
            "rounds": rounds,
            "raw_per_s": raw,
            "jobs_per_s": rate,
            "ratio": rate / raw,
        }
        options.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    sys.exit(main())
