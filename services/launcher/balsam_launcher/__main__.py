"""``python -m balsam_launcher --site PATH``: a launcher on this host."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from balsam.quiet import keep_grpc_quiet
from balsam_launcher.early import take_signals


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    take_signals()
    keep_grpc_quiet()
    from balsam_launcher.command import main as run  # what it imports takes a third of a second

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
