"""``python -m balsam_jobstore.moving --site PATH``: moves the database of a site whose services do not run.

Where to is read from stdin, as one line, since an address may hold a password.
"""

from __future__ import annotations

import argparse
import json
import sys

from balsam.errors import BalsamError
from balsam.site import open_site
from balsam_jobstore.moving.relocating import move


def main() -> int:
    """Moves it and prints what was moved, as JSON; 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="balsam_jobstore.moving", description="Moves the database of a Balsam site.")
    parser.add_argument("--site", required=True, help="path of the site")
    options = parser.parse_args()
    try:
        moved = move(open_site(options.site), sys.stdin.readline().strip())
    except (BalsamError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(moved.as_record()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
