"""Which job stores serve a database: each holds a lock file beside it, and the lock ends with its process.

Whether another one is dead decides who may take up its sessions. A process that has ended answers no renewal any more,
which is what counts; a connection to the database that is gone says nothing of its process.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from balsam import locks, stores
from balsam.errors import SiteError
from balsam.locks import ServiceLock

_ALL = "jobstores.lock"


class Membership:
    """The lock files in the directory of a site's database.

    Args:
        directory: `SITE/database`, which nobody tidies up.
        number: of this job store, from 1.
    """

    def __init__(self, directory: Path, number: int) -> None:
        self._directory = Path(os.path.realpath(directory))
        self._number = number
        self._descriptor = -1

    def acquire(self, *, alone: bool) -> None:
        """Takes the place of this job store; `alone`: where no other may be.

        Raises:
            SiteError: it is taken, or some other job store does not reckon with others.
        """
        self._descriptor = os.open(self._directory / _ALL, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise SiteError(
                "another job store of this site runs, and job_stores was 1 when one of the two was started: "
                "stop all with `balsam down`, then start them with `balsam up`",
                reason="ALREADY_RUNNING",
            ) from None
        ServiceLock(self._file(self._number)).take(f"job store {self._number} of this database runs already")

    def is_alive(self, number: int) -> bool:
        """Whether the process of another one runs."""
        return number == self._number or locks.holder(self._file(number)) is not None

    def others(self) -> list[int]:
        """Those that run beside this one."""
        return [number for number in range(1, stores.MOST + 1) if number != self._number and self.is_alive(number)]

    def _file(self, number: int) -> Path:
        return self._directory / f"{stores.name(number)}.lock"
