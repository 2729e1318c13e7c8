"""A site lives through versions: a copy first, then all of the upgrade or nothing, and its jobs go on."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from balsam.errors import SiteError
from balsam_jobstore import backups, migrate
from balsam_jobstore.backups import KEPT, back_up, restore
from balsam_jobstore.database import Database
from balsam_jobstore.postgres_programs import Programs, find_programs
from tests.support.invariants import violations_of_site
from tests.support.processes import launcher, services
from tests.support.revisions import EARLIER, NUMBERS, make_database, of_site
from tests.support.sites import jobs, make_test_site, wait_for_states

DONE = "JOB_FINISHED"
OFTEN = (EARLIER[0], EARLIER[-1])
"""The revisions whose sites are in every run of the tests: the longest way and the newest step."""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def rows(database: Database, text: str = "SELECT key, name, state FROM job ORDER BY key") -> list[tuple[object, ...]]:
    with database.reader() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(text)]


@pytest.mark.parametrize(
    "revision", [pytest.param(one, marks=[] if one in OFTEN else pytest.mark.slow) for one in NUMBERS]
)
def test_a_site_of_each_revision_finishes_its_jobs(
    tmp_path: Path, any_database: str, revision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_test_site(tmp_path, any_database, lease_seconds=2.0)
    database = of_site(site)
    make_database(database, revision)
    database.close()
    names = ["done", "ready", "child", "running"]
    if revision >= "0002":
        names.append("bound")
        monkeypatch.setenv("BALSAM_LAUNCH_ID", "1")
    with services(site):
        wait_for_states(site, {"running": "RESTART_READY"})  # its launcher is not heard of
        launcher(site)
        wait_for_states(site, dict.fromkeys(names, DONE))
        found = {job.name: job for job in jobs(site)}
    assert {name: job.attempt for name, job in found.items()} == {
        name: 2 if name == "running" else 1 for name in names[:2] + names[3:]
    } | {"child": 1}
    assert found["child"].data == '{"é": [1.5, null]}'
    assert violations_of_site(site) == []
    copies = sorted(path.name for path in site.backups.glob("*"))
    assert len(copies) == (revision in EARLIER)
    assert all(name.startswith(f"balsam-{revision}-") for name in copies)


def test_what_jobs_need_for_themselves_is_seen_in_their_rows_afterwards(database: Database) -> None:
    make_database(database, "0006")
    with database.writer() as connection, connection.begin():
        keys = connection.exec_driver_sql("SELECT key FROM job ORDER BY key").scalars().all()[:3]
        connection.exec_driver_sql("UPDATE job SET needs = 1")
        connection.exec_driver_sql(f"UPDATE job_detail SET gpus_per_rank = 0.5 WHERE key IN ({keys[0]}, {keys[1]})")
        connection.exec_driver_sql(f"UPDATE job_detail SET cpu_affinity = 2 WHERE key IN ({keys[1]}, {keys[2]})")
    migrate.migrate(database)
    assert [needs for _, needs in rows(database, "SELECT key, needs FROM job ORDER BY key")][:4] == [
        1 + 2048, 1 + 2048 + 4096, 1 + 4096, 1,
    ]  # fmt: skip


def test_the_copy_is_the_database_as_it_was(database: Database, tmp_path: Path) -> None:
    make_database(database, "0001")
    before = rows(database)
    migrate.migrate(database, tmp_path / "backups")
    with database.writer() as connection, connection.begin():
        connection.exec_driver_sql("DELETE FROM job")
    (copy,) = (tmp_path / "backups").iterdir()
    assert copy.stat().st_mode & 0o77 == 0 or copy.parent.stat().st_mode & 0o77 == 0
    database.close()
    restore(database, copy)
    assert rows(database) == before
    assert migrate.revision(database) == "0001"
    assert rows(database, "SELECT count(*) FROM event") == [(12,)]
    migrate.migrate(database, tmp_path / "backups")
    assert migrate.revision(database) == migrate.HEAD
    assert rows(database) == before


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(database: Database, tmp_path: Path) -> None:
    make_database(database, "0002")
    with database.writer() as connection, connection.begin():
        connection.exec_driver_sql("CREATE INDEX job_name ON job (name)")  # of revision 0003, after a column
    before = rows(database, "SELECT * FROM job ORDER BY key")
    with pytest.raises(
        SiteError, match=r"cannot be brought from revision 0002 to .*already exists.*it is as it was, and "
    ):
        migrate.migrate(database, tmp_path / "backups")
    assert migrate.revision(database) == "0002"
    assert rows(database, "SELECT * FROM job ORDER BY key") == before
    assert len(list((tmp_path / "backups").iterdir())) == 1


def test_without_room_for_the_copy_nothing_is_upgraded(
    database: Database, tmp_path: Path, small_filesystem: Callable[[int], Path]
) -> None:
    make_database(database, "0001")
    directory = small_filesystem(4096) / "backups"
    with pytest.raises(SiteError, match=r"cannot make a backup in .*; the database is as it was and was not") as caught:
        migrate.migrate(database, directory)
    assert any(words in str(caught.value) for words in ("room", "No space"))
    assert migrate.revision(database) == "0001"
    assert list(directory.iterdir()) == []


def test_the_newest_copies_are_kept(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'balsam.db'}")
    make_database(database, "0001")
    directory = tmp_path / "backups"
    copies = [back_up(database, directory, "0001") for _ in range(KEPT + 2)]
    (directory / "of-the-user.db").touch()
    back_up(database, directory, "0000")
    assert sorted(path.name for path in directory.iterdir() if path not in copies[3:])[1:] == ["of-the-user.db"]
    assert all(path.exists() for path in copies[3:])
    database.close()


@pytest.mark.postgres
def test_without_pg_dump_the_rows_are_copied(
    make_postgres_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    psql = find_programs().directory / "psql"
    monkeypatch.setattr(backups, "find_programs", lambda major: Programs(tmp_path, major))
    old, new = Database(make_postgres_database()), Database(make_postgres_database())
    make_database(old, "0002")
    copy = back_up(old, tmp_path / "backups", "0002")
    assert copy.suffix == ".sql"
    make_database(new, "0002")
    with new.writer() as connection, connection.begin():
        for table in ("job", "job_detail", "edge", "event", "application", "session", "launch", "counter"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
        connection.exec_driver_sql("DELETE FROM alembic_version")
    url = new.url.set(drivername="postgresql").render_as_string()
    subprocess.run([psql, "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", copy], check=True)
    for table in ("job", "job_detail", "event", "alembic_version"):
        assert sorted(map(str, rows(new, f"SELECT * FROM {table}"))) == sorted(
            map(str, rows(old, f"SELECT * FROM {table}"))
        )
    old.close()
    new.close()


def test_a_job_store_puts_a_backup_back_and_keeps_what_was_there(tmp_path: Path) -> None:
    site = make_test_site(tmp_path)
    database = of_site(site)
    make_database(database, "0001")
    migrate.migrate(database, site.backups)
    database.close()
    (copy,) = site.backups.iterdir()
    shutil.copy(site.database / "balsam.db", tmp_path / "before.db")
    command = [sys.executable, "-m", "balsam_jobstore", "--site", str(site.path), "--restore", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"restored {copy}; start the services with `balsam up`\n"
    restored = sqlite3.connect(site.database / "balsam.db")
    assert restored.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
    restored.close()
    assert (site.database / "balsam.db.before-restore").read_bytes() == (tmp_path / "before.db").read_bytes()


@pytest.mark.parametrize("name", ["nothing.db", "settings.toml"])
def test_what_is_no_backup_is_refused(tmp_path: Path, name: str) -> None:
    site = make_test_site(tmp_path)
    command = [sys.executable, "-m", "balsam_jobstore", "--site", str(site.path), "--restore", str(site.path / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "is not a backup of this kind of database" in done.stderr
    assert done.stderr.count("\n") == 1
