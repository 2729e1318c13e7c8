"""A line that outlives its connections: nothing is lost, nothing comes twice."""

from __future__ import annotations

import random

import pytest

from balsam_launcher.line import Garbled, Line


def test_messages_come_in_order_however_the_bytes_are_cut() -> None:
    ours, theirs = Line(), Line()
    sent = [(0, 1), (1, "two")]
    data = ours.frame(sent) + ours.passing([(2, 3.0)])
    came = [message for byte in data for message in theirs.feed(bytes([byte]))]
    assert came == [*sent, (2, 3.0)]


def test_what_was_lost_with_a_connection_is_sent_again_and_taken_once() -> None:
    ours, theirs = Line(), Line()
    first, second = ours.frame([("first",)]), ours.frame([("second",)])
    assert list(theirs.feed(first + second[:7])) == [("first",)]  # and the connection breaks
    again = ours.resume(theirs.received)
    theirs.resume(0)
    assert list(theirs.feed(again + first)) == [("second",)]


def test_what_the_other_end_has_is_not_kept() -> None:
    ours, theirs = Line(), Line()
    list(theirs.feed(ours.frame([("kept",)])))
    list(ours.feed(theirs.passing([])))
    assert ours.resume(theirs.received) == b""
    assert ours.resume(1) == b""


@pytest.mark.parametrize("seed", range(20))
def test_any_breaks_at_any_places_lose_and_double_nothing(seed: int) -> None:
    dice = random.Random(seed)
    ours, theirs = Line(), Line()
    sent, came = [], []
    on_the_way = b""
    for number in range(200):
        if dice.random() < 0.7:
            sent.append((number,))
            on_the_way += ours.frame([(number,)])
        if dice.random() < 0.5:
            cut = dice.randrange(len(on_the_way) + 1)
            came += theirs.feed(on_the_way[:cut])
            on_the_way = on_the_way[cut:]
        if dice.random() < 0.2:
            list(ours.feed(theirs.passing([])))
        if dice.random() < 0.1:  # the connection breaks: what is on the way is lost
            on_the_way = ours.resume(theirs.received)
            theirs.resume(0)
    came += theirs.feed(on_the_way)
    assert came == sent


def test_what_is_no_frame_is_refused() -> None:
    with pytest.raises(Garbled, match="bytes"):
        list(Line().feed(b"\xff" * 40))


def test_a_frame_that_is_missing_is_noticed() -> None:
    ours = Line()
    ours.frame([("lost",)])
    with pytest.raises(Garbled, match="frame 2 came after 0"):
        list(Line().feed(ours.frame([("next",)])))


def test_an_end_that_has_more_than_was_sent_is_refused() -> None:
    with pytest.raises(Garbled, match="7 frames of 0"):
        Line().resume(7)
