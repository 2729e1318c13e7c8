"""What a handler of an error does in a campaign: it has its job run again, however long the job store is away."""

from __future__ import annotations

import time

from balsam.errors import Unavailable
from balsam.launcher import dag

_PAUSE_SECONDS = 0.5


def main() -> None:
    """Moves the current job on."""
    while True:
        try:
            job = dag.current_job
            assert job is not None
            job.update_state("RESTART_READY")
            return
        except Unavailable:
            time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main()
