"""The file of an SQLite database: whether it is there, whole, and was not put in the place of another unnoticed."""

from __future__ import annotations

import re
import sqlite3
import time
from pathlib import Path

from balsam.errors import SiteError

CHECK_SECONDS = 0.5
"""How long a start may look over the pages of the file [s]: a gigabyte or so; what is beyond shows when it is read."""
_OF_A_ROW = re.compile(r" value in \w+\.\w+")
_STEPS = 100_000


class DatabaseFile:
    """An SQLite database as a file; `backups` is where its copies are."""

    def __init__(self, path: Path, backups: Path) -> None:
        self.path = path
        self._backups = backups
        self._mark = path.with_name(path.name + ".made")

    def mark(self) -> None:
        """Notes that there is a database now: that it is missing or empty later is no new beginning."""
        self._mark.touch(mode=0o600)

    def forget(self) -> None:
        """The database goes elsewhere: a new one may begin here."""
        self._mark.unlink(missing_ok=True)

    def check(self) -> None:
        """Looks at the file before anything is done with it.

        Raises:
            SiteError: it is gone, or damaged; names the newest backup and the ways out.
        """
        if not self.path.exists() or not self.path.stat().st_size:
            if self._mark.exists():
                raise SiteError(
                    f"the database {self.path} is gone or empty, and there was one: "
                    f"{self._way_out()}; to begin with an empty one, remove {self._mark}"
                )
            return
        problem = self._problem()
        if problem:
            raise SiteError(f"the database {self.path} is damaged ({problem}): {self._way_out()}")

    def _problem(self) -> str:
        until = time.monotonic() + CHECK_SECONDS
        connection = sqlite3.connect(self.path, timeout=10.0)
        try:
            connection.set_progress_handler(lambda: int(time.monotonic() > until), _STEPS)
            # Rows that are damaged are no damage to the file: they are set aside, one by one.
            lines = [line for (line,) in connection.execute("PRAGMA quick_check") if not _OF_A_ROW.search(line)]
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            return str(error) if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) else ""
        finally:
            connection.close()
        words = " ".join(lines[0].split()) if lines else "ok"
        return "" if words == "ok" else words[:200]

    def _way_out(self) -> str:
        copies = sorted(self._backups.glob("*.db"), key=lambda copy: copy.stat().st_mtime)
        if copies:
            return f"the newest backup is {copies[-1]}; docs/operating.md says how to restore it"
        return f"there is no backup in {self._backups}; docs/operating.md says what can be saved"
