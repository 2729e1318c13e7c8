"""What is told to the job store of a run: pure functions from what happened to a report."""

from __future__ import annotations

from typing import Any

from balsam.commands import exit_code
from balsam.states import State
from balsam.v1 import lease_pb2
from balsam_launcher.leased import Ending, LeasedJob

Report = lease_pb2.Report
Passage = lease_pb2.Passage

_RUNNING, _RUN_DONE = int(State.RUNNING), int(State.RUN_DONE)
_RUN_ERROR, _RUN_TIMEOUT = int(State.RUN_ERROR), int(State.RUN_TIMEOUT)


def running(leased: LeasedJob) -> Report:
    """It has been running for a while."""
    return Report(lease=leased.lease, passages=[_passage(_RUNNING, leased.start_us)])


def ended(leased: LeasedJob, returncode: int, start_us: int, end_us: int, message: str, *, stopped: bool) -> Report:
    """It ran and ended.

    Args:
        leased: the job.
        returncode: its exit code; -n: by signal n.
        start_us: when it began, microseconds since 1970.
        end_us: when it ended.
        message: how it ended, for people; empty for exit code 0.
        stopped: it ended because it was stopped (`leased.ending` says why).
    """
    if stopped and leased.ending is Ending.KILLED:
        return given_back(leased)
    if leased.ending is Ending.NODE_LOST:
        return lost(leased, start_us, blamed=False)
    if stopped and leased.ending is Ending.LOST:
        return lost(leased, start_us)
    if stopped:
        state, message = _RUN_TIMEOUT, leased.reason
    else:
        state = _RUN_DONE if returncode == 0 else _RUN_ERROR
    passages = [_passage(_RUNNING, start_us), _passage(state, end_us)]
    code = exit_code(returncode)
    if state == _RUN_DONE:
        return Report(lease=leased.lease, passages=passages, exit_code=code, message=message, release=True)
    return _of_node(leased, passages=passages, exit_code=code, message=message)


def refused(leased: LeasedJob, code: int, time_us: int, message: str) -> Report:
    """It could not be started: an error of the run, which lasted no time."""
    passages = [_passage(_RUNNING, time_us), _passage(_RUN_ERROR, time_us)]
    return _of_node(leased, passages=passages, exit_code=code, message=message)


def given_back(leased: LeasedJob) -> Report:
    """It was never started, or has been moved by somebody else: the lease ends, and that is all."""
    return Report(lease=leased.lease, release=True)


def lost(leased: LeasedJob, time_us: int, *, blamed: bool = True) -> Report:
    """Something broke under it: it ends its lease in RUNNING, which the job store takes for lost.

    Args:
        leased: the job; its `reason` says what it was.
        time_us: when it began, if that is not known better, microseconds since 1970.
        blamed: it uses up a restart.
    """
    passages = [] if leased.announced else [_passage(_RUNNING, time_us)]
    return _of_node(leased, passages=passages, message=leased.reason, spared=not blamed)


def spared(leased: LeasedJob, report: Report) -> Report:
    """It failed, or was lost, by no fault of its own or of its node's: as `lost`, and uses up no restart.

    Args:
        leased: the job; its `reason` says what it was.
        report: what would have been told of it; tells when it began.
    """
    passages = [] if leased.announced else list(report.passages)[:1]
    return _of_node(leased, passages=passages, message=leased.reason, spared=True)


def cut_off(leased: LeasedJob, report: Report) -> Report:
    """It was ended from outside while its launcher was being stopped: RUN_TIMEOUT, whatever signal it was.

    Args:
        leased: the job; its `reason` says why the launcher stops.
        report: what would have been told of it.
    """
    begun, over = report.passages
    passages = [_passage(begun.state, begun.time_us), _passage(_RUN_TIMEOUT, over.time_us)]
    return _of_node(leased, passages=passages, exit_code=report.exit_code, message=leased.reason)


def _of_node(leased: LeasedJob, **told: Any) -> Report:
    """What is told of a run that did not go well, with where it was: a bad node must stand out."""
    return Report(lease=leased.lease, release=True, node=leased.node, **told)


def _passage(state: int, time_us: int) -> Passage:
    # A dict becomes a message of the report in half the time of one made by itself.
    return {"state": state, "time_us": time_us}  # type: ignore[return-value]
