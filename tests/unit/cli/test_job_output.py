"""Outputs that are still written while they are read."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import cast

from balsam.errors import Unavailable
from balsam_cli.job_output import Follower, JobOutput, first_bytes


def endless() -> Generator[bytes, None, None]:
    """An output that grows faster than it is read."""
    while True:
        yield b"four"


def test_of_an_output_that_grows_without_end_there_is_an_end() -> None:
    assert first_bytes(endless(), 10) == b"fourfourfour"


def test_where_there_is_less_it_is_all_that_there_is() -> None:
    assert first_bytes((piece for piece in (b"one", b"two")), 10) == b"onetwo"


class Broken:
    """An output that a launcher begins to send, until the line breaks; its file may come to be seen here."""

    def __init__(self) -> None:
        self.is_here = False
        self._left = b" and more"

    def read(self) -> bytes:
        data, self._left = (self._left, b"") if self.is_here else (b"", self._left)
        return data

    def sent(self, *, follow: bool) -> Iterator[bytes]:
        yield b"some"
        raise Unavailable("the line broke")


def test_what_was_cut_off_is_whole_when_the_rest_is_in_the_file() -> None:
    output, told = Broken(), list[str]()
    follower = Follower(cast(JobOutput, output), lambda: 1, told.append)
    assert list(follower.pieces()) == [b"some"]
    assert (follower.is_cut, told) == (True, ["the line broke (going on as soon as it can be read again)"])
    output.is_here = True
    assert list(follower.pieces()) == [b" and more"]
    assert not follower.is_cut
