"""One job store works on a database file, by whatever path and from whichever host."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from balsam.errors import SiteError
from balsam.settings import render
from balsam.site import Site
from balsam_jobstore import filesystems
from balsam_jobstore.database import Database
from balsam_jobstore.holding import Holding
from balsam_jobstore.one_site import connection_name
from tests.support.processes import serves, services
from tests.support.sites import make_test_site

MOUNTS = """/dev/vda / ext4 rw,relatime 0 0
tmpfs /tmp tmpfs rw 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
/dev/vdb /home/local xfs rw 0 0
lustre /scratch\\040space lustre rw 0 0
sshfs /mnt/other fuse.sshfs rw 0 0
"""


def start(site: Site) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "balsam_jobstore", "--site", str(site.path)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


def by_symlink(site: Site, path: Path) -> Site:
    path.symlink_to(site.path)
    return Site(path)


def by_copy(site: Site, path: Path) -> Site:
    shutil.copytree(site.path, path, ignore=shutil.ignore_patterns("database", "run"))
    (path / "database").symlink_to(site.database)
    return Site(path)


def by_url(site: Site, path: Path) -> Site:
    shutil.copytree(site.path, path, ignore=shutil.ignore_patterns("database", "run"))
    (path / "settings.toml").write_text(render(type(site.settings)(database=f"sqlite:///{site.database}/balsam.db")))
    return Site(path)


def by_hard_link(site: Site, path: Path) -> Site:
    shutil.copytree(site.path, path, ignore=shutil.ignore_patterns("database", "run"))
    (path / "database").mkdir()
    os.link(site.database / "balsam.db", path / "database" / "balsam.db")
    return Site(path)


@pytest.mark.parametrize("other_way", [by_symlink, by_copy, by_url, by_hard_link])
def test_a_second_job_store_on_a_file_is_refused_by_whatever_path_it_comes(
    tmp_path: Path, other_way: Callable[[Site, Path], Site]
) -> None:
    # Where a path is too long for sockets, what is in the run directory does not tell that a symlink is the same site.
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    site = make_test_site(deep)
    with services(site, "jobstore") as running:
        refused = start(other_way(site, deep / "other"))
        assert refused.returncode == 1
        holder = f"(pid {running.pid('jobstore')} on {socket.gethostname()}, site {site.path})"
        named = "under another name" if other_way is by_hard_link else holder
        assert refused.stderr.endswith(f"is in use by another job store{',' * (named != holder)} {named}\n")
        assert refused.stderr.count("\n") == 1
        assert serves(site, "jobstore")


def test_the_same_site_by_a_symlink_is_known_by_its_run_directory(short_directory: Path) -> None:
    site = make_test_site(short_directory)
    with services(site, "jobstore") as running:
        refused = start(by_symlink(site, short_directory / "other"))
        holder = f"(pid {running.pid('jobstore')} on {socket.gethostname()})"
        assert refused.returncode == 1
        assert refused.stderr == f"balsam job store: the job store of this site runs already {holder}\n"
        assert serves(site, "jobstore")


@pytest.mark.postgres
def test_a_second_job_store_on_a_private_cluster_is_refused(tmp_path: Path) -> None:
    site = make_test_site(tmp_path, "postgres")
    with services(site, "jobstore") as running:
        refused = start(by_copy(site, tmp_path / "other"))
        assert refused.returncode == 1
        assert f"is in use by another job store (pid {running.pid('jobstore')} on " in refused.stderr
        assert serves(site, "jobstore")


@pytest.mark.postgres
def test_a_database_on_a_server_is_of_one_site_at_a_time(tmp_path: Path, postgres_url: str) -> None:
    first = make_test_site(tmp_path / "first", postgres_url)
    second = make_test_site(tmp_path / "second", postgres_url)
    with services(first, "jobstore") as running:
        refused = start(second)
        assert refused.returncode == 1
        assert f"the database is that of another site, ...{str(first.path)[-40:]}, whose job store" in refused.stderr
        assert refused.stderr.count("\n") == 1
        assert serves(first, "jobstore")
        running.kill("jobstore")
        running.start("jobstore")
    with services(second, "jobstore"):
        assert serves(second, "jobstore")


def test_sites_of_long_paths_differ_in_the_names_of_their_connections() -> None:
    names = {connection_name(Path("/a") / side / ("d" * 100)) for side in "bc"}
    assert len(names) == 2
    assert all(len(name) <= 63 for name in names)


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/var/x", "ext4", False),
        ("/tmp/x", "tmpfs", False),
        ("/home/me/site", "nfs4", True),
        ("/home/local/site", "xfs", False),
        ("/homeless", "ext4", False),
        ("/scratch space/x", "lustre", True),
        ("/mnt/other", "fuse.sshfs", True),
    ],
)
def test_the_file_system_of_a_path_is_that_of_the_nearest_mount(path: str, kind: str, network: bool) -> None:
    assert filesystems.kind(Path(path), MOUNTS) == kind
    assert (kind in filesystems.NETWORK) is network


# On a network file system


@pytest.fixture
def shared(tmp_path: Path) -> Callable[[], Holding]:
    site = make_test_site(tmp_path)
    return lambda: Holding(site.database / "balsam.db", site, is_network=lambda path: True)


def record(holding: Holding, **values: object) -> Path:
    """A made-up owner record."""
    path = holding.file.with_name("balsam.db.owner")
    path.write_text(json.dumps(values))
    return path


def test_another_host_is_refused_and_the_holder_named(shared: Callable[[], Holding]) -> None:
    holding = shared()
    path = record(holding, host="login7", boot_id="x", pid=4711, site="/home/me/site", renewed="2026-01-01T00:00:00")
    with pytest.raises(SiteError) as caught:
        holding.acquire()
    assert str(caught.value) == (
        f"the database {holding.file} is served by host login7 (pid 4711, site /home/me/site, last heard of at "
        f"2026-01-01T00:00:00): use balsam there, or, if that host is gone for good, remove {path}"
    )
    path.unlink()
    shared().file.with_name("balsam.db.lock").unlink()
    shared().acquire()


def test_a_record_of_this_host_from_before_a_crash_is_taken_over(shared: Callable[[], Holding]) -> None:
    holding = shared()
    path = record(holding, host=socket.gethostname(), boot_id="of another day", pid=1)
    holding.acquire()
    assert json.loads(path.read_text())["pid"] == os.getpid()
    holding.release()
    assert not path.exists()


def test_a_record_that_cannot_be_read_is_no_permission(shared: Callable[[], Holding]) -> None:
    holding = shared()
    holding.file.with_name("balsam.db.owner").write_text('{"ho')
    with pytest.raises(SiteError, match="cannot be read; if no other host serves this database, remove it"):
        holding.acquire()


def test_a_holder_notices_when_its_file_was_given_to_another_host(shared: Callable[[], Holding]) -> None:
    holding = shared()
    holding.acquire()
    holding.renew()
    path = record(holding, host="login7", pid=5)
    with pytest.raises(SiteError, match="is served by host login7"):
        holding.renew()
    holding.release()
    assert json.loads(path.read_text())["host"] == "login7"


def test_a_shared_database_has_a_journal_and_no_log_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "balsam.db"
    modes = []
    for is_shared in (False, True):
        database = Database(f"sqlite:///{path}", is_shared=is_shared)
        with database.writer() as connection:
            names = ("journal_mode", "synchronous")
            modes.append([connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names])
        database.close()
    assert modes == [["wal", 2], ["delete", 3]]
