"""Text for people."""

from __future__ import annotations

import pytest

from balsam_cli.text import age, count, one_line, printable


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0s"), (45.9, "45s"), (60, "1m"), (200, "3m20s"), (3600, "1h"), (3605, "1h"), (187200, "2d4h"), (-5, "0s")],
)
def test_ages_have_at_most_two_units(seconds: float, expected: str) -> None:
    assert age(seconds) == expected


def test_an_error_is_one_line_that_cannot_steer_a_terminal() -> None:
    assert one_line("a\n  b\tc\x1b[31m") == "a b c\ufffd[31m"


def test_lines_stay_lines() -> None:
    assert printable("a\n\x07b") == "a\n\ufffdb"


def test_counts_agree_with_their_noun() -> None:
    assert (count(1, "job"), count(0, "job"), count(1200, "job")) == ("1 job", "0 jobs", "1,200 jobs")
