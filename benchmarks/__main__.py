"""Runs workloads and says what they cost.

Exit status 0: all were measured; 1: something got slower than in the run of --against; 2: a workload failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import comparison, machine, report
from benchmarks.figures import Series, Skipped, Workload
from benchmarks.harness import Bench, compile_sources
from benchmarks.profiles import Profiler
from benchmarks.workloads import WORKLOADS, find

DATABASES = {"sqlite": ("sqlite",), "postgres": ("postgres",), "both": ("sqlite", "postgres")}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    given = _parser().parse_args(arguments)
    if given.list:
        print("\n".join(_listing()))
        return 0
    try:
        chosen = [find(key) for key in given.workloads] or list(WORKLOADS)
        then = None if given.against is None else json.loads(given.against.read_text())
        profiler = None if given.profile is None else Profiler(given.profile.absolute())
    except (OSError, ValueError, Skipped) as problem:
        print(f"benchmarks: {problem}", file=sys.stderr)
        return 2
    scratch = Path(tempfile.mkdtemp(prefix="balsam-bench-", dir=given.directory))
    try:
        now = run(chosen, DATABASES[given.database], given, profiler, scratch)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(report.text(now))
    if now["failed"]:
        return 2
    return 0 if then is None else _compare(now, then, given.against)


def run(
    chosen: Sequence[Workload],
    databases: Sequence[str],
    given: argparse.Namespace,
    profiler: Profiler | None,
    scratch: Path,
) -> dict[str, Any]:
    """Runs workloads one after another; gives the document, which is written after each of them where asked."""
    about = machine.describe(scratch)
    if about["filesystem"] in machine.IN_MEMORY:
        print(f"{scratch} lies in memory: nothing is durable there; see --directory", file=sys.stderr)
    if about["load"] > machine.BUSY:
        print(f"this machine is busy, its load is {about['load']:.1f}: figures will be worse", file=sys.stderr)
    compile_sources()
    series: list[Series] = []
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    document: dict[str, Any] = {}
    for workload in chosen:
        for database in databases:
            name = f"{workload.key} over {database}"
            print(f"{name}: {workload.title}", file=sys.stderr, flush=True)
            try:
                place = scratch / f"{workload.key}-{database}"
                place.mkdir()
                bench = Bench(
                    place,
                    database,
                    repeats=given.repeats,
                    small=given.scale == "small",
                    profiler=profiler,
                    progress=True,
                    job_stores=given.job_stores,
                )
                workload.measure(bench)
                series += bench.series
            except Skipped as reason:
                skipped[name] = str(reason)
            except Exception as error:
                traceback.print_exc()
                failed[name] = f"{type(error).__name__}: {error}"
            document = report.document(
                series,
                about,
                scale=given.scale,
                job_stores=given.job_stores,
                profiled=profiler is not None,
                skipped=skipped,
                failed=failed,
            )
            if given.json is not None:
                given.json.parent.mkdir(parents=True, exist_ok=True)
                given.json.write_text(json.dumps(document, indent=1) + "\n")
    return document


def _compare(now: dict[str, Any], then: dict[str, Any], file: Path) -> int:
    try:
        changes = comparison.compare(now, then)
    except ValueError as problem:
        print(f"benchmarks: {file} cannot be compared with: {problem}", file=sys.stderr)
        return 2
    print(f"\ncompared with {file}:\n{comparison.text(changes, now, then)}")
    return int(any(change.verdict == "slower" for change in changes))


def _listing() -> list[str]:
    lines = []
    for workload in WORKLOADS:
        lines.append(f"{workload.key:8} {workload.title}")
        lines += [f"         {figure.key:16} {figure.title} [{figure.unit}]" for figure in workload.figures]
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").strip())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="for example w1 w3; all without any")
    parser.add_argument("--database", choices=DATABASES, default="both")
    parser.add_argument("--repeats", type=_at_least_one, default=3, metavar="N", help="rounds; the median counts (3)")
    parser.add_argument("--scale", choices=("small", "full"), default="full", help="small: shows only that it works")
    parser.add_argument("--job-stores", type=_at_least_one, default=1, metavar="N", help="so many over PostgreSQL (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    parser.add_argument("--against", type=Path, metavar="FILE", help="compare with an earlier --json FILE")
    parser.add_argument("--profile", type=Path, metavar="DIR", help="write profiles of the services there")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="a place on a disk for sites (temporary files')")
    parser.add_argument("--list", action="store_true", help="say what there is")
    return parser


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


if __name__ == "__main__":
    for variable in [name for name in os.environ if name.startswith("BALSAM_") and name != "BALSAM_PG_BIN"]:
        del os.environ[variable]
    # Who is told to end ends its processes first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
