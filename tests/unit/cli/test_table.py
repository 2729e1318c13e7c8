"""Text in columns, on terminals wide and narrow."""

from __future__ import annotations

import pytest

from balsam_cli.table import CODES, fitted, folded, painted, table

TITLES = ("ID", "NAME", "N")
RIGHT, FLEXIBLE = (False, False, True), (False, True, False)


def drawn(*rows: tuple[str, str, str], room: int | None = None) -> list[str]:
    spans = [[(text, "") for text in row] for row in rows]
    return [painted(line) for line in table(TITLES, spans, right=RIGHT, flexible=FLEXIBLE, room=room)]


def test_columns_are_as_wide_as_what_is_in_them() -> None:
    assert drawn(("1", "a", "1"), ("22", "much longer", "100")) == [
        "ID  NAME           N",
        "1   a              1",
        "22  much longer  100",
    ]
    assert drawn() == ["ID  NAME  N"]


def test_nothing_is_cut_without_a_terminal() -> None:
    assert drawn(("1", "x" * 100_000, "2"))[1] == f"1   {'x' * 100_000}  2"


def test_flexible_columns_are_shortened_and_the_rest_is_cut_off_at_the_right() -> None:
    row = ("12345678", "a long name", "1000")
    assert drawn(row, room=27)[1] == "12345678  a long name  1000"
    assert drawn(row, room=24)[1] == "12345678  a long …  1000"
    assert drawn(row, room=20)[1] == "12345678  a l…  1000"
    assert drawn(row, room=18)[1] == "12345678  a l…  10"
    assert drawn(row, room=5) == ["ID", "12345"]


def test_the_widest_column_is_narrowed_first_and_none_below_its_title() -> None:
    assert fitted([10, 30, 20], [2, 2, 2], [True, True, True], 44) == [10, 15, 15]
    assert fitted([10, 30, 20], [2, 2, 2], [False, True, True], 24) == [10, 5, 5]
    assert fitted([10, 30, 20], [2, 8, 9], [False, True, True], 5) == [10, 8, 9]
    assert fitted([3, 1_000_000], [2, 2], [False, True], 20) == [3, 15]


def test_wide_letters_take_two_columns() -> None:
    assert drawn(("1", "日本", "1"), ("2", "ab", "1"))[1:] == ["1   日本  1", "2   ab    1"]
    assert drawn(("1", "日本語日本語", "1"), room=16)[1] == "1   日本語日…  1"


@pytest.mark.parametrize(
    ("text", "room", "lines"),
    [
        ("some words that are long", 16, ["n   some words", "    that are", "    long"]),
        ("/a/path/without/any/blank", 16, ["n   /a/path/with", "    out/any/blan", "    k"]),
        ("one\n\ntwo", 16, ["n   one", "", "    two"]),
        ("日本語 日本語", 10, ["n   日本語", "    日本語"]),
        ("日本語", 3, ["n   日", "    本", "    語"]),
        ("some words that are long", None, ["n   some words that are long"]),
        ("", 16, ["n"]),
    ],
)
def test_a_long_text_is_folded_beside_its_name(text: str, room: int | None, lines: list[str]) -> None:
    assert [painted(line) for line in folded("n", text, 4, room)] == lines


def test_styles_that_are_wanted_are_codes() -> None:
    line = [("a", "bold red"), (" ", ""), ("b", "green"), ("  ", "bold")]
    assert painted(line, CODES) == "\x1b[1;31ma\x1b[0m \x1b[32mb\x1b[0m"
    assert painted(line, ["bold"]) == "\x1b[1ma\x1b[0m b"
    assert painted(line) == "a b"
    assert painted([]) == painted([(" ", "bold")], CODES) == ""
