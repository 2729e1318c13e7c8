"""Rules as the job store follows them: facts in, a path out."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from balsam.states import State
from balsam_jobstore.rules import Condition, Needs, Rule, RuleSet, conditions

S, C = State, Condition


@dataclass
class Job:
    state: int = S.CREATED
    needs: int = 0
    unmet: int = 0
    failed_parent: int | None = None
    lost: int = 0
    restarts: int = 0
    max_restarts: int = 3


def rule(source: State, *path: State, when: tuple[Condition, ...] = (), message: str = "") -> Rule:
    return Rule(int(source), frozenset(int(c) for c in when), tuple(int(s) for s in path), message)


def holding(job: Job) -> set[Condition]:
    held = conditions(job)
    return {condition for condition in C if held >> condition & 1}


@pytest.mark.parametrize(
    ("job", "yes", "no"),
    [
        (Job(), {C.PARENTS_DONE}, {C.PARENTS_PENDING, C.PARENT_FAILED}),
        (Job(unmet=2), {C.PARENTS_PENDING}, {C.PARENTS_DONE}),
        (Job(unmet=2, failed_parent=5), {C.PARENTS_PENDING, C.PARENT_FAILED}, {C.PARENTS_DONE}),
        (Job(unmet=2, failed_parent=5, needs=Needs.NO_WAIT), {C.PARENTS_DONE}, {C.PARENTS_PENDING, C.PARENT_FAILED}),
        (Job(needs=Needs.INPUT_FILES), {C.NO_STAGE_IN}, set()),
        (Job(needs=Needs.INPUT_FILES | Needs.PARENTS), set(), {C.NO_STAGE_IN}),
        (Job(needs=Needs.STAGE_IN_URL), set(), {C.NO_STAGE_IN}),
        (Job(needs=Needs.PARENTS | Needs.CHILDREN), {C.NO_STAGE_IN, C.NO_PREPROCESS, C.NO_STAGE_OUT}, set()),
        (Job(needs=Needs.PREPROCESS), {C.NO_POSTPROCESS}, {C.NO_PREPROCESS}),
        (Job(needs=Needs.POSTPROCESS), {C.NO_ERROR_HANDLER, C.NO_TIMEOUT_HANDLER}, {C.NO_POSTPROCESS}),
        (Job(needs=Needs.POSTPROCESS | Needs.ERROR_HANDLER), {C.NO_TIMEOUT_HANDLER}, {C.NO_ERROR_HANDLER}),
        (Job(needs=Needs.ERROR_HANDLER | Needs.TIMEOUT_HANDLER), {C.NO_ERROR_HANDLER, C.NO_TIMEOUT_HANDLER}, set()),
        (Job(needs=Needs.STAGE_OUT), set(), {C.NO_STAGE_OUT}),
        (Job(), {C.TIMEOUT_RETRY, C.LAUNCHER_ALIVE, C.RESTARTS_LEFT}, {C.NO_TIMEOUT_RETRY, C.LAUNCHER_LOST}),
        (Job(needs=Needs.NO_TIMEOUT_RETRY, lost=1), {C.NO_TIMEOUT_RETRY, C.LAUNCHER_LOST}, {C.LAUNCHER_ALIVE}),
        (Job(restarts=3), {C.RESTARTS_LEFT}, {C.NO_RESTARTS_LEFT}),
        (Job(restarts=4), {C.NO_RESTARTS_LEFT}, {C.RESTARTS_LEFT}),
        (Job(restarts=1, max_restarts=0), {C.NO_RESTARTS_LEFT}, set()),
    ],
    ids=str,
)
def test_conditions_are_what_they_are_called(job: Job, yes: set[Condition], no: set[Condition]) -> None:
    assert yes <= holding(job)
    assert not no & holding(job)


def test_the_first_rule_that_fits_is_followed_until_none_does() -> None:
    rules = RuleSet(
        [
            rule(S.CREATED, S.FAILED, when=(C.PARENT_FAILED,)),
            rule(S.CREATED, S.READY, when=(C.PARENTS_DONE,), message="first"),
            rule(S.CREATED, S.AWAITING_PARENTS),
            rule(S.READY, S.STAGED_IN, when=(C.NO_STAGE_IN,)),
        ]
    )
    move = rules.next_move(Job())
    assert move is not None
    assert (move.path, move.message) == ((S.READY, S.STAGED_IN), "first")
    waiting = rules.next_move(Job(unmet=1))
    assert waiting is not None
    assert waiting.path == (S.AWAITING_PARENTS,)
    assert rules.next_move(Job(state=S.STAGED_IN)) is None
    assert rules.sources == [S.CREATED, S.READY]


def test_rules_that_lead_in_circles_come_to_an_end() -> None:
    rules = RuleSet([rule(S.READY, S.AWAITING_PARENTS), rule(S.AWAITING_PARENTS, S.READY)])
    move = rules.next_move(Job(state=S.READY))
    assert move is not None
    assert len(move.path) < 20


def test_a_rule_set_without_rules_moves_nothing() -> None:
    assert all(RuleSet().next_move(Job(state=state)) is None for state in S)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (rule(S.CREATED), "has no path"),
        (rule(S.CREATED, S.RUNNING), r"leads from CREATED through \['RUNNING'\]"),
        (rule(S.PREPROCESSED, S.RUNNING), "leads from PREPROCESSED"),
        (rule(S.JOB_FINISHED, S.FAILED), "leads from JOB_FINISHED"),
        (rule(S.CREATED, S.READY, S.RUN_DONE), "READY', 'RUN_DONE"),
    ],
)
def test_a_rule_that_the_graph_does_not_allow_a_scheduler_says_so(bad: Rule, problem: str) -> None:
    import re

    assert re.search(problem, bad.problem())


def test_a_rule_that_the_graph_allows_has_no_problem() -> None:
    assert rule(S.CREATED, S.READY, S.STAGED_IN, S.PREPROCESSED).problem() == ""
