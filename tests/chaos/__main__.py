"""Chaos: a campaign of real processes under faults, and a check of its whole history.

Exit status 0: nothing was found; 1: something was, and all evidence is kept; 2: it did not get to its end.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.chaos import report
from tests.chaos.campaign import Campaign
from tests.chaos.plan import make_plan
from tests.chaos.supervisor import environment, wrong_sources


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    given = _parser().parse_args(arguments)
    # Who is told to end ends its processes first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    directory = Path(tempfile.mkdtemp(prefix="balsam-chaos-", dir=given.directory))
    keep = True
    try:
        if given.source is not None and (wrong := wrong_sources(environment(directory, given.source), given.source)):
            keep = False
            print("\n".join(wrong), file=sys.stderr)
            return 2
        postgres = given.database == "postgres"
        try:
            plan = make_plan(
                given.seed, given.jobs, given.faults, given.lease_seconds, postgres=postgres, only=given.only
            )
        except ValueError as error:
            keep = False
            print(f"--only: {error}", file=sys.stderr)
            return 2
        campaign = Campaign(
            plan, directory, given.database, given.launchers, given.source, given.max_minutes, given.job_stores
        )
        result = campaign.run()
        keep = given.keep or result.status != 0
        command = ["python -m tests.chaos", *(sys.argv[1:] if arguments is None else arguments)]
        values = report.values(result, command, given.database)
        text = report.markdown(values) + report.findings_text(result)
        print(text)
        if given.report is not None:
            report.write(given.report, values, text)
        return result.status
    except KeyboardInterrupt:
        print(f"interrupted; evidence: {directory}", file=sys.stderr)
        return 2
    except Exception as error:
        traceback.print_exc()
        print(f"the harness failed: {error!r}; evidence: {directory}", file=sys.stderr)
        return 2
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=300, metavar="N", help="how many jobs (default: 300)")
    parser.add_argument("--faults", type=int, default=10, metavar="M", help="how many faults (default: 10)")
    parser.add_argument(
        "--only", nargs="+", default=(), metavar="FAULT", help="faults of these kinds only, as in SIGSTOP:launcher"
    )
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument(
        "--seed", type=int, default=1, metavar="S", help="the same seed gives the same plan (default: 1)"
    )
    parser.add_argument("--lease-seconds", type=float, default=2.0, metavar="T", help="the site's setting (default: 2)")
    parser.add_argument("--launchers", type=int, default=3, metavar="L", help="always at work (default: 3)")
    parser.add_argument("--job-stores", type=int, default=1, metavar="N", help="over PostgreSQL (default: 1)")
    parser.add_argument(
        "--max-minutes", type=float, default=60.0, metavar="T", help="then it is given up (default: 60)"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="writes the report: .json, else Markdown")
    parser.add_argument("--source", type=Path, metavar="DIR", help="a checkout whose packages are tried")
    parser.add_argument(
        "--directory", type=Path, metavar="DIR", help="where evidence is kept (default: that of temporary files)"
    )
    parser.add_argument("--keep", action="store_true", help="keeps the evidence when nothing was found, too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
