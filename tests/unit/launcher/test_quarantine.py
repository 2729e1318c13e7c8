"""A node that fails every run is told from jobs that are wrong."""

from __future__ import annotations

import random

import pytest

from balsam_launcher.quarantine import HOLD_SECONDS, UNKNOWN_SECONDS, Failure, Quarantine


class Watched:
    """A quarantine, and what it has decided."""

    def __init__(self) -> None:
        self.released: list[int] = []
        self.aside: dict[int, tuple[str, list[int]]] = {}
        self.quarantine = Quarantine(self.released.append, self._set_aside)
        self._runs = 0

    def _set_aside(self, node: int, reason: str, run_ids: list[int]) -> None:
        self.aside[node] = reason, run_ids

    def fail(self, node: int, times: int = 1, *, application: int = 1, now: float = 0.0) -> list[int]:
        runs = []
        for _ in range(times):
            self._runs += 1
            runs.append(self._runs)
            failure = Failure(self._runs, application, now, "no space left on device\ntail of its output")
            self.quarantine.failed_quickly(node, failure)
        return runs

    def do_well(self, node: int, times: int = 1, application: int = 1) -> None:
        for _ in range(times):
            self.quarantine.did_well(node, application)


def test_a_node_that_fails_what_does_well_elsewhere_is_set_aside_with_the_reason() -> None:
    watched = Watched()
    watched.do_well(1, 20)
    runs = watched.fail(2, 5)
    reason, blamed = watched.aside[2]
    assert blamed == runs
    assert reason == "5 runs in a row failed here at once, and do well elsewhere; the last: no space left on device"
    assert watched.released == []


def test_what_others_do_afterwards_counts_too() -> None:
    watched = Watched()
    runs = watched.fail(2, 8)
    assert watched.aside == {}
    watched.do_well(1, 20)
    watched.quarantine.look(1.0)
    assert watched.aside[2][1] == runs


def test_jobs_that_are_wrong_fail_everywhere_and_no_node_is_blamed() -> None:
    watched = Watched()
    runs = [run for _ in range(50) for node in range(4) for run in watched.fail(node)]
    watched.quarantine.look(HOLD_SECONDS)
    assert watched.aside == {}
    assert sorted(watched.released) == runs


def test_another_application_that_does_well_elsewhere_says_nothing_of_this_one() -> None:
    watched = Watched()
    watched.do_well(1, 100, application=2)
    watched.fail(2, 50, application=1)
    assert watched.aside == {}


def test_a_success_on_the_node_clears_it_and_lets_the_failures_go() -> None:
    watched = Watched()
    watched.do_well(1, 20)
    runs = watched.fail(2, 3)
    watched.do_well(2)
    assert watched.released == runs
    watched.fail(2, 3)
    assert watched.aside == {}


def test_failures_are_kept_back_for_a_few_seconds_only() -> None:
    watched = Watched()
    watched.fail(1, now=-UNKNOWN_SECONDS)
    watched.quarantine.look(0.0)
    watched.released.clear()
    runs = watched.fail(0, 2, now=10.0)
    watched.quarantine.look(10.0 + HOLD_SECONDS - 0.1)
    assert watched.released == []
    watched.quarantine.look(10.0 + HOLD_SECONDS)
    assert watched.released == runs
    assert not watched.quarantine.keeps


def test_they_wait_longer_where_no_other_node_has_done_anything_yet() -> None:
    watched = Watched()
    runs = watched.fail(0, 30)
    watched.quarantine.look(HOLD_SECONDS)
    assert watched.released == []
    watched.do_well(1, 5)  # it was started later
    watched.quarantine.look(HOLD_SECONDS + 1)
    assert watched.aside[0][1] == runs
    alone = watched.fail(0, 3, application=9)
    watched.quarantine.look(UNKNOWN_SECONDS)
    assert watched.released == alone


@pytest.mark.parametrize("seed", range(5))
def test_jobs_of_which_half_fail_cost_no_node(seed: int) -> None:
    dice, watched = random.Random(seed), Watched()
    for _ in range(5_000):
        node = dice.randrange(8)
        if dice.random() < 0.5:
            watched.fail(node)
        else:
            watched.do_well(node)
    assert watched.aside == {}


def test_a_node_that_turns_bad_amid_jobs_of_which_some_fail_is_found() -> None:
    dice, watched = random.Random(1), Watched()
    for _ in range(400):
        node = dice.randrange(1, 8)
        if dice.random() < 0.2:
            watched.fail(node)
        else:
            watched.do_well(node)
    watched.fail(0, 12)
    assert list(watched.aside) == [0]


def test_a_node_with_many_failures_that_are_not_judged_yet_is_a_suspect() -> None:
    watched = Watched()
    watched.fail(1)
    watched.fail(3, 50)
    assert not watched.quarantine.is_suspect(3)
    watched.fail(3, 50)
    assert watched.quarantine.is_suspect(3)
    assert not watched.quarantine.is_suspect(2)


def test_while_nothing_is_known_of_other_nodes_few_failures_make_one_suspect() -> None:
    """The first node that is there, if it is a bad one, must not eat what the others would do."""
    watched = Watched()
    watched.fail(3, 10)
    assert watched.quarantine.is_suspect(3)
    watched.do_well(2)
    assert not watched.quarantine.is_suspect(3)
