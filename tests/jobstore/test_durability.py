"""A commit is on the disk when it returns: what a loss of power would show, seen in the settings of each connection."""

from __future__ import annotations

from balsam_jobstore.database import Database


def test_every_commit_of_the_writer_is_synced(store_url: str) -> None:
    database = Database(store_url)
    connection = database.writer()
    if database.is_sqlite:
        # 2 is FULL: the log is synced by every commit. 1 (NORMAL) would lose the last ones.
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
    else:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
    connection.close()
    database.close()
