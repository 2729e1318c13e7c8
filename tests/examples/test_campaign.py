"""How the example makes its site: never in a place that holds something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from eos.campaign import MARKER, Balsam, SetupFailed, make_site


class RecordingBalsam(Balsam):
    """Keeps the commands instead of running them."""

    def __init__(self, site: Path) -> None:
        self.said: list[str] = []
        self.ran: list[tuple[str, ...]] = []
        super().__init__(site, self.said.append)

    def __call__(self, *words: str) -> str:
        self.ran.append(words)
        return ""


def test_site_is_made_where_nothing_is(tmp_path: Path) -> None:
    balsam = RecordingBalsam(tmp_path / "a" / "site")
    make_site(balsam)
    assert balsam.ran == [("init", str(tmp_path / "a" / "site"))]


def test_site_of_an_earlier_run_is_stopped_and_replaced(tmp_path: Path) -> None:
    (tmp_path / MARKER).touch()
    (tmp_path / "settings.toml").touch()
    (tmp_path / "data").mkdir()
    balsam = RecordingBalsam(tmp_path)
    make_site(balsam)
    assert balsam.ran == [("down",), ("init", str(tmp_path))]
    assert [file.name for file in tmp_path.iterdir()] == [MARKER]
    assert "replacing" in balsam.said[0]


def test_site_that_was_half_made_is_replaced(tmp_path: Path) -> None:
    (tmp_path / MARKER).touch()
    balsam = RecordingBalsam(tmp_path)
    make_site(balsam)
    assert balsam.ran == [("init", str(tmp_path))]


def test_directory_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "thesis.tex"
    precious.write_text("chapter 1")
    balsam = RecordingBalsam(tmp_path)
    with pytest.raises(SetupFailed, match="not made by this program"):
        make_site(balsam)
    assert precious.read_text() == "chapter 1"
    assert balsam.ran == []


def test_command_that_fails_says_what_it_was_and_why(tmp_path: Path) -> None:
    said: list[str] = []
    balsam = Balsam(tmp_path / "no-site", said.append)
    with pytest.raises(SetupFailed, match=r"`balsam ls` exited with 1: .*no-site"):
        balsam("ls")
    assert said == ["$ balsam ls"]
