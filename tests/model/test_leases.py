"""Every state that the lease protocol can reach keeps the invariants, and no rule of it can be left out.

The rules are those of `tests/model/protocol.py`; the job store, the launchers and the agents are built to keep them.
`BALSAM_LEASE_MODEL=N` explores larger worlds, up to N states of each.
"""

from __future__ import annotations

import os
from dataclasses import fields, replace

import pytest

from tests.model import invariants
from tests.model.explore import Result, explore
from tests.model.layout import Layout
from tests.model.protocol import Protocol, Rules

MOST = int(os.environ.get("BALSAM_LEASE_MODEL", "0"))

MUTANTS = {
    # Rule 1: every write is fenced.
    "reports_are_fenced": invariants.NEWEST_ONLY,
    "late_results_count_only_if_nobody_took_over": invariants.NEWEST_ONLY,
    "an_attempt_ends_once": invariants.ONE_END,
    "a_kill_is_final": invariants.KILL_STAYS,
    # Rule 2: a trust window, kept by the agent.
    "there_is_a_window": invariants.ONE_RUN,
    "the_agent_keeps_the_window": invariants.ONE_RUN,
    "the_window_counts_from_the_sending": invariants.ONE_RUN,
    "the_window_has_a_margin": invariants.ONE_RUN,
    "silence_proves_nothing": invariants.ONE_RUN,
    "a_refusal_extends_only_a_window_that_lasts": invariants.ONE_RUN,
    "leases_have_grace_at_a_start": invariants.ONE_RUN,
    "a_sweep_looks_again": invariants.ONE_RUN,
    "an_expired_session_is_over": invariants.ONE_RUN,
    # Rule 3: a guard.
    "runs_die_with_their_guards": invariants.ONE_RUN,
    # Rule 4: the grant is recorded before the spawn.
    "a_grant_is_recorded_before_it_is_told": invariants.RUNS_ARE_KNOWN,
    "grants_of_old_sessions_are_ignored": invariants.ONE_RUN,
    "grants_said_twice_are_ignored": invariants.RESULT_STAYS,
    # What was acknowledged, or has run for hours, is not lost; and it goes on.
    "results_are_acknowledged_after_the_commit": invariants.RESULT_STAYS,
    "kills_are_acknowledged_after_the_commit": invariants.KILL_STAYS,
    "late_results_count": invariants.RESULT_STAYS,
    "an_expired_attempt_stays_open": invariants.RESULT_STAYS,
    "the_ledger_outlives_the_session": invariants.RESULT_STAYS,
    "sessions_of_the_dead_expire": invariants.PROGRESS,
    "refused_results_are_dropped": invariants.PROGRESS,
    # Where runs go on without a lease (`FINISH`).
    "silence_of_the_batch_system_is_no_end": invariants.ONE_RUN,
}
"""A rule that is left out, and the invariant that breaks first without it."""

FINISH = {"silence_of_the_batch_system_is_no_end"}
"""Rules of `on_lease_lost = "finish"`."""

EVENTS = {
    "the store is killed",
    "the launcher is killed",
    "the agent is killed",
    "the launcher is stopped (SIGSTOP)",
    "a user kills the job",
    "a renewal is refused, for there is no store",
    "the launcher hears that its session has ended",
    "the store ends a session that has been replaced",
    "the window is over, and the run is ended",
    "a late grant arrives",
    "a result is accepted, and the answer is lost",
    "a result is refused, and dropped",
}
"""Some of what must have happened on the way, or the model says little."""


def without(rule: str) -> Protocol:
    """The smallest world, without one rule."""
    return Protocol(Layout(launchers=2, jobs=1, late=1), replace(Rules(), **{rule: False}), finish=rule in FINISH)


def assert_sound(result: Result) -> None:
    """Fails with the shortest way to what is broken."""
    assert not result.broken, result.story()


def test_one_job_and_two_launchers_keep_every_invariant_in_every_state() -> None:
    result = explore(Protocol(Layout(launchers=2, jobs=1, late=1), ticks=3))
    assert_sound(result)
    assert result.complete
    assert result.states > 50_000
    assert result.seen > EVENTS


def test_they_do_where_runs_go_on_without_a_lease() -> None:
    result = explore(Protocol(Layout(launchers=2, jobs=1, late=1), finish=True))
    assert_sound(result)
    assert result.complete


def test_every_rule_has_a_mutant() -> None:
    assert {field.name for field in fields(Rules)} == MUTANTS.keys()


@pytest.mark.parametrize("rule", MUTANTS)
def test_an_invariant_breaks_without_the_rule_that(rule: str) -> None:
    result = explore(without(rule))
    print(result.story())
    assert result.broken == MUTANTS[rule], f"without {rule}: {result.story()}"


def test_the_shortest_way_is_told_step_by_step() -> None:
    assert explore(without("runs_die_with_their_guards")).story().splitlines() == [
        "broken after 9 steps: one run of a job at a time",
        "  the launcher opens a session  [launcher A]",
        "  the store grants the job  [launcher A, job 1]",
        "  the launcher learns of its grant  [launcher A, job 1]",
        "  the agent starts the run  [launcher A, job 1]",
        "  the agent is killed  [launcher A]",
        "  the launcher gives the job back  [launcher A, job 1]",
        "  the store grants the job  [launcher A, job 1]",
        "  the launcher learns of its grant  [launcher A, job 1]",
        "  the agent starts the run  [launcher A, job 1]",
    ]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not MOST, reason="BALSAM_LEASE_MODEL=N explores N states of each larger world")
@pytest.mark.parametrize(("launchers", "jobs", "late"), [(3, 1, 1), (2, 2, 1), (2, 2, 2)])
def test_larger_worlds_keep_every_invariant_as_far_as_one_looks(launchers: int, jobs: int, late: int) -> None:
    protocol = Protocol(Layout(launchers, jobs, late), ticks=3)
    assert_sound(explore(protocol, most=MOST, progress=False))
