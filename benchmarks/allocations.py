"""W12: one launcher over 4,096 nodes, each with 64 slots: 262,144 jobs of ten minutes run at once.

The launcher is the real one. Nodes and runs are simulated (`simulated_nodes`), since no machine has so many; what goes
between them and the launcher goes over TCP, as ever. The first runs last a part of ten minutes, so that from the
beginning on as many end as later, when the allocation has been running for long.
"""

from __future__ import annotations

import os
import stat
import statistics
import sys
import time
from pathlib import Path

import psutil

from benchmarks import checks
from benchmarks.campaigns import NOOP
from benchmarks.figures import Figure, Workload, WrongResult
from benchmarks.harness import Bench, RunningSite

CPU = Figure("w12.cpu", "launcher of 262,144 runs", "% of a core")
USED = Figure("w12.used", "slots in use", "%", more_is_better=True)
MEMORY = Figure("w12.memory", "memory of the launcher", "MiB")
ENDS = Figure("w12.ends", "runs that end", "a second", more_is_better=True)

_RUN_SECONDS = 600
_FILL_SECONDS = 600.0
_BATCH = 10_000


def measure(bench: Bench) -> None:
    """A site for each round."""
    nodes, slots = bench.size(4096, 16), bench.size(64, 8)
    length, window = bench.size(_RUN_SECONDS, 4), bench.size(120, 4)
    for _ in bench.rounds():
        with bench.site() as running:
            _add(running, nodes * slots, slots, length, window)
            record = bench.fresh("record")
            _start_launcher(running, bench, nodes, slots, record)
            _wait_until_full(record, nodes * slots, _FILL_SECONDS)
            assert running.launcher is not None
            launcher = psutil.Process(running.launcher.pid)
            before, began = launcher.cpu_times(), time.monotonic()
            with bench.profiled(running, WORKLOAD.key):
                time.sleep(window)
            after, seconds = launcher.cpu_times(), time.monotonic() - began
            bench.record(CPU, 100 * (after.user + after.system - before.user - before.system) / seconds)
            rows = [row for row in _rows(record) if row[0] >= began]
            bench.record(USED, 100 * statistics.mean(row[1] for row in rows) / (nodes * slots))
            ends = (rows[-1][2] - rows[0][2]) / (rows[-1][0] - rows[0][0])
            bench.record(ENDS, ends)
            bench.record(MEMORY, launcher.memory_info().rss / 2**20)
            _check(running, rows[-1], under_way=ends)
            running.kill_launcher()


def _add(running: RunningSite, at_once: int, slots: int, length: int, window: int) -> None:
    make = running.client.BalsamJob
    # Those that run, and those that come in their place until the end.
    count = int(at_once * (1 + (window + _FILL_SECONDS / 4) / length))
    jobs = (
        make(name=f"job-{i}", workflow="w", args=f"{NOOP} {length}", node_packing_count=slots, wall_time_minutes=10)
        for i in range(count)
    )
    make.objects.bulk_create(jobs, batch_size=_BATCH)


def _start_launcher(running: RunningSite, bench: Bench, nodes: int, slots: int, record: Path) -> None:
    """A launcher that takes itself to be in an allocation, whose `srun` is ours."""
    programs = bench.fresh("bin")
    programs.mkdir()
    srun = programs / "srun"
    srun.write_text(f"#!/bin/sh\nexec {sys.executable} -m benchmarks.simulated_nodes {record}\n")
    srun.chmod(srun.stat().st_mode | stat.S_IXUSR)
    running.spawn_launcher(
        *("--job-mode", "serial", "--time-limit-minutes", "600"),
        environ={
            "PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}",
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "SLURM_JOB_ID": "1",
            "SLURM_JOB_NODELIST": f"sim[0001-{nodes:04d}]",
            "SLURM_JOB_CPUS_PER_NODE": f"{slots}(x{nodes})",
            "SIMULATED_SLOTS": str(slots),
        },
    )


def _rows(record: Path) -> list[tuple[int, int, int]]:
    """Seconds, slots in use and runs that have ended, of all nodes together."""
    files = [_seconds(file) for file in record.parent.glob(f"{record.name}.*")]
    told_by_all = sorted(set.intersection(*(set(file) for file in files))) if files else []
    return [(when, sum(file[when][0] for file in files), sum(file[when][1] for file in files)) for when in told_by_all]


def _seconds(file: Path) -> dict[int, tuple[int, int]]:
    whole_lines = file.read_text().split("\n")[:-1]
    return {int(when): (int(running), int(ended)) for when, running, ended in (line.split() for line in whole_lines)}


def _wait_until_full(record: Path, slots: int, patience: float) -> None:
    deadline = time.monotonic() + patience
    while not (rows := _rows(record)) or rows[-1][1] < 0.99 * slots:
        if time.monotonic() > deadline:
            running = rows[-1][1] if rows else 0
            raise WrongResult(f"after {patience:g} s, {running} of {slots} slots are in use")
        time.sleep(0.5)


def _check(running: RunningSite, last: tuple[int, int, int], under_way: float) -> None:
    """What the job store knows is what the nodes did, but for so many runs that a second's reports still speak of."""
    counts = checks.count_states(running.client)
    if counts.get("RUNNING", 0) < last[1] - under_way or counts.get("JOB_FINISHED", 0) < last[2] - under_way:
        raise WrongResult(f"{last[1]} runs and {last[2]} ended on the nodes, and the job store knows of {counts}")


WORKLOAD = Workload("w12", "a launcher of thousands of nodes", (CPU, USED, ENDS, MEMORY), measure)
