"""Outputs that are still written while they are read."""

from __future__ import annotations

from collections.abc import Generator

from balsam_cli.job_output import first_bytes


def endless() -> Generator[bytes, None, None]:
    """An output that grows faster than it is read."""
    while True:
        yield b"four"


def test_of_an_output_that_grows_without_end_there_is_an_end() -> None:
    assert first_bytes(endless(), 10) == b"fourfourfour"


def test_where_there_is_less_it_is_all_that_there_is() -> None:
    assert first_bytes((piece for piece in (b"one", b"two")), 10) == b"onetwo"
