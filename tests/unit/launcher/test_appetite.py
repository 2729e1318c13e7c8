"""How much work is fetched ahead."""

from __future__ import annotations

from balsam_launcher.appetite import Appetite


def after(runs: int, *, seconds: float, share: float, nodes: float = 1, per_second: float) -> Appetite:
    appetite = Appetite(nodes)
    for number in range(runs):
        appetite.learn(seconds, share, number / per_second)
    return appetite


def test_before_anything_is_known_nothing_is_held_ahead() -> None:
    assert Appetite(4).jobs == 0


def test_long_jobs_are_not_held_ahead() -> None:
    assert after(100, seconds=60, share=1 / 64, per_second=1).jobs == 0


def test_short_jobs_are_held_ahead_for_about_a_tenth_of_a_second() -> None:
    assert 50 <= after(1000, seconds=0.002, share=1 / 8, per_second=1000).jobs <= 300


def test_the_length_of_the_runs_bounds_what_is_held() -> None:
    # 8 slots, 0.4 s each: 20 jobs a second.
    assert after(200, seconds=0.4, share=1 / 8, per_second=20).jobs == 2


def test_the_agent_knows_of_what_it_may_start_within_a_moment() -> None:
    assert after(1000, seconds=0.002, share=1 / 8, per_second=1000).jobs_at_agent == 28
    assert after(100, seconds=60, share=1 / 64, per_second=1).jobs_at_agent == 0


def test_nodes_are_jobs_times_their_share() -> None:
    appetite = after(1000, seconds=0.01, share=1 / 4, per_second=400)
    assert appetite.nodes == appetite.jobs / 4


def test_it_follows_a_change() -> None:
    appetite = after(1000, seconds=0.002, share=1 / 8, per_second=1000)
    for number in range(60):
        appetite.learn(30.0, 1 / 8, 1.0 + number)
    assert appetite.jobs == 0
