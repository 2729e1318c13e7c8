"""Files that grow."""

from __future__ import annotations

from pathlib import Path

import pytest

from balsam_cli.tail import Tail, last_lines


def test_a_file_is_read_as_it_grows(tmp_path: Path) -> None:
    file = tmp_path / "f"
    tail = Tail(file)
    assert tail.read() == b""
    file.write_bytes(b"one\n")
    assert tail.read() == b"one\n"
    assert tail.read() == b""
    with file.open("ab") as more:
        more.write(b"\xfftwo")
    assert tail.read() == b"\xfftwo"


def test_a_character_may_come_in_two_parts(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"\xc3")
    tail = Tail(file)
    assert tail.text() == ""
    with file.open("ab") as more:
        more.write(b"\xbc")
    assert tail.text() == "ü"


def test_a_log_that_was_rotated_or_truncated_is_read_from_its_start(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"old text\n")
    tail = Tail(file)
    tail.read()
    file.write_bytes(b"new\n")
    assert tail.read() == b"new\n"
    file.rename(tmp_path / "f.1")
    file.write_bytes(b"newer text\n")
    assert tail.read() == b"newer text\n"


def test_reading_may_start_at_an_offset(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"0123456789")
    assert Tail(file, 7).read() == b"789"


@pytest.mark.parametrize(("count", "expected"), [(0, ""), (1, "c"), (2, "b\nc"), (9, "a\nb\nc")])
def test_last_lines(tmp_path: Path, count: int, expected: str) -> None:
    file = tmp_path / "f"
    file.write_text("a\nb\nc\n")
    assert last_lines(file, count) == expected


def test_last_lines_of_a_large_file_are_read_from_its_end(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("".join(f"{n:050}\n" for n in range(10_000)))
    assert last_lines(file, 2000).splitlines() == [f"{n:050}" for n in range(8000, 10_000)]
