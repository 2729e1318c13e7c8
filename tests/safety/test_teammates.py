"""Another Unix user of the same group, in the directories that a site's owner shares with it, and beside them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from balsam.errors import SiteError
from balsam.logins import MemberSite
from balsam.site import Site, find_site, make_site
from balsam.states import State
from balsam.v1.lease_pb2 import Program
from balsam_cli.main import main
from balsam_launcher.frames import Order, Start
from balsam_launcher.spawning import Refused, Spawner
from balsam_scheduler.batch.submitting import prepare
from balsam_scheduler.batch.systems import SYSTEMS
from balsam_scheduler.steps import Outcome
from tests.batch.test_templates import launch
from tests.scheduler.test_steps import Bench
from tests.support.teammates import TEAMMATE, as_teammate, project

__all__ = ["project"]

_WRITABLE = """
for path in sys.argv[1:]:
    if os.access(path, os.W_OK):
        print(path)
"""


@pytest.mark.parametrize("options", [[], ["--group", "daemon"]])
def test_a_site_in_a_directory_of_a_group_is_not_the_group_s(project: Path, options: list[str]) -> None:
    """The usual umask of hosts where each user has a group of their own is 002."""
    assert main(["init", str(project / "site"), *options]) == 0
    site = Site(project / "site")
    site.make_run()
    shared = {site.data} if options else set()
    written = as_teammate(_WRITABLE, project, *[site.path, *site.path.rglob("*")]).splitlines()
    assert {Path(path) for path in written} == {project, *shared}


@pytest.mark.parametrize("name", ["", "templates", "templates/local.sh", "policy.toml", "log", "qsubmit"])
def test_nothing_is_started_in_a_site_that_others_can_change(
    project: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["init", str(project / "site")]) == 0
    site = Site(project / "site")
    path = site.path / name
    path.chmod(path.stat().st_mode | 0o020)
    with pytest.raises(SiteError, match=f"its group may write to {path}.*`chmod go-w {path}`"):
        site.make_run()
    monkeypatch.setenv("BALSAM_DB_PATH", str(site.path))
    main(["doctor"])
    assert f"chmod go-w {path}" in capsys.readouterr().out
    path.chmod(path.stat().st_mode & ~0o020)
    site.make_run()


@pytest.mark.parametrize("name", ["", "credentials", "log"])
def test_no_site_is_made_in_a_directory_that_somebody_else_has_put_there(project: Path, name: str) -> None:
    (project / "site" / name).mkdir(parents=True)
    os.chown(project / "site" / name, TEAMMATE, -1)
    with pytest.raises(SiteError, match="belongs to nobody: make the site in a directory of your own"):
        make_site(project / "site")


def test_doctor_does_not_adopt_a_run_directory_that_somebody_else_has_made(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(project / "site")
    site.run.mkdir(mode=0o700)
    os.chown(site.run, TEAMMATE, -1)
    monkeypatch.setenv("BALSAM_DB_PATH", str(site.path))
    main(["doctor"])
    said = capsys.readouterr().out
    assert f"sudo mv {site.run} {site.run}.not-mine" in said
    assert "chown" not in said


# A site above the current directory


def test_a_site_that_somebody_else_has_put_above_is_neither_used_nor_given_a_token(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by root either, who may read its settings, nor where a token is there for some other site."""
    site = make_site(project / "site")
    (site.path / "connect.json").write_text('{"address": "elsewhere:1", "host": "elsewhere", "authority": ""}')
    for path in (site.path, *site.path.rglob("*")):
        os.chown(path, TEAMMATE, -1)
    token = project / "token"
    token.write_text("user." + "x" * 43)
    monkeypatch.setenv("BALSAM_TOKEN_FILE", str(token))
    monkeypatch.chdir(site.data)
    for _ in "as root", "as who is not logged in":
        with pytest.raises(SiteError, match=f"belongs to nobody: `balsam login {site.path}` first, or name it"):
            find_site()
        assert find_site(site.path).path == site.path
        monkeypatch.setattr(os, "getuid", lambda: 12345)


# Working directories, whose names are known before they are made


@pytest.fixture
def planted(project: Path) -> tuple[Site, Path]:
    """A site that a group shares, and the working directory of a job that somebody of the group has made before."""
    assert main(["init", str(project / "site"), "--group", "daemon"]) == 0
    site = Site(project / "site")
    directory = site.data / "wf" / "job_01234567"
    as_teammate("os.makedirs(sys.argv[1]); open(sys.argv[1] + '/helper.py', 'w').write('print(666)')", directory)
    return site, directory


def test_a_run_is_not_started_in_a_directory_that_somebody_else_has_made(
    planted: tuple[Site, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    site, directory = planted
    monkeypatch.chdir(site.path)
    start = Start(Order.START, 1, ["/bin/true"], {}, str(directory), "job.out", "", False, root=str(site.data))
    with pytest.raises(Refused, match=f"cannot use the working directory {directory}: it belongs to nobody"):
        Spawner().start(start)
    assert [path.name for path in directory.iterdir()] == ["helper.py"]
    # The owner's own are used, by the owner and by members.
    start = start._replace(directory=str(site.data / "own" / "job_2"))
    for _ in "by the owner", "by a member":
        pid, _ = Spawner().start(start)
        assert os.waitpid(pid, 0)[1] == 0
        monkeypatch.setattr(os, "getuid", lambda: 12345)


def test_nor_is_a_script(planted: tuple[Site, Path]) -> None:
    site, directory = planted
    bench = Bench(site)
    bench.directory = directory
    outcome = bench.do(State.STAGED_IN, Program(preprocess="pwd"))
    assert outcome == Outcome(State.FAILED, f"the working directory {directory} belongs to nobody")
    assert bench.do(State.STAGED_IN, Program(preprocess="pwd"), user_workdir=str(directory)).state is State.PREPROCESSED


# Scripts for the batch system, which are started by their paths


def test_no_script_is_submitted_from_where_others_can_swap_it(project: Path) -> None:
    assert main(["init", str(project / "site"), "--group", "daemon"]) == 0
    site = Site(project / "site")
    submission = prepare(site, launch(), SYSTEMS["local"])
    swap = "try: os.rename(sys.argv[1], sys.argv[1] + '.old')\nexcept PermissionError: print('it stays')"
    assert as_teammate(swap, submission.script) == "it stays"
    site.qsubmit.chmod(0o2770)
    with pytest.raises(SiteError, match=f"its group may write to {site.qsubmit}"):
        prepare(site, launch(), SYSTEMS["local"])


def test_members_scripts_and_logs_are_where_they_alone_can_write(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["init", str(project / "site"), "--group", "daemon"]) == 0
    monkeypatch.setenv("XDG_STATE_HOME", str(project / "home"))
    site = MemberSite(project / "site")
    site.make_run()
    assert as_teammate(_WRITABLE, site.state, site.qsubmit, site.log) == ""
    assert {site.qsubmit.parent, site.log.parent} == {site.state}


# Logs


def test_no_link_is_put_in_the_place_of_a_log_and_the_group_reads_them(project: Path) -> None:
    """Each log that is written, also by PostgreSQL, `balsam submit-launch` and the owner's launchers."""
    assert main(["init", str(project / "site"), "--group", "daemon"]) == 0
    site = Site(project / "site")
    (site.log / "jobstore.log").write_text("read by the group")
    put = """
for name in ("jobstore.log", "postgres.log", "batch.log", "scheduler.out"):
    try: os.symlink("/etc/passwd", sys.argv[1] + "/" + name)
    except (PermissionError, FileExistsError): pass
try: os.rename(sys.argv[1], sys.argv[1] + ".old")
except PermissionError: print(open(sys.argv[1] + "/jobstore.log").read(), *os.listdir(sys.argv[1]))
"""
    assert as_teammate(put, site.log) == "read by the group jobstore.log"
