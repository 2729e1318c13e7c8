"""The fast path as data: every path is one that the graph allows, and every job has a way on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from balsam.states import TRANSITIONABLE, WAITING, Actor, State, path_is_allowed
from balsam.v1.session_service_pb2 import Rule
from balsam_scheduler.rules import RULES, SLOW_STATES

# Conditions that exclude each other; a job has one of each group, or a fact that no condition names (0).
PARENTS = (
    {Rule.PARENTS_DONE},
    {Rule.PARENTS_PENDING},
    {Rule.PARENTS_PENDING, Rule.PARENT_FAILED},
    {Rule.PARENTS_DONE, Rule.PARENT_FAILED},
)
CHOICES = (
    ({Rule.NO_STAGE_IN}, set()),
    ({Rule.NO_PREPROCESS}, set()),
    ({Rule.NO_POSTPROCESS, Rule.NO_ERROR_HANDLER, Rule.NO_TIMEOUT_HANDLER}, {Rule.NO_ERROR_HANDLER}, set()),
    ({Rule.NO_TIMEOUT_HANDLER}, set()),
    ({Rule.NO_STAGE_OUT}, set()),
    ({Rule.TIMEOUT_RETRY}, {Rule.NO_TIMEOUT_RETRY}),
    ({Rule.LAUNCHER_LOST}, {Rule.LAUNCHER_ALIVE}),
    ({Rule.RESTARTS_LEFT}, {Rule.NO_RESTARTS_LEFT}),
)


def source(rule: Rule) -> State:
    return State(getattr(rule, "from"))


def situations() -> Iterator[frozenset[int]]:
    """Every combination of facts about a job."""
    for parts in itertools.product(PARENTS, *CHOICES):
        yield frozenset().union(*parts)


def first_rule(state: State, facts: frozenset[int]) -> Rule | None:
    return next((rule for rule in RULES if source(rule) is state and facts.issuperset(rule.when)), None)


def follow(state: State, facts: frozenset[int]) -> list[State]:
    """What the job store does: the first rule that fits, and again until none does."""
    path = [state]
    while (rule := first_rule(path[-1], facts)) is not None:
        path += [State(entered) for entered in rule.path]
        assert len(path) < 10, f"the rules lead in circles: {path}"
    return path


def work_to_do(state: State, facts: frozenset[int]) -> bool:
    """Whether a job in this state needs staging or a script, by the job model and without the rules."""
    return {
        State.READY: Rule.NO_STAGE_IN not in facts,
        State.STAGED_IN: Rule.NO_PREPROCESS not in facts,
        State.RUN_DONE: Rule.NO_POSTPROCESS not in facts,
        State.POSTPROCESSED: Rule.NO_STAGE_OUT not in facts,
        State.RUN_ERROR: Rule.NO_ERROR_HANDLER not in facts,
        State.RUN_TIMEOUT: Rule.NO_TIMEOUT_HANDLER not in facts and Rule.LAUNCHER_ALIVE in facts,
    }.get(state, False)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_every_path_is_one_that_the_graph_allows_a_scheduler(rule: Rule) -> None:
    assert rule.path
    assert path_is_allowed(Actor.SCHEDULER, source(rule), tuple(rule.path))


@pytest.mark.parametrize("state", sorted(TRANSITIONABLE))
def test_every_job_that_can_move_has_a_rule_or_needs_work(state: State) -> None:
    for facts in situations():
        waits = state is State.AWAITING_PARENTS and Rule.PARENTS_PENDING in facts
        if first_rule(state, facts) is None and not waits:
            assert state in SLOW_STATES
            assert work_to_do(state, facts), [Rule.Condition.Name(fact) for fact in facts]


@pytest.mark.parametrize("state", sorted(TRANSITIONABLE | {State.PREPROCESSED}))
def test_rules_never_pass_over_work(state: State) -> None:
    for facts in situations():
        if Rule.PARENT_FAILED in facts or Rule.PARENTS_PENDING in facts:
            continue
        passed = follow(state, facts)[:-1]
        assert not [left for left in passed if work_to_do(left, facts)]


@pytest.mark.parametrize("state", sorted(WAITING))
def test_before_its_run_a_job_waits_for_a_parent_that_was_added(state: State) -> None:
    for facts in situations():
        if Rule.PARENTS_PENDING in facts and Rule.PARENT_FAILED not in facts:
            assert follow(state, facts)[-1] is State.AWAITING_PARENTS


@pytest.mark.parametrize("state", sorted(WAITING))
def test_before_its_run_a_job_fails_with_its_parent(state: State) -> None:
    for facts in situations():
        if Rule.PARENT_FAILED in facts:
            rule = first_rule(state, facts)
            assert rule is not None
            assert list(rule.path) == [State.FAILED]
            assert "{parent}" in rule.message


def test_a_job_that_needs_nothing_is_runnable_in_one_move() -> None:
    rule = first_rule(State.CREATED, frozenset({Rule.PARENTS_DONE, Rule.NO_STAGE_IN, Rule.NO_PREPROCESS}))
    assert rule is not None
    assert list(rule.path) == [State.READY, State.STAGED_IN, State.PREPROCESSED]


def test_a_job_that_needs_nothing_more_is_finished_in_one_move() -> None:
    rule = first_rule(State.RUN_DONE, frozenset({Rule.NO_POSTPROCESS, Rule.NO_STAGE_OUT}))
    assert rule is not None
    assert list(rule.path) == [State.POSTPROCESSED, State.JOB_FINISHED]


@pytest.mark.parametrize(
    ("facts", "end"),
    [
        ({Rule.LAUNCHER_LOST, Rule.RESTARTS_LEFT}, State.RESTART_READY),
        ({Rule.LAUNCHER_LOST, Rule.RESTARTS_LEFT, Rule.NO_TIMEOUT_RETRY}, State.RESTART_READY),
        ({Rule.LAUNCHER_LOST, Rule.NO_RESTARTS_LEFT, Rule.TIMEOUT_RETRY}, State.FAILED),
        ({Rule.LAUNCHER_ALIVE, Rule.NO_TIMEOUT_HANDLER, Rule.TIMEOUT_RETRY}, State.RESTART_READY),
        ({Rule.LAUNCHER_ALIVE, Rule.NO_TIMEOUT_HANDLER, Rule.NO_TIMEOUT_RETRY}, State.FAILED),
        (
            {Rule.LAUNCHER_ALIVE, Rule.NO_TIMEOUT_HANDLER, Rule.TIMEOUT_RETRY, Rule.NO_RESTARTS_LEFT},
            State.RESTART_READY,
        ),
        ({Rule.LAUNCHER_ALIVE, Rule.TIMEOUT_RETRY}, State.RUN_TIMEOUT),  # its handler decides
    ],
)
def test_where_a_time_out_leads(facts: set[int], end: State) -> None:
    assert follow(State.RUN_TIMEOUT, frozenset(facts))[-1] is end


def test_a_run_that_failed_keeps_its_reason() -> None:
    rule = first_rule(State.RUN_ERROR, frozenset({Rule.NO_ERROR_HANDLER}))
    assert rule is not None
    assert rule.message == "{reason}"
