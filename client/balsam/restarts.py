"""Where failed jobs are done again from, when a user asks for that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from balsam.states import WAITING, State

if TYPE_CHECKING:
    from balsam.client import Client

_AFTER_RUN = frozenset({State.RUN_DONE, State.POSTPROCESSED})
"""Where a job failed after its run, that is not done again; else it starts anew, or is run again."""


def restart_state(before: State) -> State:
    """Where a job that failed is done again from, by the state that it was in before."""
    if before in WAITING:
        return State.CREATED
    return before if before in _AFTER_RUN else State.RESTART_READY


def restart_states(client: Client, job_ids: Sequence[str]) -> dict[str, State]:
    """Those of these jobs that are FAILED now -> where each is done again from.

    With more than about a thousand ids, each takes longer.

    Raises:
        BalsamError: the job store cannot be reached, or refuses.
    """
    histories: dict[str, list[str]] = {one: [] for one in job_ids}
    for move in client.events.moves(job_ids):
        if move.job_id in histories:
            histories[move.job_id] += move.states
    return {
        job_id: restart_state(State[states[-2]] if len(states) > 1 else State.CREATED)
        for job_id, states in histories.items()
        if states and states[-1] == State.FAILED.name
    }
