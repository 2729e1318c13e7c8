"""Refusals: bulk calls answer item by item, and say why."""

from __future__ import annotations

from dataclasses import dataclass

from balsam.errors import BalsamError

MOST_REFUSALS = 100


@dataclass(slots=True)
class Refused:
    """Why one item was not done."""

    job_id: str
    index: int
    reason: str
    message: str
    field: str = ""


def refused(job_id: str, index: int, error: BalsamError) -> Refused:
    """The refusal that an error amounts to."""
    return Refused(job_id, index, error.reason, str(error), error.field)
