"""Who works on a database file: one job store, whatever path it came by, and on whichever host it runs.

A lock beside the file ends with its holder. On a network file system such a lock may be seen by its own host only, so
there the holder also keeps a record of itself. A host that finds the record of another one refuses: from silence it
could not tell a dead holder from one that is cut off and still writes.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from balsam.errors import SiteError
from balsam.locks import ServiceLock
from balsam.site import Site
from balsam_jobstore import filesystems

RENEW_SECONDS = 10.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Holding:
    """A job store's hold on a database file. Making one of these touches nothing.

    Args:
        file: the database; it need not exist yet.
        site: whose job store it is.
        is_network: whether other hosts may see a path.
    """

    def __init__(self, file: Path, site: Site, is_network: Callable[[Path], bool] = filesystems.is_network) -> None:
        self.file = Path(os.path.realpath(file))
        self.is_shared = is_network(self.file.parent)
        """Other hosts may see it."""
        self._site = site
        self._lock = ServiceLock(self.file.with_name(self.file.name + ".lock"))
        self._record = self.file.with_name(self.file.name + ".owner")
        self._descriptor = -1

    def acquire(self) -> None:
        """Takes the file.

        Raises:
            SiteError: another job store has it; says which.
        """
        self._lock.take(f"the database {self.file} is in use by another job store", f", site {self._site.path}")
        if self.is_shared:
            self._refuse_another_host()
            self.renew()
        else:
            self._lock_itself()

    def _lock_itself(self) -> None:
        """Two names of one file (hard links) have two locks beside them. SQLite's own locks are of another kind."""
        self._descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SiteError(f"the database {self.file} is in use by another job store, under another name") from None

    def _refuse_another_host(self) -> None:
        record = self._read()
        if record is None or record.get("host") == socket.gethostname():
            return  # of this host; the lock says that it is dead
        if not record:
            raise SiteError(f"{self._record} cannot be read; if no other host serves this database, remove it")
        raise SiteError(
            f"the database {self.file} is served by host {record['host']} (pid {record.get('pid')}, site "
            f"{record.get('site')}, last heard of at {record.get('renewed')}): use balsam there, or, if that host is "
            f"gone for good, remove {self._record}",
            reason="OTHER_HOST",
        )

    def _read(self) -> dict[str, Any] | None:
        """The record; None: there is none; empty: it is damaged."""
        try:
            record = json.loads(self._record.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) and isinstance(record.get("host"), str) else {}

    def renew(self) -> None:
        """Says that we are alive.

        Raises:
            SiteError: the record is another host's: somebody has given the file away.
        """
        record = {
            "host": socket.gethostname(),
            "boot_id": _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else "",
            "pid": os.getpid(),
            "site": str(self._site.path),
            "renewed": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        self._refuse_another_host()
        draft = self._record.with_name(f"{self._record.name}.{os.getpid()}.tmp")
        with draft.open("w") as file:
            file.write(json.dumps(record))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._record)

    def release(self) -> None:
        """Gives the file back; the locks go with the process."""
        record = self._read()
        if record and record["host"] == socket.gethostname():
            self._record.unlink(missing_ok=True)
