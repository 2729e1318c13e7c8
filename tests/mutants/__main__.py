"""Seeded bugs: which of them does the harness find, by what, and how fast?

Exit status 0: all; 1: not all; 2: a bug does not apply any more, or a detector says nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.bugs import BUGS
from tests.mutants.seeds import Bug, by_name
from tests.mutants.trial import Finding, Trials, Unusable

_HEAD = "| bug | what breaks | found by | how | seconds |\n| --- | --- | --- | --- | --- |"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these bugs only")
    parser.add_argument("--list", action="store_true", help="names the bugs and what they break, and ends")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="bugs on trial at once (default: 2)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="writes the table there too")
    given = parser.parse_args(arguments)
    try:
        bugs = by_name(BUGS, given.only)
    except ValueError as error:
        print(f"--only: {error}", file=sys.stderr)
        return 2
    if given.list:
        print("\n".join(f"{bug.name}: {bug.breaks}" for bug in bugs))
        return 0
    trials = Trials()
    print(_HEAD, flush=True)
    with ThreadPoolExecutor(given.workers) as pool:
        rows = list(pool.map(lambda bug: _try(trials, bug), bugs))
    found = sum(isinstance(outcome, Finding) for _, outcome in rows)
    score = f"\n{found} of {len(bugs)} bugs were found."
    print(score)
    if given.report is not None:
        given.report.write_text("\n".join([_HEAD, *(_row(bug, outcome) for bug, outcome in rows), score, ""]))
    if any(isinstance(outcome, str) for _, outcome in rows):
        return 2
    return 0 if found == len(bugs) else 1


def _try(trials: Trials, bug: Bug) -> tuple[Bug, Finding | str | None]:
    outcome: Finding | str | None
    try:
        outcome = trials.try_bug(bug)
    except (ValueError, Unusable) as error:
        outcome = str(error)
        print(f"{bug.name}: {outcome}", file=sys.stderr, flush=True)
    print(_row(bug, outcome), flush=True)
    return bug, outcome


def _row(bug: Bug, outcome: Finding | str | None) -> str:
    if isinstance(outcome, Finding):
        return f"| {bug.name} | {bug.breaks} | {outcome.detector} | {outcome.how} | {outcome.seconds:.0f} |"
    return f"| {bug.name} | {bug.breaks} | **{'nobody' if outcome is None else 'not tried'}** | | |"


if __name__ == "__main__":
    sys.exit(main())
