"""What is different on a terminal: questions, colour, live views."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from balsam.site import Site
from tests.cli.conftest import Balsam
from tests.support.sites import wait_for_states

pytestmark = pytest.mark.usefixtures("services")


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, site: Site, *argv: str, **environ: str) -> None:
        self._handle, inside = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "balsam_cli", *argv],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            env=os.environ
            | {"BALSAM_DB_PATH": str(site.path), "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
            | environ,
        )
        os.close(inside)
        self.screen = ""

    def wait_for(self, text: str, seconds: float = 20.0) -> None:
        """Reads until `text` has been shown."""
        give_up = time.monotonic() + seconds
        while text not in self.screen:
            if time.monotonic() > give_up or not self._read(give_up - time.monotonic()):
                pytest.fail(f"{text!r} was not shown:\n{self.screen}")

    def type(self, text: str) -> None:
        """What the person types."""
        os.write(self._handle, text.encode())

    def finish(self) -> int:
        """Reads to the end; the exit status."""
        while self._read(20.0):
            pass
        return self.process.wait(20)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._handle], [], [], max(0.0, seconds))[0]:
            return False
        try:
            data = os.read(self._handle, 65536)
        except OSError:  # how Linux says that the other side is closed
            return False
        self.screen += data.decode("utf-8", "replace")
        return bool(data)

    def close(self) -> None:
        """Ends what still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._handle)


@contextmanager
def terminal(site: Site, *argv: str, **environ: str) -> Iterator[Terminal]:
    one = Terminal(site, *argv, **environ)
    try:
        yield one
    finally:
        one.close()


def test_a_job_is_shown_and_added_when_the_user_agrees(site: Site, balsam: Balsam) -> None:
    with terminal(site, "job", "--name", "asked", "--ranks-per-node", "3", "--", "true") as screen:
        screen.wait_for("Add this job? [y/N]")
        assert "asked" in screen.screen
        screen.type("n\n")
        assert screen.finish() == 1
    assert balsam("ls", "--json").json == []
    with terminal(site, "job", "--name", "asked", "--", "true") as screen:
        screen.wait_for("[y/N]")
        screen.type("y\n")
        assert screen.finish() == 0
    (row,) = balsam("ls", "--json").json
    assert row["name"] == "asked"
    assert row["job_id"] in screen.screen
    with terminal(site, "job", "--yes", "--", "true") as screen:
        assert screen.finish() == 0
        assert "[y/N]" not in screen.screen


def test_deleting_asks_with_the_number_and_interrupting_the_question_deletes_nothing(
    site: Site, balsam: Balsam
) -> None:
    balsam("make-dummies", "2")
    with terminal(site, "rm", "jobs", "--all") as screen:
        screen.wait_for("Delete 2 jobs? [y/N]")
        screen.process.send_signal(signal.SIGINT)
        assert screen.finish() == 130
    assert len(balsam("ls", "--json").json) == 2
    with terminal(site, "rm", "jobs", "--all") as screen:
        screen.wait_for("[y/N]")
        screen.type("y\n")
        assert screen.finish() == 0
    assert balsam("ls", "--json").json == []


def test_states_have_colour_unless_the_user_wants_none(site: Site, balsam: Balsam) -> None:
    (job_id,) = balsam("job", "--", "true").ids
    balsam("kill", job_id)
    with terminal(site, "ls") as screen:
        assert screen.finish() == 0
    assert "\x1b[35mUSER_KILLED" in screen.screen
    with terminal(site, "ls", NO_COLOR="1") as screen:
        assert screen.finish() == 0
    assert "USER_KILLED" in screen.screen
    assert "\x1b[35m" not in screen.screen


def test_a_live_view_follows_what_happens_until_it_is_interrupted(site: Site, balsam: Balsam) -> None:
    (job_id,) = balsam("job", "--name", "first", "--", "true").ids
    with terminal(site, "ls", "--watch") as screen:
        screen.wait_for("first")
        screen.wait_for("1 job")
        balsam("job", "--name", "second", "--", "true")
        screen.wait_for("second")
        balsam("kill", job_id)
        screen.wait_for("USER_KILLED 1")
        screen.process.send_signal(signal.SIGINT)
        assert screen.finish() == 0


def test_long_work_shows_how_far_it_is(site: Site, balsam: Balsam, tmp_path: Path) -> None:
    with terminal(site, "make-dummies", "4000") as screen:
        assert screen.finish() == 0
    assert "adding jobs" in screen.screen
    assert "/4000" in screen.screen
    with terminal(site, "make-dummies", "4000", "--json") as screen:
        assert screen.finish() == 0
    assert "adding jobs" not in screen.screen
    assert "adding jobs" not in balsam("make-dummies", "4000").err
    assert len(balsam("ls", "--json").json) == 12_000
    file = str(tmp_path / "all.jsonl")
    for argv, shown in ((("export", file), ["exporting"]), (("import", file), ["checking all.jsonl", "importing all"])):
        with terminal(site, *argv) as screen:
            assert screen.finish() == 0
        assert [text for text in shown if text not in screen.screen] == []
        with terminal(site, *argv, "--json", *(["--yes"] if argv[0] == "export" else [])) as screen:
            assert screen.finish() == 0
        assert [text for text in shown if text in screen.screen] == []


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("app --name greet --executable echo", "balsam job --name NAME --app greet"),
        ("status", "balsam launcher"),
        ("show {job}", "balsam why {job}"),
        ("dep {job} {other}", "balsam ls --tree"),
    ],
)
def test_what_is_useful_next_is_said_on_a_terminal_only(site: Site, balsam: Balsam, argv: str, expected: str) -> None:
    job, other = (balsam("job", "--", "true").ids[0][:8] for _ in range(2))
    wait_for_states(site, {"": "PREPROCESSED"})
    words = argv.format(job=job, other=other).split()
    with terminal(site, *words) as screen:
        assert screen.finish() == 0
    assert f"\x1b[2mnext: `{expected.format(job=job)}" in screen.screen
    with terminal(site, *words[:1], "--help") as screen:
        assert screen.finish() == 0
    assert "next:" not in screen.screen
