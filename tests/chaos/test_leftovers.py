"""What must not be left after a campaign is seen where it is."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from balsam.site import Site
from balsam_jobstore.database import Database, sqlite_url
from balsam_jobstore.migrate import migrate
from tests.chaos import leftovers
from tests.chaos.campaign import prepare
from tests.chaos.plan import Plan
from tests.chaos.supervisor import Supervisor, environment
from tests.support.sites import wait_until


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """The site of a campaign that has not begun, in `tmp_path`."""
    return prepare(Plan(1, 2.0, [], []), tmp_path, "sqlite")


def test_a_clean_site_has_nothing(site: Site) -> None:
    assert list(leftovers.of_files(site)) == []


def test_a_temporary_file_is_seen(site: Site) -> None:
    (site.database / "draft.tmp").touch()
    assert [finding.rule for finding in leftovers.of_files(site)] == ["no_temporary_file_is_left"]


def test_a_traceback_is_seen_with_its_error(site: Site) -> None:
    (site.log / "jobstore.log").write_text('fine\nTraceback (most recent call last):\n  File "x"\nValueError: y\n')
    (finding,) = leftovers.of_files(site)
    assert (finding.rule, finding.text) == ("no_traceback_in_a_log", "jobstore.log: ValueError: y")


def test_a_ledger_is_seen(site: Site) -> None:
    (site.path / "ledger").mkdir()
    (site.path / "ledger" / "host-1-a").touch()
    assert [finding.rule for finding in leftovers.of_files(site)] == ["no_ledger_is_left"]


def test_a_secret_in_a_log_is_seen(site: Site) -> None:
    (site.log / "scheduler.log").write_text(f"with {site.owner_token_file.read_text()}")
    assert [finding.rule for finding in leftovers.of_files(site)] == ["no_secret_in_a_log"]


def test_a_process_that_lives_is_seen_and_ended(site: Site, tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path, site, 1, None)
    process = subprocess.Popen(["setsid", "sleep", "300"], env=environment(tmp_path, None))
    wait_until(lambda: "sleep 300" in supervisor.remains().values())
    assert [finding.rule for finding in leftovers.of_processes(supervisor.remains())] == ["no_process_is_left"]
    supervisor.kill_everything()
    assert supervisor.remains() == {}
    assert process.wait() == -signal.SIGKILL


def test_a_session_of_a_launcher_is_seen(site: Site) -> None:
    database = Database(sqlite_url(site.database))
    migrate(database)
    columns = (
        "session_id, request_id, kind, host, pid, owner, version, create_us, nodes, job_mode, workflow_filter, address"
    )
    with database.writer() as connection, connection.begin():
        for kind in (1, 2):
            values = f"'{kind}', '{kind}', {kind}, 'here', 7, 'me', '1', 0, 1, 'auto', '', ''"
            connection.execute(sa.text(f"INSERT INTO session ({columns}) VALUES ({values})"))
    with database.reader() as connection:
        found = [finding.text for finding in leftovers.of_database(connection)]
    database.close()
    assert found == ["the session of the launcher 7 on here is open"]


@pytest.mark.parametrize(("at_work_seconds", "is_wrong"), [(0.0, True), (600.0, False)])
def test_what_ends_by_itself_is_started_again_and_counted(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_work_seconds: float, is_wrong: bool
) -> None:
    monkeypatch.setattr("tests.chaos.supervisor.AT_WORK_SECONDS", at_work_seconds)
    supervisor = Supervisor(tmp_path, site, 1, None)
    supervisor.children = {"jobstore": supervisor.children["jobstore"]}
    supervisor.children["jobstore"].command = [sys.executable, "-c", "raise SystemExit(3)"]

    def twice() -> bool:
        supervisor.keep()
        return supervisor.own_exits["jobstore (3)"] >= 2

    wait_until(twice)
    supervisor.children["jobstore"].process.wait()  # type: ignore[union-attr]
    assert bool(supervisor.gave_up) == is_wrong
