"""Clocks of hosts that disagree."""

from __future__ import annotations

from balsam_jobstore.clocks import ClockOffset

MINUTE = 60_000_000
NOW = 1_790_000_000_000_000


def test_clocks_that_agree_need_no_correction_however_late_a_message_comes() -> None:
    clock = ClockOffset()
    assert clock.see(NOW, NOW + 200) == 0
    assert clock.see(NOW, NOW + 10 * MINUTE) == 0


def test_a_clock_that_is_behind_or_ahead_is_corrected() -> None:
    behind, ahead = ClockOffset(), ClockOffset()
    assert behind.see(NOW - 5 * MINUTE, NOW) == 5 * MINUTE
    assert ahead.see(NOW + 5 * MINUTE, NOW) == -5 * MINUTE


def test_the_message_that_was_under_way_for_the_shortest_time_is_believed() -> None:
    clock = ClockOffset()
    assert clock.see(NOW - 5 * MINUTE, NOW + 3_000_000) == 5 * MINUTE + 3_000_000
    assert clock.see(NOW - 5 * MINUTE, NOW + 1_000) == 5 * MINUTE + 1_000
    assert clock.see(NOW - 5 * MINUTE, NOW + 9_000_000) == 5 * MINUTE + 1_000


def test_a_message_that_does_not_say_when_it_was_sent_changes_nothing() -> None:
    clock = ClockOffset()
    assert clock.see(0, NOW) == 0
    clock.see(NOW - MINUTE, NOW)
    assert clock.see(0, NOW) == MINUTE
