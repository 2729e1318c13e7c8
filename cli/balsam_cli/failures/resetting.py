"""Sets failed jobs to where they are done again from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from balsam.client import Client
from balsam.restarts import restart_states
from balsam.states import State
from balsam_cli.outcome import Outcome, reasons

_AT_ONCE = 1000  # with more ids in one filter of events, each takes longer
_MESSAGE = "balsam failures --retry"


def reset(store: Client, job_ids: Sequence[str]) -> Outcome:
    """Resets failed jobs; those that have been moved since are skipped, or moved all the same."""
    result = Outcome(len(job_ids))
    for first in range(0, len(job_ids), _AT_ONCE):
        for state, ids in _by_target(store, job_ids[first : first + _AT_ONCE]).items():
            done = store.jobs.set_state(ids, state.name, _MESSAGE)
            result.done += done.done
            result.skipped += done.refused
            result.reasons += reasons([done.first] if done.first is not None else [])
    return result


def _by_target(store: Client, job_ids: Sequence[str]) -> dict[State, list[str]]:
    """State to enter -> the jobs."""
    targets: dict[State, list[str]] = defaultdict(list)
    for job_id, state in restart_states(store, job_ids).items():
        targets[state].append(job_id)
    return targets
