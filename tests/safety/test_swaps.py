"""Between a look at a path and its use, somebody puts a link in its place: at every point at which there is a look.

Staging asks again and again whether it is to go on; each time that it asks, another run of the test swaps.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from balsam.directories import by_descriptor, open_below, open_directory
from balsam_scheduler import copying
from balsam_scheduler.staging import Tools, stage_in, stage_out

JOB_ID = "01234567-89ab-cdef-0123-456789abcdef"
MOST_LOOKS = 200


class Scene:
    """A working directory, a tree outside that must stay as it is, and a target for outputs."""

    def __init__(self, root: Path) -> None:
        self.data = root / "data"
        self.workdir = self.data / "w" / "job"
        self.source = root / "source"
        self.target = root / "target"
        self.outside = root / "outside"
        for directory in (self.workdir, self.source, self.target, self.outside):
            for name in ("a.dat", "sub/a.dat", "sub/b.dat", "sub/deep/c.dat"):
                (directory / name).parent.mkdir(parents=True, exist_ok=True)
                (directory / name).write_text(f"{directory.name} {name}")

    def outside_now(self) -> dict[str, str]:
        return {str(p.relative_to(self.outside)): p.read_text() for p in self.outside.rglob("*") if p.is_file()}

    def holds_secrets(self, directory: Path) -> list[Path]:
        """Copies of what is outside; links to it are none."""
        return [
            path
            for path in directory.rglob("*")
            if path.is_file() and self.outside not in path.resolve().parents and path.read_text().startswith("outside")
        ]


def swap(victim: Path, link_to: Path) -> None:
    """Puts a link in the place of a directory or file, which moves aside."""
    if victim.is_symlink() or not victim.exists():
        return
    aside = victim.with_name(f"{victim.name}.aside")
    shutil.rmtree(aside, ignore_errors=True)
    victim.rename(aside)
    victim.symlink_to(link_to)


Run = Callable[[Scene, Callable[[], None]], object]


def _no_program(command: list[str], directory: Path, standard_input: str) -> None:
    """Stands for scp and the like."""


def run_stage_in(scene: Scene, check: Callable[[], None]) -> None:
    descriptor = open_below(scene.data, "w/job", make=True)
    with by_descriptor(descriptor, scene.workdir) as here:
        stage_in(f"local:{scene.source}", here, JOB_ID, Tools(_no_program, check))


def run_stage_out(scene: Scene, check: Callable[[], None]) -> None:
    descriptor = open_below(scene.data, "w/job", make=True)
    with by_descriptor(descriptor, scene.workdir) as here:
        stage_out(f"local:{scene.target}", here, ["**"], JOB_ID, Tools(_no_program, check))


def run_gather(scene: Scene, check: Callable[[], None]) -> None:
    """As for scp: what is given to it is kept."""

    def keep(command: list[str], directory: Path, standard_input: str) -> None:
        shutil.copytree(directory, scene.target / "sent", symlinks=True, dirs_exist_ok=True)

    with by_descriptor(open_directory(scene.workdir), scene.workdir) as here:
        stage_out("scp:host:/x", here, ["**"], JOB_ID, Tools(keep, check))


SWAPS = [
    (run_stage_in, "workdir", "."),
    (run_stage_in, "workdir", "sub"),
    (run_stage_in, "workdir", "sub/deep"),
    (run_stage_in, "workdir", "a.dat"),
    (run_stage_in, "source", "sub"),
    (run_stage_in, "source", "sub/deep"),
    (run_stage_in, "source", "sub/b.dat"),
    (run_stage_out, "workdir", "."),
    (run_stage_out, "workdir", "sub"),
    (run_stage_out, "workdir", "sub/deep"),
    (run_stage_out, "workdir", "sub/b.dat"),
    (run_stage_out, "target", "sub"),
    (run_stage_out, "target", "sub/deep"),
    (run_stage_out, "target", "a.dat"),
    (run_gather, "workdir", "sub"),
    (run_gather, "workdir", "sub/deep"),
    (run_gather, "workdir", "sub/b.dat"),
]


@pytest.mark.parametrize(("run", "tree", "victim"), SWAPS)
def test_a_link_that_comes_between_look_and_use_leads_nowhere(tmp_path: Path, run: Run, tree: str, victim: str) -> None:
    """Nothing outside is written, and nothing of it is copied to where others may read it."""
    for moment in range(MOST_LOOKS):
        scene = Scene(tmp_path / f"{moment}")
        before, looks = scene.outside_now(), 0

        def check(scene: Scene = scene, moment: int = moment) -> None:
            nonlocal looks
            if looks == moment:
                place = getattr(scene, tree) / victim
                swap(place, scene.outside if victim == "." else scene.outside / victim)
            looks += 1

        assert "/proc/self" not in _failure(run, scene, check)
        assert scene.outside_now() == before
        assert [*scene.holds_secrets(scene.workdir), *scene.holds_secrets(scene.target)] == []
        if looks <= moment:
            assert moment > 0
            return
    pytest.fail(f"more than {MOST_LOOKS} looks")


def test_a_link_that_comes_while_files_take_their_places_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last look: files are moved from where they were fetched to."""
    scene = Scene(tmp_path)
    before, move = scene.outside_now(), os.replace

    def swap_and_move(source: Path, target: Path) -> None:
        if Path(source).parent.name == "sub":
            swap(scene.workdir / "sub", scene.outside / "sub")
        move(source, target)

    monkeypatch.setattr(copying.os, "replace", swap_and_move)
    _failure(run_stage_in, scene, lambda: None)
    assert (scene.workdir / "sub").is_symlink()
    assert scene.outside_now() == before


def _failure(run: Run, scene: Scene, check: Callable[[], None]) -> str:
    """Why it failed, if it did."""
    try:
        run(scene, check)
    except OSError as error:
        return str(error)
    return ""


def test_a_directory_is_entered_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "root" / "a").mkdir(parents=True)
    (tmp_path / "root" / "link").symlink_to("a")
    (tmp_path / "root" / "out").symlink_to(tmp_path)
    (tmp_path / "root" / "file").write_text("")
    descriptor = open_below(tmp_path / "root", "a/b/c", make=True)
    assert os.readlink(f"/proc/self/fd/{descriptor}") == str(tmp_path / "root" / "a" / "b" / "c")
    os.close(descriptor)
    for path in ("link", "link/b", "out", "out/new", "a/b/../../link"):
        with pytest.raises((OSError, ValueError), match=r"is a symbolic link|is not below"):
            open_below(tmp_path / "root", path, make=True)
    with pytest.raises(NotADirectoryError):
        open_below(tmp_path / "root", "file/x", make=True)
    with pytest.raises(FileNotFoundError):
        open_below(tmp_path / "root", "a/none")
    assert not (tmp_path / "new").exists()


def test_what_is_opened_stays_itself_and_errors_name_its_path(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (tmp_path / "outside").mkdir()
    with by_descriptor(open_directory(place), place) as here:
        swap(place, tmp_path / "outside")
        (here / "x").write_text("mine")
    assert (tmp_path / "place.aside" / "x").read_text() == "mine"
    assert not (tmp_path / "outside" / "x").exists()
    with (
        pytest.raises(FileNotFoundError, match=str(place / "none")),
        by_descriptor(open_directory(place), place) as here,
    ):
        (here / "none").read_text()
