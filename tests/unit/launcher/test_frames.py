"""What launcher and agent say to each other."""

from __future__ import annotations

from balsam_launcher.frames import Decoder, Notice, Order, Start, encode

START = Start(Order.START, 1, ["a", "ü"], {"A": "1"}, "/d", "x.out", "", False)


def test_messages_arrive_as_they_were_sent() -> None:
    messages = [START, (Order.STOP, 1, 2.5), (Notice.LOG, "text")]
    assert list(Decoder().feed(encode(messages))) == [tuple(message) for message in messages]
    assert Start(*next(Decoder().feed(encode([START])))) == START


def test_a_frame_may_come_in_any_pieces() -> None:
    data = encode([START]) + encode([(Order.STOP, 2, 0.0), (Order.STOP, 3, 0.0)])
    for size in (1, 3, 7, len(data)):
        decoder = Decoder()
        found = [m for i in range(0, len(data), size) for m in decoder.feed(data[i : i + size])]
        assert [message[1] for message in found] == [1, 2, 3]
