"""Stage-in from parents, with real files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from balsam_scheduler.linking import Parent, link_parents

OWN_FILES = {"preprocess.log", "postprocess.log", "child.out"}


def make_parent(root: Path, job_id: str, *files: str) -> Parent:
    directory = root / job_id
    directory.mkdir()
    for name in files:
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(f"{name} of {job_id}")
    return Parent(job_id, directory)


@pytest.fixture
def child(tmp_path: Path) -> Path:
    directory = tmp_path / "child"
    directory.mkdir()
    return directory


def links(directory: Path) -> dict[str, str]:
    return {entry.name: entry.read_text() for entry in directory.iterdir()}


def test_matching_files_are_linked(tmp_path: Path, child: Path) -> None:
    parent = make_parent(tmp_path, "11111111-1", "a.dat", "b.txt")
    assert link_parents(child, [parent], ["*.dat", "*.none"], OWN_FILES) == ["a.dat"]
    assert (child / "a.dat").is_symlink()
    assert links(child) == {"a.dat": "a.dat of 11111111-1"}


def test_a_second_file_of_a_name_gets_the_id_of_its_parent(tmp_path: Path, child: Path) -> None:
    parents = [make_parent(tmp_path, "11111111-1", "a.dat"), make_parent(tmp_path, "22222222-2", "a.dat")]
    link_parents(child, parents, ["*"], OWN_FILES)
    assert links(child) == {"a.dat": "a.dat of 11111111-1", "a.dat_22222222": "a.dat of 22222222-2"}


def test_a_third_file_of_a_name_and_parent_is_counted(tmp_path: Path, child: Path) -> None:
    parent = make_parent(tmp_path, "11111111-1", "x/a.dat", "y/a.dat", "z/a.dat")
    link_parents(child, [parent], ["*/a.dat"], OWN_FILES)
    assert links(child) == {
        "a.dat": "x/a.dat of 11111111-1",
        "a.dat_11111111": "y/a.dat of 11111111-1",
        "a.dat_11111111_2": "z/a.dat of 11111111-1",
    }


def test_balsams_own_files_are_never_linked_under_their_names(tmp_path: Path, child: Path) -> None:
    parent = make_parent(tmp_path, "11111111-1", "preprocess.log", "postprocess.log", "child.out", "parent.out")
    link_parents(child, [parent], ["*"], OWN_FILES)
    assert sorted(links(child)) == [
        "child.out_11111111",
        "parent.out",
        "postprocess.log_11111111",
        "preprocess.log_11111111",
    ]


def test_a_file_that_is_there_is_left_alone(tmp_path: Path, child: Path) -> None:
    (child / "a.dat").write_text("mine")
    link_parents(child, [make_parent(tmp_path, "11111111-1", "a.dat")], ["*"], OWN_FILES)
    assert links(child) == {"a.dat": "mine", "a.dat_11111111": "a.dat of 11111111-1"}


def test_done_again_it_makes_no_more_links(tmp_path: Path, child: Path) -> None:
    parents = [make_parent(tmp_path, "11111111-1", "a.dat"), make_parent(tmp_path, "22222222-2", "a.dat")]
    first = link_parents(child, parents, ["*"], OWN_FILES)
    assert link_parents(child, parents, ["*"], OWN_FILES) == first
    assert len(links(child)) == 2


def test_a_parent_without_a_directory_has_no_files(tmp_path: Path, child: Path) -> None:
    assert link_parents(child, [Parent("33333333-3", tmp_path / "nowhere")], ["*"], OWN_FILES) == []


def test_links_in_a_parent_lead_nowhere_else(tmp_path: Path, child: Path) -> None:
    parent = make_parent(tmp_path, "11111111-1", "a.dat")
    os.symlink("/etc", parent.directory / "etc")
    assert link_parents(child, [parent], ["etc/*", "**/passwd"], OWN_FILES) == []


def test_a_pattern_that_leads_out_is_refused(tmp_path: Path, child: Path) -> None:
    with pytest.raises(ValueError, match="leads out"):
        link_parents(child, [make_parent(tmp_path, "11111111-1")], ["../*"], OWN_FILES)
