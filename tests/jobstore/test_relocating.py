"""The database of a site goes to another one: all of it, or nothing has changed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from balsam.errors import SiteError
from balsam.settings import replaced
from balsam.site import SETTINGS_FILE, Site, open_site
from balsam_jobstore import nodes, schema, users
from balsam_jobstore.database import Database, sqlite_url
from balsam_jobstore.moving.copying import summaries
from balsam_jobstore.moving.relocating import compare
from balsam_jobstore.postgres import Cluster
from tests.jobstore.conftest import checked_bench
from tests.jobstore.test_random_walks import Walk
from tests.support.postgres import execute
from tests.support.processes import services
from tests.support.rpc_client import Client
from tests.support.sites import jobs, make_test_site, wait_until

pytestmark = pytest.mark.postgres

COMMENT = "# the database is on fast disks\n"
STAGES = ["copy_tables", "place.finish", "switch", "keep_backup", "place.forget"]


@pytest.fixture(scope="session")
def eventful(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a rich past, and jobs at work."""
    path = tmp_path_factory.mktemp("eventful") / "balsam.db"
    shutil.copy(migrated_sqlite, path)
    with checked_bench(f"sqlite:///{path}") as bench:
        Walk(bench, 3).run(60)
        columns = ("request_id", "part", "method", "caller", "digest", "answer", "next")
        answered = [str(uuid.uuid4()), 0, "KillJobs", "me", b"\0\xff", b"\x08\1\n\t\\", None]
        bench.do(lambda tx: tx.sql.insert("request", columns, [answered]))
        bench.do(lambda tx: users.add(tx, "ann", users.MEMBER, bytes(range(32)), 0, "me"))
        bench.do(lambda tx: tx.note("AddUser", ["ann"], "member"))
        bench.do(lambda tx: nodes.keys_of(tx.sql, ["node17"]))
    return path


@pytest.fixture
def full_site(site: Site, eventful: Path) -> Site:
    """A site over SQLite with a rich past; its services do not run."""
    shutil.copy(eventful, site.database / "balsam.db")
    settings = site.path / SETTINGS_FILE
    settings.write_text(settings.read_text() + COMMENT)
    return site


def move(site: Site, target: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """Moves the database of a site, in a process of its own; `code` is run there first."""
    program = (
        f"import sys; from balsam_jobstore.moving import places, relocating, __main__ as m\n{code}\nsys.exit(m.main())"
    )
    return subprocess.run(
        [sys.executable, "-c", program, "--site", str(site.path)],
        input=target + "\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def moved(site: Site, target: str) -> dict[str, Any]:
    """Moves the database of a site; gives what it says."""
    done = move(site, target)
    assert done.returncode == 0, done.stderr
    assert not list(site.database.glob("*moving*"))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def content(site: Site) -> Any:
    """What the database of a site holds."""
    name = open_site(site.path).settings.database
    cluster = Cluster(site.database / "postgres", site.run) if name == "postgres" else None
    if cluster is not None:
        cluster.start(site.log / "postgres.log")
        name = cluster.url
    database = Database(sqlite_url(site.database) if name == "sqlite" else name)
    try:
        return summaries(database)
    finally:
        database.close()
        if cluster is not None:
            cluster.stop()


def test_a_database_goes_to_a_server_and_back_and_nothing_is_lost(full_site: Site, postgres_url: str) -> None:
    before = content(full_site)
    assert before["job"].rows > 10
    assert before["session"].last_number > 0
    there = moved(full_site, postgres_url)
    assert content(full_site) == before
    settings = full_site.path / SETTINGS_FILE
    assert open_site(full_site.path).settings.database == postgres_url
    assert COMMENT in settings.read_text()
    assert settings.stat().st_mode & 0o777 == 0o600
    backup = Path(there["backup"])
    assert backup.exists()
    assert there["tables"]["job"]["rows"] == before["job"].rows
    back = moved(full_site, "sqlite")
    assert back["backup"].startswith("postgresql")
    assert content(full_site) == before
    assert backup.exists()


def test_a_private_cluster_takes_the_database_and_work_goes_on_there(full_site: Site) -> None:
    before = content(full_site)
    moved(full_site, "postgres")
    assert content(full_site) == before
    site = open_site(full_site.path)
    with services(site, "jobstore"):
        assert len(jobs(site)) == before["job"].rows
        refused = move(site, "sqlite")
        assert refused.returncode == 1
        assert "the job store of this site runs already" in refused.stderr
        assert "stop it with `balsam down`" in refused.stderr
    after = content(site)
    assert moved(site, "sqlite")["tables"]["event"]["rows"] == after["event"].rows
    assert content(site) == after
    assert len(list(site.database.glob("postgres-*"))) == 1


@pytest.mark.parametrize("stage", STAGES)
def test_a_move_that_is_killed_leaves_a_site_that_works_and_can_be_moved_again(
    full_site: Site, postgres_url: str, stage: str
) -> None:
    before = content(full_site)
    _kill_around(full_site, postgres_url, stage)
    assert content(full_site) == before
    if open_site(full_site.path).settings.database == "sqlite":
        moved(full_site, postgres_url)
    assert content(full_site) == before
    _kill_around(full_site, "sqlite", stage)
    assert content(full_site) == before
    if open_site(full_site.path).settings.database != "sqlite":
        moved(full_site, "sqlite")
    assert content(full_site) == before


_WRAP = """
import os, signal
def wrap(stage):
    def run(*arguments):
        stage(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)
    return run
"""


def _kill_around(site: Site, target: str, stage: str) -> None:
    """Moves, and is killed with SIGKILL when a stage is done, and not yet reported."""
    holder, _, name = stage.rpartition(".")
    owners = ["places.EmbeddedPlace", "places.ClusterPlace", "places.ServerPlace"] if holder else ["relocating"]
    code = _WRAP + "".join(f"{owner}.{name} = wrap({owner}.{name})\n" for owner in owners)
    done = move(site, target, code)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_cluster_that_was_half_made_is_made_again(full_site: Site) -> None:
    before = content(full_site)
    _kill_around(full_site, "postgres", "copy_tables")
    assert (full_site.database / "postgres.moving").exists()
    assert content(full_site) == before
    moved(full_site, "postgres")
    assert content(full_site) == before


def test_a_server_with_somebody_elses_tables_is_refused_and_left_alone(full_site: Site, postgres_url: str) -> None:
    execute(postgres_url, "CREATE TABLE theirs (x int)")
    refused = move(full_site, postgres_url)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "is not empty (it has the table theirs); give one without tables" in refused.stderr
    assert execute(postgres_url, "SELECT count(*) FROM theirs") == [(0,)]
    assert open_site(full_site.path).settings.database == "sqlite"


def test_half_a_copy_of_another_site_is_not_wiped(full_site: Site, tmp_path: Path, postgres_url: str) -> None:
    _kill_around(full_site, postgres_url, "copy_tables")
    (tmp_path / "other").mkdir()
    other = make_test_site(tmp_path / "other")
    refused = move(other, postgres_url)
    assert refused.returncode == 1
    assert "is not empty" in refused.stderr
    moved(full_site, postgres_url)


def test_the_database_that_is_used_is_no_target(full_site: Site) -> None:
    refused = move(full_site, "sqlite")
    assert (refused.returncode, refused.stderr.endswith("is sqlite already\n")) == (1, True)


def test_a_server_that_is_not_there_is_said_in_one_line_without_its_password(full_site: Site) -> None:
    refused = move(full_site, "postgresql://me:secret@127.0.0.1:1/none")
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "secret" not in refused.stderr


@pytest.mark.parametrize("table", [table.name for table in schema.metadata.sorted_tables])
def test_a_copy_that_differs_in_one_row_is_noticed(full_site: Site, tmp_path: Path, table: str) -> None:
    original = Database(f"sqlite:///{full_site.database / 'balsam.db'}")
    copy = tmp_path / "copy.db"
    shutil.copy(full_site.database / "balsam.db", copy)
    other = Database(f"sqlite:///{copy}")
    compare(original, other)
    columns = schema.metadata.tables[table].columns
    column = [column.name for column in columns if not column.primary_key][-1]
    key = next(column.name for column in columns if column.primary_key)
    with other.writer() as connection, connection.begin():
        connection.exec_driver_sql(f"UPDATE {table} SET {column} = 7 WHERE {key} = (SELECT max({key}) FROM {table})")
    with pytest.raises(SiteError, match=f"the copy of the table {table} is not the same"):
        compare(original, other)
    original.close()
    other.close()


def test_a_job_store_goes_on_with_the_numbers_of_before(site: Site, postgres_url: str) -> None:
    with services(site, "jobstore"):
        Client(site).close()
        before = wait_until(lambda: site.read_info("jobstore"), site=site)
    assert before
    moved(site, postgres_url)
    with services(open_site(site.path), "jobstore"):
        assert jobs(site) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a = 1\ndatabase = "sqlite"  # why\nb = 2\n', 'a = 1\ndatabase = "postgres"  # why\nb = 2\n'),
        ("database='x\\y'\n", 'database="postgres"\n'),
        ('# database = "no"\n', 'database = "postgres"\n# database = "no"\n'),
        ('database = "a\\"b"\n', 'database = "postgres"\n'),
    ],
)
def test_one_setting_is_replaced_and_all_else_stays(text: str, expected: str) -> None:
    assert replaced(text, "database", "postgres") == expected


def test_a_setting_that_is_written_in_another_way_is_refused() -> None:
    with pytest.raises(SiteError, match="the setting database cannot be changed in this file"):
        replaced('database = """\nsqlite"""\n', "database", "postgres")
