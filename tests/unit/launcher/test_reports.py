"""What the job store is told of a run."""

from __future__ import annotations

import pytest

from balsam.states import State
from balsam.v1 import job_pb2, lease_pb2
from balsam_launcher import reports
from balsam_launcher.leased import Ending, LeasedJob
from balsam_launcher.placement import Need


def leased(ending: Ending | None = None, *, announced: bool = False) -> LeasedJob:
    lease = lease_pb2.Lease(handle=7, token=3)
    job = LeasedJob(1, lease, job_pb2.Job(), None, "", Need(1, 1.0, mpi=False), start_us=100)
    job.ending, job.announced, job.reason = ending, announced, "because" if ending else ""
    return job


def ended(job: LeasedJob, returncode: int = 0, *, stopped: bool = False) -> lease_pb2.Report:
    return reports.ended(job, returncode, 100, 200, "story" if returncode else "", stopped=stopped)


def states(report: lease_pb2.Report) -> list[tuple[str, int]]:
    return [(State(passage.state).name, passage.time_us) for passage in report.passages]


def test_start_and_end_of_a_short_run_travel_together() -> None:
    report = ended(leased())
    assert states(report) == [("RUNNING", 100), ("RUN_DONE", 200)]
    assert (report.exit_code, report.message, report.release) == (0, "", True)
    assert (report.lease.handle, report.lease.token) == (7, 3)


def test_a_long_run_is_announced_first() -> None:
    report = reports.running(leased())
    assert states(report) == [("RUNNING", 100)]
    assert not report.release
    assert states(ended(leased(announced=True))) == [("RUNNING", 100), ("RUN_DONE", 200)]


@pytest.mark.parametrize(("returncode", "code"), [(3, 3), (-9, 137)])
def test_an_error_has_its_code_and_its_story(returncode: int, code: int) -> None:
    report = ended(leased(), returncode)
    assert states(report)[-1] == ("RUN_ERROR", 200)
    assert (report.exit_code, report.message) == (code, "story")


def test_of_a_run_that_did_not_go_well_it_is_told_where_it_was() -> None:
    def told(ending: Ending | None, returncode: int, *, stopped: bool = False) -> str:
        job = leased(ending)
        job.node = "node17"
        return ended(job, returncode, stopped=stopped).node

    assert (told(None, 0), told(None, 3), told(None, -9)) == ("", "node17", "node17")
    assert told(Ending.TIMED_OUT, 0, stopped=True) == told(Ending.NODE_LOST, -9) == "node17"
    job = leased()
    job.node = "node17"
    assert reports.refused(job, 127, 5, "no such program").node == "node17"
    assert reports.given_back(job).node == ""


def test_a_killed_run_just_ends_its_lease() -> None:
    report = ended(leased(Ending.KILLED), -15, stopped=True)
    assert (states(report), report.release) == ([], True)


def test_a_run_that_was_cut_off_timed_out_even_if_it_exits_with_zero() -> None:
    report = ended(leased(Ending.TIMED_OUT), 0, stopped=True)
    assert states(report)[-1] == ("RUN_TIMEOUT", 200)
    assert report.message == "because"


def test_a_run_that_had_ended_before_it_was_stopped_counts_as_what_it_was() -> None:
    assert states(ended(leased(Ending.TIMED_OUT), 0))[-1] == ("RUN_DONE", 200)
    assert states(ended(leased(Ending.KILLED), 3))[-1] == ("RUN_ERROR", 200)


def test_a_lost_run_ends_its_lease_while_running() -> None:
    report = ended(leased(Ending.LOST), -9, stopped=True)
    assert (states(report), report.release, report.message) == ([("RUNNING", 100)], True, "because")
    assert states(reports.lost(leased(Ending.LOST, announced=True), 5)) == []


def test_what_could_not_be_started_is_an_error_of_the_run() -> None:
    report = reports.refused(leased(), 127, 50, "no such command: x")
    assert states(report) == [("RUNNING", 50), ("RUN_ERROR", 50)]
    assert (report.exit_code, report.message, report.release) == (127, "no such command: x", True)


def test_what_was_never_started_is_given_back_without_a_trace() -> None:
    report = reports.given_back(leased())
    assert (states(report), report.HasField("exit_code"), report.release) == ([], False, True)
