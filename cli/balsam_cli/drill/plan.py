"""What a drill is asked to do."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """What the user asked for.

    Attributes:
        jobs: how many.
        keep: leave jobs and directories.
        yes: do not ask.
        wait_for_lease: the dead launcher's jobs come back when its lease runs out, and not when its death is certain;
            None: where the lease is short.
        most_seconds: give up after so long; None: by what the plan takes.
        launcher: the launcher's command; for tests.
    """

    jobs: int
    keep: bool = False
    yes: bool = False
    wait_for_lease: bool | None = None
    most_seconds: float | None = None
    launcher: tuple[str, ...] = (sys.executable, "-m", "balsam_launcher")
