"""The private PostgreSQL cluster of a site, with real servers."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import sqlalchemy

from balsam.errors import SiteError
from balsam_jobstore import postgres_programs
from balsam_jobstore.postgres import Cluster, Stop
from balsam_jobstore.postgres_programs import find_programs
from tests.support.components import missing
from tests.support.postgres import execute
from tests.support.processes import services
from tests.support.sites import make_test_site

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a cluster that has never run, to be copied: making one takes a second."""
    try:
        find_programs()
    except SiteError as error:
        missing("PostgreSQL", str(error))
    directory = tmp_path_factory.mktemp("made") / "pg"
    Cluster(directory, directory, durable=False).init()
    return directory


@pytest.fixture
def cluster(made: Path, short_directory: Path, tmp_path: Path) -> Iterator[Cluster]:
    subprocess.run(["cp", "-a", made, tmp_path / "pg"], check=True)
    cluster = Cluster(tmp_path / "pg", short_directory, durable=False)
    yield cluster
    cluster.stop(Stop.IMMEDIATE)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "postgres.log"


def test_a_cluster_is_closed_to_everyone_else(cluster: Cluster, log: Path) -> None:
    cluster.start(log)

    assert execute(cluster.url, "SHOW listen_addresses") == [("",)]
    assert stat.S_IMODE(cluster.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(cluster.password_file.stat().st_mode) == 0o600
    sockets = [path for path in cluster.socket_directory.iterdir() if path.is_socket()]
    assert [stat.S_IMODE(path.stat().st_mode) for path in sockets] == [0o700]


def test_only_who_reads_the_password_is_let_in(cluster: Cluster, log: Path, tmp_path: Path) -> None:
    cluster.start(log)
    wrong = tmp_path / "wrong"
    wrong.write_text("*:*:*:balsam:guessed\n")
    wrong.chmod(0o600)

    url = sqlalchemy.make_url(cluster.url).update_query_dict({"passfile": str(wrong)})
    with pytest.raises(sqlalchemy.exc.OperationalError, match="password authentication failed"):
        execute(url.render_as_string(), "SELECT 1")


def test_the_password_is_in_no_address_log_or_argument(cluster: Cluster, log: Path) -> None:
    cluster.start(log)
    execute(cluster.url, "SELECT 1")

    password = cluster.password_file.read_text().strip().split(":")[-1]
    pid = cluster.pid()
    assert pid is not None
    everywhere = [cluster.url, log.read_text(), " ".join(psutil.Process(pid).cmdline())]
    everywhere += [conf.read_text() for conf in cluster.data.glob("*.conf")]
    assert len(password) > 30
    assert [text for text in everywhere if password in text] == []


def test_a_site_s_cluster_commits_to_the_disk(cluster: Cluster, log: Path) -> None:
    cluster.durable = True
    cluster.start(log)

    settings = {name: execute(cluster.url, f"SHOW {name}")[0][0] for name in ("fsync", "synchronous_commit")}
    assert settings == {"fsync": "on", "synchronous_commit": "on"}


def test_texts_are_sorted_byte_by_byte_as_in_sqlite(cluster: Cluster, log: Path) -> None:
    cluster.start(log)

    rows = execute(cluster.url, "SELECT x FROM (VALUES ('b'), ('B'), ('é'), ('a')) AS t(x) ORDER BY x")
    assert [row[0] for row in rows] == ["B", "a", "b", "é"]


def test_starting_twice_attaches_to_the_running_server(cluster: Cluster, log: Path, tmp_path: Path) -> None:
    cluster.start(log)

    # Another process of ours, after a crash, that would have put the socket elsewhere.
    again = Cluster(cluster.directory, tmp_path)
    again.start(log)

    assert again.pid() == cluster.pid()
    assert execute(again.url, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("how", Stop)
def test_stopping_ends_the_server_and_keeps_what_was_written(cluster: Cluster, log: Path, how: Stop) -> None:
    cluster.start(log)
    execute(cluster.url, "CREATE TABLE kept AS SELECT 7 AS x")

    cluster.stop(how)
    assert cluster.pid() is None

    cluster.start(log)
    assert execute(cluster.url, "SELECT x FROM kept") == [(7,)]


def test_stopping_what_does_not_run_does_nothing(cluster: Cluster) -> None:
    cluster.stop()
    assert cluster.pid() is None


def test_a_killed_server_starts_again_though_its_connections_live_on(cluster: Cluster, log: Path) -> None:
    cluster.start(log)
    engine = sqlalchemy.create_engine(cluster.url)
    with engine.connect() as connection:
        backend = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        os.kill(backend, signal.SIGSTOP)  # as deaf to the end of its server as one that computes
        _kill(cluster)

        cluster.start(log)
        assert execute(cluster.url, "SELECT 1") == [(1,)]
        assert not psutil.pid_exists(backend) or psutil.Process(backend).status() == psutil.STATUS_ZOMBIE
        connection.invalidate()
    engine.dispose()


def test_a_pid_file_that_names_a_stranger_is_no_hindrance(cluster: Cluster, log: Path) -> None:
    cluster.start(log)
    pid_file = cluster.data / "postmaster.pid"
    pid = str(cluster.pid())
    _kill(cluster)
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    for file in (pid_file, *cluster.socket_directory.glob(".s.*.lock")):
        file.write_text(file.read_text().replace(pid, str(stranger.pid), 1))

    assert cluster.pid() is None
    cluster.start(log)
    assert execute(cluster.url, "SELECT 1") == [(1,)]
    stranger.communicate(b"\n")
    assert stranger.returncode == 0


@pytest.mark.parametrize("text", [b"", b"\0\0\0\n", b"nobody\n"], ids=["empty", "zeros", "garbage"])
@pytest.mark.parametrize("alive", [False, True], ids=["dead", "alive"])
def test_a_pid_file_that_is_damaged_is_no_hindrance(cluster: Cluster, log: Path, text: bytes, alive: bool) -> None:
    cluster.start(log)
    execute(cluster.url, "CREATE TABLE kept AS SELECT 7 AS x")
    pid = cluster.pid()
    if not alive:
        _kill(cluster)
    for file in (cluster.data / "postmaster.pid", *cluster.socket_directory.glob(".s.*.lock")):
        file.write_bytes(text)

    cluster.start(log)
    assert cluster.pid() not in (None, pid)
    assert execute(cluster.url, "SELECT x FROM kept") == [(7,)]


def test_a_data_directory_of_another_version_is_refused(cluster: Cluster, log: Path) -> None:
    (cluster.data / "PG_VERSION").write_text("11\n")

    with pytest.raises(SiteError, match=r"made by PostgreSQL 11, but only \d\d in .*BALSAM_PG_BIN"):
        cluster.start(log)


def test_a_server_that_does_not_start_says_why(cluster: Cluster, log: Path) -> None:
    (cluster.data / "postgresql.conf").write_text("shared_buffers = 'many'\n")

    with pytest.raises(SiteError, match=r"does not start: .*configuration file.*see .*postgres\.log"):
        cluster.start(log)


def test_a_socket_path_that_the_system_would_cut_is_refused(made: Path, tmp_path: Path, log: Path) -> None:
    with pytest.raises(SiteError, match="too long for a socket"):
        Cluster(made, tmp_path / ("x" * 100)).start(log)


def test_making_a_cluster_is_all_or_nothing(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(tmp_path / "pg", tmp_path, durable=False)
    (tmp_path / "pg.new").mkdir()  # of an attempt that was killed
    (tmp_path / "pg.new" / "data").touch()
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("postgres", "echo 'postgres (PostgreSQL) 18.4'"), ("initdb", "echo 'error: no' >&2; exit 1")):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("BALSAM_PG_BIN", str(programs))

    with pytest.raises(SiteError, match="cannot make a PostgreSQL database: error: no"):
        cluster.init()
    assert not cluster.directory.exists()

    monkeypatch.delenv("BALSAM_PG_BIN")
    cluster.init()
    assert (cluster.data / "PG_VERSION").exists()


def test_a_site_s_cluster_outlives_a_killed_job_store_and_ends_with_one_that_stops(tmp_path: Path) -> None:
    site = make_test_site(tmp_path, "postgres")
    cluster = Cluster(site.database / "postgres", site.run)
    with services(site, "jobstore") as running:
        pid = cluster.pid()
        assert pid is not None
        running.kill("jobstore")
        assert cluster.pid() == pid

        running.start("jobstore")
        assert cluster.pid() == pid
        running.stop("jobstore")
        assert cluster.pid() is None


def test_programs_that_are_named_are_the_only_ones_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALSAM_PG_BIN", str(tmp_path))

    with pytest.raises(SiteError, match=f"BALSAM_PG_BIN={tmp_path} holds no working initdb and postgres"):
        find_programs()


def test_a_place_with_half_the_programs_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half, whole = tmp_path / "half", tmp_path / "whole"
    for directory, names in ((half, ["postgres"]), (whole, ["postgres", "initdb"])):
        directory.mkdir()
        for name in names:
            (directory / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 17.2 (Debian 17.2-1)'\n")
            (directory / name).chmod(0o755)
    monkeypatch.setattr(postgres_programs, "_places", lambda: iter([half, whole]))

    programs = find_programs()
    assert (programs.directory, programs.major) == (whole, 17)


def test_without_programs_the_error_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BALSAM_PG_BIN", raising=False)
    monkeypatch.setattr(postgres_programs, "_places", lambda: iter([]))

    with pytest.raises(SiteError, match=r"PostgreSQL was not found; install .*\[postgres\]"):
        find_programs()


def _kill(cluster: Cluster) -> None:
    """As a crash does it: the server's own process only, without warning."""
    pid = cluster.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(pid)], timeout=10)
