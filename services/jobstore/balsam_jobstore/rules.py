"""Rules: which moves follow by themselves. Pure: facts of a job in, a path of states out.

The scheduler owns the rules and registers them; the job store applies them in the transaction that makes them true.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from balsam.states import Actor, State, path_is_allowed


class Needs(enum.IntFlag):
    """What a job asks for, as one number in its row: what rules look at without reading its texts."""

    STAGE_IN_URL = 1
    INPUT_FILES = 2
    PREPROCESS = 4
    POSTPROCESS = 8
    STAGE_OUT = 16
    ERROR_HANDLER = 32
    TIMEOUT_HANDLER = 64
    NO_TIMEOUT_RETRY = 128
    NO_WAIT = 256
    PARENTS = 512
    CHILDREN = 1024
    GPUS = 2048
    BOUND_CORES = 4096


class Condition(enum.IntEnum):
    """A fact about a job; numbers and names are those of ``balsam.v1.Rule.Condition``."""

    PARENTS_PENDING = 1
    PARENTS_DONE = 2
    PARENT_FAILED = 3
    NO_STAGE_IN = 4
    NO_PREPROCESS = 5
    NO_POSTPROCESS = 6
    NO_STAGE_OUT = 7
    NO_ERROR_HANDLER = 8
    NO_TIMEOUT_HANDLER = 9
    TIMEOUT_RETRY = 10
    NO_TIMEOUT_RETRY = 11
    LAUNCHER_LOST = 12
    LAUNCHER_ALIVE = 13
    RESTARTS_LEFT = 14
    NO_RESTARTS_LEFT = 15


class Facts(Protocol):
    """What rules look at."""

    state: int
    needs: int
    unmet: int
    failed_parent: int | None
    lost: int
    restarts: int
    max_restarts: int


def conditions(job: Facts) -> int:
    """The conditions that hold, as a number with the bit ``1 << condition`` set for each."""
    needs = job.needs
    held = 0
    if needs & _NO_WAIT:
        held |= _PARENTS_DONE
    else:
        held |= _PARENTS_PENDING if job.unmet else _PARENTS_DONE
        if job.failed_parent is not None:
            held |= _PARENT_FAILED
    if not needs & _STAGE_IN_URL and needs & _LINKS != _LINKS:
        held |= _NO_STAGE_IN
    if not needs & _PREPROCESS:
        held |= _NO_PREPROCESS
    if not needs & _STAGE_OUT:
        held |= _NO_STAGE_OUT
    if needs & _POSTPROCESS:
        held |= (0 if needs & _ERROR_HANDLER else _NO_ERROR_HANDLER) | (
            0 if needs & _TIMEOUT_HANDLER else _NO_TIMEOUT_HANDLER
        )
    else:
        held |= _NO_POSTPROCESS | _NO_ERROR_HANDLER | _NO_TIMEOUT_HANDLER
    held |= _NO_RETRY if needs & _NEEDS_NO_RETRY else _RETRY
    held |= _LOST if job.lost else _ALIVE
    held |= _RESTARTS_LEFT if job.restarts <= job.max_restarts else _NO_RESTARTS_LEFT
    return held


# Plain numbers: flag arithmetic on enums costs a microsecond each, and this runs for every job.
_STAGE_IN_URL, _PREPROCESS, _POSTPROCESS = int(Needs.STAGE_IN_URL), int(Needs.PREPROCESS), int(Needs.POSTPROCESS)
_STAGE_OUT, _NO_WAIT = int(Needs.STAGE_OUT), int(Needs.NO_WAIT)
_LINKS = int(Needs.INPUT_FILES | Needs.PARENTS)
_ERROR_HANDLER, _TIMEOUT_HANDLER = int(Needs.ERROR_HANDLER), int(Needs.TIMEOUT_HANDLER)
_NEEDS_NO_RETRY = int(Needs.NO_TIMEOUT_RETRY)
(
    _PARENTS_PENDING,
    _PARENTS_DONE,
    _PARENT_FAILED,
    _NO_STAGE_IN,
    _NO_PREPROCESS,
    _NO_POSTPROCESS,
    _NO_STAGE_OUT,
    _NO_ERROR_HANDLER,
    _NO_TIMEOUT_HANDLER,
    _RETRY,
    _NO_RETRY,
    _LOST,
    _ALIVE,
    _RESTARTS_LEFT,
    _NO_RESTARTS_LEFT,
) = (1 << int(condition) for condition in Condition)


@dataclass(frozen=True)
class Rule:
    """When all of `when` hold for a job in state `source`, it passes the states of `path`."""

    source: int
    when: frozenset[int]
    path: tuple[int, ...]
    message: str = ""

    def problem(self) -> str:
        """Why the graph does not allow this rule; empty if it does."""
        if not self.path:
            return "has no path"
        if not path_is_allowed(Actor.SCHEDULER, self.source, self.path):
            return f"leads from {State(self.source).name} through {[State(s).name for s in self.path]}"
        return ""


def pack(rules: Sequence[Rule]) -> str:
    """Rules as a text, for the database."""
    return json.dumps([[rule.source, sorted(rule.when), list(rule.path), rule.message] for rule in rules])


def unpack(text: str) -> list[Rule]:
    """The rules that `pack` has made a text of."""
    return [Rule(source, frozenset(when), tuple(path), message) for source, when, path, message in json.loads(text)]


@dataclass(frozen=True)
class Move:
    """States that a job passes, and why."""

    path: tuple[int, ...]
    message: str


class RuleSet:
    """The rules in force."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self.rules = tuple(rules)
        self._by_state: dict[int, list[tuple[int, Rule]]] = {}
        for rule in rules:
            mask = sum(1 << condition for condition in rule.when)
            self._by_state.setdefault(rule.source, []).append((mask, rule))
        self._memo: dict[tuple[int, int], Move | None] = {}

    @property
    def sources(self) -> list[int]:
        """States that some rule applies to."""
        return sorted(self._by_state)

    def next_move(self, job: Facts) -> Move | None:
        """All that follows by itself for a job that nobody holds; None: nothing."""
        if job.state not in self._by_state:
            return None
        known = (job.state, conditions(job))
        if known not in self._memo:
            self._memo[known] = self._follow(*known)
        return self._memo[known]

    def _follow(self, state: int, held: int) -> Move | None:
        path: list[int] = []
        message = ""
        while True:
            rule = next((r for mask, r in self._by_state.get(state, ()) if mask & held == mask), None)
            if rule is None or len(path) > len(State):
                return Move(tuple(path), message) if path else None
            path += rule.path
            message = rule.message or message
            state = path[-1]
