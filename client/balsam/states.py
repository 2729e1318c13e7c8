"""The state graph: one table that the services, the protos and the documentation are checked against.

States are whole numbers inside the services (those of the proto enum) and names everywhere a person reads them.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Iterable


class State(enum.IntEnum):
    """Where a job stands; numbers and names are those of ``balsam.v1.Job.State``."""

    CREATED = 1
    AWAITING_PARENTS = 2
    READY = 3
    STAGED_IN = 4
    PREPROCESSED = 5
    RUNNING = 6
    RUN_DONE = 7
    POSTPROCESSED = 8
    JOB_FINISHED = 9
    RUN_ERROR = 10
    RUN_TIMEOUT = 11
    RESTART_READY = 12
    FAILED = 13
    USER_KILLED = 14


class Actor(enum.IntEnum):
    """Who moves a job; numbers and names are those of ``balsam.v1.Event.Actor``."""

    USER = 1
    SCHEDULER = 2
    LAUNCHER = 3
    SCRIPT = 4
    JOBSTORE = 5


ALL = frozenset(State)
END = frozenset({State.JOB_FINISHED, State.FAILED, State.USER_KILLED})
RUNNABLE = frozenset({State.PREPROCESSED, State.RESTART_READY})
ACTIVE = frozenset({State.RUNNING})
TRANSITIONABLE = ALL - END - RUNNABLE - ACTIVE
WAITING = frozenset({State.CREATED, State.AWAITING_PARENTS, State.READY, State.STAGED_IN, State.PREPROCESSED})
"""Before the first run: these can still be sent back to wait for a parent."""

_SCHEDULER = {
    State.CREATED: {State.AWAITING_PARENTS, State.READY},
    State.AWAITING_PARENTS: {State.READY},
    State.READY: {State.STAGED_IN, State.AWAITING_PARENTS},
    State.STAGED_IN: {State.PREPROCESSED, State.AWAITING_PARENTS},
    State.PREPROCESSED: {State.AWAITING_PARENTS},
    State.RUN_DONE: {State.POSTPROCESSED},
    State.POSTPROCESSED: {State.JOB_FINISHED},
    State.RUN_ERROR: {State.RESTART_READY},
    State.RUN_TIMEOUT: {State.RESTART_READY},
}
_LAUNCHER = {
    State.PREPROCESSED: {State.RUNNING},
    State.RESTART_READY: {State.RUNNING},
    State.RUNNING: {State.RUN_DONE, State.RUN_ERROR, State.RUN_TIMEOUT},
}
_JOBSTORE = {
    **{state: {State.AWAITING_PARENTS} for state in WAITING},
    State.RUNNING: {State.RUN_TIMEOUT},
    # A parent was reset: children that failed only because of it come back.
    State.FAILED: {State.AWAITING_PARENTS},
}


def _with_failure(moves: dict[State, set[State]]) -> dict[State, frozenset[State]]:
    """A transition may fail wherever a job is, unless it has ended."""
    return {s: frozenset(moves.get(s, set()) | ({State.FAILED} if s not in END else set())) for s in State}


_USER: dict[State, frozenset[State]] = {
    source: frozenset(
        target
        for target in State
        if target not in (State.RUNNING, source) and not (target is State.USER_KILLED and source in END)
    )
    if source is not State.USER_KILLED
    else frozenset()
    for source in State
}

TRANSITIONS: dict[Actor, dict[State, frozenset[State]]] = {
    Actor.USER: _USER,
    Actor.SCRIPT: _USER,
    Actor.SCHEDULER: _with_failure(_SCHEDULER),
    Actor.LAUNCHER: {s: frozenset(_LAUNCHER.get(s, set())) for s in State},
    Actor.JOBSTORE: _with_failure(_JOBSTORE),
}
"""Actor -> state -> states that this actor may move a job to from there."""


def allowed(actor: Actor, source: int, target: int) -> bool:
    """Whether `actor` may move a job from `source` to `target`."""
    return target in TRANSITIONS[actor][State(source)]


@functools.lru_cache(10_000)
def path_is_allowed(actor: Actor, source: int, path: tuple[int, ...]) -> bool:
    """Whether `actor` may move a job from `source` through all of `path`."""
    for target in path:
        if not allowed(actor, source, target):
            return False
        source = target
    return True


def names(states: Iterable[int]) -> str:
    """The names of states, for a message: ``"CREATED, READY"``."""
    return ", ".join(State(s).name for s in sorted(states))
