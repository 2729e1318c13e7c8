"""The fast path: every move of a job that needs no work of its own, as data.

The job store applies these rules, in the transaction that makes them true, to jobs that nobody holds: of the rules for
a job's state the first whose conditions all hold is taken, and again until none fits. A job in one of `SLOW_STATES`
that no rule fits needs work, and is granted to the scheduler; see `balsam_scheduler.steps`.
"""

from __future__ import annotations

from typing import TypeAlias

from balsam.states import State
from balsam.v1.session_service_pb2 import Rule

Condition: TypeAlias = Rule.Condition.ValueType

SLOW_STATES = (
    State.READY,
    State.STAGED_IN,
    State.RUN_DONE,
    State.POSTPROCESSED,
    State.RUN_ERROR,
    State.RUN_TIMEOUT,
)
"""States whose jobs need staging or a script, where no rule fits."""

PARENT_FAILED = "parent {parent} ended without finishing"
RESTARTED = "to be started again, since its launcher was lost"
GIVEN_UP = "{reason}; max_restarts is used up"


def _rule(source: State, when: tuple[Condition, ...], path: tuple[State, ...], message: str = "") -> Rule:
    return Rule(
        # `from` is a keyword of Python; the numbers are those of the enum.
        **{"from": source.value},
        when=when,
        path=[state.value for state in path],  # type: ignore[misc]
        message=message,
    )


def _before_run() -> list[Rule]:
    """Rules up to PREPROCESSED: wait for parents, fail with them, or pass what is not needed."""
    chain = (State.READY, State.STAGED_IN, State.PREPROCESSED)
    rules = []
    for source in (State.CREATED, State.AWAITING_PARENTS, *chain):
        rules.append(_rule(source, (Rule.PARENT_FAILED,), (State.FAILED,), PARENT_FAILED))
        if source is not State.AWAITING_PARENTS:
            rules.append(_rule(source, (Rule.PARENTS_PENDING,), (State.AWAITING_PARENTS,)))
        # The longest way first. READY asks for nothing but parents that are done.
        ahead = chain[chain.index(source) + 1 :] if source in chain else chain
        needs = {State.STAGED_IN: Rule.NO_STAGE_IN, State.PREPROCESSED: Rule.NO_PREPROCESS}
        for length in range(len(ahead), 0, -1):
            path = ahead[:length]
            when = (Rule.PARENTS_DONE, *(needs[state] for state in path if state in needs))
            rules.append(_rule(source, when, path))
    return rules


def _after_run() -> list[Rule]:
    """Rules from the end of a run on."""
    done, staged_out = State.POSTPROCESSED, State.JOB_FINISHED
    lost, alive = Rule.LAUNCHER_LOST, (Rule.LAUNCHER_ALIVE, Rule.NO_TIMEOUT_HANDLER)
    again, failed = (State.RESTART_READY,), (State.FAILED,)
    return [
        _rule(State.RUN_DONE, (Rule.NO_POSTPROCESS, Rule.NO_STAGE_OUT), (done, staged_out)),
        _rule(State.RUN_DONE, (Rule.NO_POSTPROCESS,), (done,)),
        _rule(State.POSTPROCESSED, (Rule.NO_STAGE_OUT,), (staged_out,)),
        _rule(State.RUN_ERROR, (Rule.NO_ERROR_HANDLER,), failed, "{reason}"),
        _rule(State.RUN_TIMEOUT, (lost, Rule.RESTARTS_LEFT), again, RESTARTED),
        _rule(State.RUN_TIMEOUT, (lost, Rule.NO_RESTARTS_LEFT), failed, GIVEN_UP),
        _rule(State.RUN_TIMEOUT, (*alive, Rule.TIMEOUT_RETRY), again),
        _rule(State.RUN_TIMEOUT, (*alive, Rule.NO_TIMEOUT_RETRY), failed, "{reason}"),
    ]


RULES: tuple[Rule, ...] = (*_before_run(), *_after_run())
"""The rules, in the order in which they are tried."""
