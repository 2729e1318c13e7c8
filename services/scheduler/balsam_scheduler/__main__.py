"""`python -m balsam_scheduler --site PATH`: the scheduler of a site, as a process."""

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
    arguments = parser.parse_args()
    try:
        failpoints.arm("scheduler")
        site = open_site(arguments.site)
        from balsam_scheduler.service import run  # 0.1 s of imports, where there is a site

        run(site, echo=arguments.echo)
    except (BalsamError, OSError) as error:
        print(f"balsam scheduler: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
