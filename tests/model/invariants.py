"""What must hold in every state of the lease model, and what must be within reach of it."""

from __future__ import annotations

from tests.model.layout import (
    AGE,
    BROKEN,
    DONE,
    END_TAKEN,
    HAS,
    HOLDER,
    KILL_TOLD,
    KILLED,
    LEDGER,
    NEWEST,
    PHASE,
    RESULT_KEPT,
    RUNS,
    STALE_WRITE,
    UNKNOWN,
    WILD,
    Layout,
)

ONE_RUN = "one run of a job at a time"
ONE_END = "one accepted end per attempt"
NEWEST_ONLY = "accepted writes carry the newest attempt"
KILL_STAYS = "an acknowledged kill is never undone"
RUNS_ARE_KNOWN = "no run of which the store does not know the attempt"
RESULT_STAYS = "a finished result is not lost as long as nobody took over"
PROGRESS = "every job can come to an end, and nothing is left of it then"

INVARIANTS = (ONE_RUN, ONE_END, NEWEST_ONLY, KILL_STAYS, RUNS_ARE_KNOWN, RESULT_STAYS, PROGRESS)


def broken(layout: Layout, state: bytes) -> str:
    """The invariant that a state breaks; empty: none. `PROGRESS` is not one of a state alone."""
    if state[BROKEN]:
        return NEWEST_ONLY if state[BROKEN] == STALE_WRITE else ONE_END
    for job, at in enumerate(layout.job):
        parts = [slot[job] for slot in layout.part]
        runs = [state[part + AGE] for part in parts if state[part + HAS] == RUNS]
        runs += [state[part + WILD] - 1 for part in parts if state[part + WILD]]
        if UNKNOWN in runs:
            return RUNS_ARE_KNOWN
        if len(runs) > 1:
            return ONE_RUN
        killed = state[at + PHASE] == KILLED
        if state[at + KILL_TOLD] and not killed:
            return KILL_STAYS
        open_result = state[at + RESULT_KEPT] and not state[at + END_TAKEN] and not killed
        if open_result and all(state[part + LEDGER] != 1 + NEWEST for part in parts):
            return RESULT_STAYS
    return ""


def finished(layout: Layout, state: bytes) -> bool:
    """Whether every job has ended, and there is neither a lease nor a run nor a result of it any more."""
    if any(state[at + PHASE] < DONE or state[at + HOLDER] for at in layout.job):
        return False
    parts = [part for slot in layout.part for part in slot]
    return not any(state[part + HAS] or state[part + LEDGER] or state[part + WILD] for part in parts)
