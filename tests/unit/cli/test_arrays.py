"""Index ranges."""

from __future__ import annotations

import pytest

from balsam.errors import ValidationError
from balsam_cli.arrays import expand, indexes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0-3", [0, 1, 2, 3]),
        ("7", [7]),
        ("1-3,8", [1, 2, 3, 8]),
        ("0-10:5", [0, 5, 10]),
        ("3, 1-3", [3, 1, 2]),
    ],
)
def test_ranges(text: str, expected: list[int]) -> None:
    assert indexes(text) == expected


@pytest.mark.parametrize("text", ["", "a", "3-1", "1-", "-3", "0-5:0", "0-999999999", "1..3"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="--array"):
        indexes(text)


def test_the_index_is_put_into_name_and_args() -> None:
    jobs = expand({"name": "scan-{i}", "args": "--seed={i} {i}", "workflow": "w{i}"}, [4, 5])
    assert list(jobs) == [
        {"name": "scan-4", "args": "--seed=4 4", "workflow": "w{i}"},
        {"name": "scan-5", "args": "--seed=5 5", "workflow": "w{i}"},
    ]
