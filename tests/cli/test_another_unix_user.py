"""Another Unix user of the same machine: a real one, who reads nothing of a site that is not theirs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.site import Site
from tests.cli.conftest import Balsam
from tests.support.components import missing
from tests.support.processes import services
from tests.support.sites import make_test_site

NOBODY = 65_534
"""A user and a group that own nothing."""

_READ_ALL = """
import os, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
for path in sys.argv[2:]:
    try:
        if path.endswith(".sock"):
            socket.socket(socket.AF_UNIX).connect(path)
        elif os.path.isdir(path):
            os.listdir(path)
        else:
            open(path, "rb").read(1)
        print(path)
    except OSError:
        pass
"""


@pytest.fixture
def site() -> Iterator[Site]:
    """A site in a directory that everybody may enter; its services do not run."""
    with tempfile.TemporaryDirectory(prefix="balsam-") as directory:
        os.chmod(directory, 0o755)
        yield make_test_site(Path(directory))


def read_by_another(paths: list[Path]) -> list[str]:
    """Which of these another Unix user can read, or connect to."""
    if os.getuid() != 0:
        missing("root", "only root can be another Unix user")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _READ_ALL, str(NOBODY), *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    return done.stdout.splitlines()


def test_another_unix_user_reads_no_socket_token_database_log_or_backup(site: Site, balsam_process: Balsam) -> None:
    with services(site):
        balsam_process("job", "--name", "a", "--", "true")
        closed = [path for path in site.path.rglob("*") if site.data not in (path, *path.parents)]
        closed = [path for path in closed if path.relative_to(site.path).parts[0] not in ("templates", "policy.toml")]
        names = {path.name for path in closed}
        assert {"jobstore.sock", "renewals.sock", "owner.token", "site.key", "balsam.db", "jobstore.log"} <= names
        outside = site.path.parent / "open"
        outside.write_text("for everybody")
        assert read_by_another([*closed, outside]) == [str(outside)]


def test_a_group_shares_data_log_and_qsubmit_and_nothing_else(tmp_path: Path, balsam: Balsam) -> None:
    if os.getuid() != 0:
        missing("root", "only root can give files to any group")
    path = tmp_path / "team"
    assert balsam("init", str(path), "--group", "daemon").status == 0
    group = path.stat().st_gid
    assert group != os.getegid()
    for name, mode in (("data", 0o2770), ("log", 0o2750), ("qsubmit", 0o2750)):
        info = (path / name).stat()
        assert (info.st_gid, info.st_mode & 0o7777) == (group, mode)
    for name in ("credentials", "database", "settings.toml"):
        assert (path / name).stat().st_mode & 0o077 == 0
    assert path.stat().st_mode & 0o7777 == 0o750


def test_a_group_that_there_is_not_makes_no_site(tmp_path: Path, balsam: Balsam) -> None:
    refused = balsam("init", str(tmp_path / "team"), "--group", "no such group")
    assert refused.status == 1
    assert "--group 'no such group': there is no such group" in refused.err
    assert not (tmp_path / "team").exists()
