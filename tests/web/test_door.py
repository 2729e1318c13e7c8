"""Who is let in to `balsam web`. No network."""

from __future__ import annotations

import pytest

from balsam_web.door import Door, is_loopback, is_same_origin


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]", "[::1]:8000", "localhost:65535"]
)
def test_the_loopback_is_known_by_its_names(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        *("", "evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example:8000"),
        *("127.0.0.2", "0.0.0.0:8000", "127.0.0.1:evil", "user@127.0.0.1", "[::1]x", "::1", "127.1:80"),
        *("localhost.:80", "localhost:"),
    ],
)
def test_no_other_name_is_taken_for_the_loopback(host: str) -> None:
    """A page whose name was made to point here (DNS rebinding) calls by that name."""
    assert not is_loopback(host)


def test_an_action_comes_from_the_page_itself() -> None:
    assert is_same_origin("http://127.0.0.1:8000", "127.0.0.1:8000")
    for origin in ("", "null", "http://127.0.0.1:8001", "https://127.0.0.1:8000", "http://localhost:8000"):
        assert not is_same_origin(origin, "127.0.0.1:8000")


def test_a_link_lets_one_browser_in() -> None:
    used = []
    door = Door(used=lambda: used.append(door.token))
    token = door.token
    visitor = door.admit(token)
    assert visitor is not None
    assert door.knows(visitor.cookie, visitor.key)
    assert door.admit(token) is None
    assert used == [door.token]
    assert door.token != token
    assert door.admit(door.token) is not None
    assert door.knows(visitor.cookie, visitor.key)


def test_neither_the_cookie_nor_the_key_is_enough() -> None:
    door = Door()
    one, other = door.admit(door.token), door.admit(door.token)
    assert one is not None
    assert other is not None
    pairs = ((one.cookie, ""), ("", one.key), (one.cookie, other.key), (one.key, one.cookie), ("ü", "\udc80"))
    for cookie, key in pairs:
        assert not door.knows(cookie, key)


def test_what_is_no_token_lets_nobody_in() -> None:
    door = Door()
    for token in ("", "x", door.token[:-1], f"{door.token} ", "\udc80"):
        assert door.admit(token) is None


def test_browsers_are_forgotten_when_there_are_very_many() -> None:
    door = Door()
    visitors = [door.admit(door.token) for _ in range(101)]
    known = [one is not None and door.knows(one.cookie, one.key) for one in visitors]
    assert known == [False, *[True] * 100]
