"""Classes, states, errors and reports under the names that scripts for Balsam 0.x import. Nothing is contacted here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from balsam.application import ApplicationDefinition, NoApplication
from balsam.errors import InvalidParentsError, InvalidStateError, ValidationError
from balsam.history import TIME_FORMAT as TIME_FMT
from balsam.job import BalsamJob
from balsam.launch import QueuedLaunch
from balsam.q import Count, Q
from balsam.states import ACTIVE, END, RUNNABLE, TRANSITIONABLE, State

if TYPE_CHECKING:
    from balsam.reports import error_report, process_job_times, throughput_report, utilization_report

__all__ = [
    "ACTIVE_STATES",
    "END_STATES",
    "PROCESSABLE_STATES",
    "RUNNABLE_STATES",
    "STATES",
    "TIME_FMT",
    "ApplicationDefinition",
    "BalsamJob",
    "Count",
    "InvalidParentsError",
    "InvalidStateError",
    "NoApplication",
    "Q",
    "QueuedLaunch",
    "ValidationError",
    "error_report",
    "process_job_times",
    "throughput_report",
    "utilization_report",
]

STATES: list[str] = [state.name for state in State]
"""Every state, by name."""
PROCESSABLE_STATES: list[str] = [state.name for state in sorted(TRANSITIONABLE)]
"""The states from which the scheduler moves a job on."""
RUNNABLE_STATES: list[str] = [state.name for state in sorted(RUNNABLE)]
"""The states in which a launcher may start a job."""
ACTIVE_STATES: list[str] = [state.name for state in sorted(ACTIVE)]
"""The states in which a launcher has the job."""
END_STATES: list[str] = [state.name for state in sorted(END)]
"""The states that a job ends in."""

_REPORTS = frozenset({"error_report", "process_job_times", "throughput_report", "utilization_report"})


def __getattr__(name: str) -> Any:
    if name not in _REPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from balsam import reports

    value = globals()[name] = getattr(reports, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
