"""What job stores tell each other."""

from __future__ import annotations

import pytest

from balsam_jobstore.news import News


def heard(news: News) -> list[News]:
    return [News.of(payload) for payload in news.payloads()]


def test_what_is_said_is_what_is_heard() -> None:
    news = News(2, 71, True, True, [(1, 2, 3)], [4], [(5, 6)], [7], [(8, "node1")])
    (one,) = heard(news)
    assert one.stops == [[1, 2, 3]]
    assert (one.store, one.sequence, one.runnable, one.rules) == (2, 71, True, True)
    assert (one.released, one.programs, one.ended, one.schedulers) == ([4], [[5, 6]], [7], [[8, "node1"]])


def test_nothing_is_said_where_nothing_has_happened() -> None:
    assert heard(News(2)) == []


def test_much_is_said_in_parts_that_postgresql_takes() -> None:
    stops = [(1, 10**12 + key, 3) for key in range(2000)]
    payloads = list(News(1, 9, stops=stops, ended=[5]).payloads())
    assert len(payloads) > 5
    assert max(len(payload.encode()) for payload in payloads) < 8000
    parts = [News.of(payload) for payload in payloads]
    assert [tuple(stop) for part in parts for stop in part.stops] == stops
    assert [part.sequence for part in parts] == [9] + [0] * (len(parts) - 1)
    assert {part.store for part in parts} == {1}


@pytest.mark.parametrize("payload", ["", "[]", "7", '{"who": 1}', '{"store": 1'])
def test_what_is_none_of_ours_is_not_understood(payload: str) -> None:
    with pytest.raises(ValueError, match=r"no news|Expect"):
        News.of(payload)
