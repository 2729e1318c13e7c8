from __future__ import annotations

import os
from pathlib import Path

import pytest

from balsam_scheduler.globbing import find, split_patterns


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name in ("a.dat", "b.dat", "c.txt", ".hidden.dat", "sub/d.dat", "sub/deep/e.dat", "with blank.dat"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("*.dat", ["a.dat", "b.dat", "with blank.dat"]),
        ("?.dat", ["a.dat", "b.dat"]),
        ("[ac].*", ["a.dat", "c.txt"]),
        ("c.txt", ["c.txt"]),
        ("./c.txt", ["c.txt"]),
        ("none*", []),
        ("no/such/thing", []),
        ("*", ["a.dat", "b.dat", "c.txt", "sub", "with blank.dat"]),
        (".*.dat", [".hidden.dat"]),
        ("sub/*.dat", ["sub/d.dat"]),
        ("s*/*/*", ["sub/deep/e.dat"]),
        ("**/*.dat", ["a.dat", "b.dat", "sub/d.dat", "sub/deep/e.dat", "with blank.dat"]),
        ("**/**/e.dat", ["sub/deep/e.dat"]),
        ("sub/**", ["sub/d.dat", "sub/deep", "sub/deep/e.dat"]),
        ("c.txt/x", []),
    ],
)
def test_what_a_pattern_matches(tree: Path, pattern: str, matches: list[str]) -> None:
    assert find(tree, [pattern]) == matches


def test_each_match_comes_once_in_the_order_of_the_patterns(tree: Path) -> None:
    assert find(tree, ["c.txt", "*.dat", "?.*"]) == ["c.txt", "a.dat", "b.dat", "with blank.dat"]


@pytest.mark.parametrize("pattern", ["../x", "/etc/passwd", "sub/../../x", ".."])
def test_a_pattern_that_leads_out_is_refused(tree: Path, pattern: str) -> None:
    with pytest.raises(ValueError, match="leads out of the directory"):
        find(tree, [pattern])


def test_a_linked_directory_is_an_entry_and_is_not_walked_into(tree: Path) -> None:
    outside = tree.parent / "outside"
    outside.mkdir()
    (outside / "secret.dat").write_text("secret")
    (tree / "link").symlink_to(outside)
    assert find(tree, ["link/*", "**/secret.dat", "link/secret.dat"]) == []
    assert find(tree, ["li*"]) == ["link"]


def test_a_link_to_itself_ends(tree: Path) -> None:
    (tree / "sub" / "loop").symlink_to(tree)
    assert find(tree, ["**/a.dat"]) == ["a.dat"]


def test_a_directory_of_many_names_gives_a_plain_name_without_reading_it(tree: Path) -> None:
    (tree / "sub").chmod(0o311)
    try:
        assert find(tree, ["sub/d.dat"]) == ["sub/d.dat"]
    finally:
        (tree / "sub").chmod(0o755)


def test_giving_up_half_way(tree: Path) -> None:
    def check() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        find(tree, ["**/*"], check)


def test_patterns_are_separated_by_blanks_and_may_be_quoted() -> None:
    assert split_patterns("*.dat  'with blank*' *.dat") == ["*.dat", "with blank*"]


def test_names_that_are_no_text_are_found(tree: Path) -> None:
    name = os.fsdecode(b"\xff.bin")
    (tree / name).write_text("")
    assert find(tree, ["*.bin"]) == [name]
