"""`python -m balsam_scheduler --site PATH`: the scheduler of a site, as a process; with `--steps LOG` a step worker, as
launchers start it."""

from __future__ import annotations

import argparse
import sys

from balsam import failpoints
from balsam.errors import BalsamError
from balsam.site import open_site


def main() -> int:
    """Exit code 0 after a signal; 1, with one line on stderr, where it cannot run."""
    parser = argparse.ArgumentParser(prog="balsam_scheduler", description="Moves the jobs of a Balsam site.")
    parser.add_argument("--site", required=True, help="path of the site")
    parser.add_argument("--echo", action="store_true", help="log to stderr as well")
    parser.add_argument("--steps", metavar="LOG", help="scripts and staging of this user's jobs only, until input ends")
    parser.add_argument("--trust", action="append", default=[], metavar="USER", help="with --steps: this user's, too")
    arguments = parser.parse_args()
    try:
        failpoints.arm("steps" if arguments.steps else "scheduler")
        site = open_site(arguments.site)
        if arguments.steps:
            from balsam_scheduler import step_worker

            step_worker.run(site, arguments.steps, arguments.trust)
            return 0
        from balsam_scheduler.service import run  # 0.1 s of imports, where there is a site

        run(site, echo=arguments.echo)
    except (BalsamError, OSError) as error:
        print(f"balsam scheduler: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
