"""The commands that copy between hosts, as texts; that they work is for tests/scheduler/test_staging_over_ssh.py."""

from __future__ import annotations

import pytest

from balsam_scheduler.carriers import SSH_OPTIONS, make_directories, rsync
from balsam_scheduler.places import parse


@pytest.mark.parametrize("url", ["rsync:host:/x", "rsync:me@[::1]:/x"])
def test_rsync_goes_by_an_ssh_that_asks_nothing(url: str) -> None:
    command = rsync(parse(url))
    shell = command[command.index("-e") + 1].split()
    assert shell == ["ssh", *SSH_OPTIONS]
    assert "BatchMode=yes" in shell


@pytest.mark.parametrize("url", ["rsync://host/module/x", "rsync:host::module/x"])
def test_an_rsync_server_is_asked_without_ssh_and_not_for_ever(url: str) -> None:
    command = rsync(parse(url))
    assert "-e" not in command
    assert "--contimeout=20" in command


@pytest.mark.parametrize(
    ("url", "host", "lines"),
    [
        ("scp:me@host:/a/b c", "me@host", ['-mkdir "/a"', '-mkdir "/a/b c"', 'cd "/a/b c"']),
        ("scp:host:a/-b/", "host", ['-mkdir "./a"', '-mkdir "./a/-b"', 'cd "./a/-b/"']),
        ("scp:host:~/a", "host", ['-mkdir "./a"', 'cd "./a"']),
        ("scp:host:", "host", ['cd "./."']),
        ("scp:[::1]:/a", "[::1]", ['-mkdir "/a"', 'cd "/a"']),
        ("scp://me@host:2222//a%20b", "sftp://me@host:2222", ['-mkdir "/a b"', 'cd "/a b"']),
        (r'scp:host:/a"\b', "host", [r'-mkdir "/a\"\\b"', r'cd "/a\"\\b"']),
    ],
)
def test_directories_are_made_from_the_top_down(url: str, host: str, lines: list[str]) -> None:
    command, batch = make_directories(parse(url))
    assert command == ["sftp", *SSH_OPTIONS, "-b", "-", "--", host]
    assert batch.splitlines() == lines
