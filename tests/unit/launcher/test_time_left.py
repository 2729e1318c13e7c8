"""How long an allocation still lasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from balsam_launcher.time_left import (
    NO_LIMIT,
    TimeLeft,
    describe,
    find,
    flux_seconds,
    lsf_clock,
    pbs_status,
    slurm_clock,
    too_short,
    usable,
)


class Asked:
    """A batch system that gives one answer, and remembers what it was asked."""

    def __init__(self, answer: str = "") -> None:
        self.answer = answer
        self.commands: list[str] = []

    def __call__(self, command: Sequence[str], environ: Mapping[str, str]) -> str:
        self.commands.append(" ".join(command))
        return self.answer


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("4:30", 270),
        ("1:00:00", 3600),
        ("2-03:04:05", 183845),
        ("UNLIMITED", float("inf")),
        ("INVALID", None),
        ("NOT_SET", None),
        ("", None),
    ],
)
def test_clocks_of_slurm(text: str, seconds: float | None) -> None:
    assert slurm_clock(f"{text}   \n") == seconds


@pytest.mark.parametrize(("text", "seconds"), [("0:29 L", 1740), ("12:05 E", 43500), ("-", float("inf")), ("", None)])
def test_clocks_of_lsf(text: str, seconds: float | None) -> None:
    assert lsf_clock(text) == seconds


def test_pbs_tells_what_was_asked_for_and_what_is_used() -> None:
    status = "Job Id: 17.server\n    resources_used.walltime = 00:10:00\n    Resource_List.walltime = 01:00:00\n"
    assert pbs_status(status) == 3000
    assert pbs_status("    Resource_List.walltime = 01:00:00\n") == 3600
    assert pbs_status("qstat: Unknown Job Id") is None


@pytest.mark.parametrize(("text", "seconds"), [("1799\n", 1799), ("infinity", float("inf")), ("no", None)])
def test_seconds_of_flux(text: str, seconds: float | None) -> None:
    assert flux_seconds(text) == seconds


def test_a_newer_slurm_and_cobalt_tell_the_end_and_are_not_asked() -> None:
    asked = Asked()
    environ = {"SLURM_JOB_ID": "17", "SLURM_JOB_END_TIME": "1600"}
    assert find(environ, now=lambda: 1000.0, ask=asked) == TimeLeft(600.0, "SLURM_JOB_END_TIME")
    assert find({"COBALT_ENDTIME": "1600.5"}, now=lambda: 1000.0, ask=asked).seconds == 600.5
    assert asked.commands == []


@pytest.mark.parametrize(
    ("environ", "answer", "command", "seconds"),
    [
        ({"SLURM_JOB_ID": "17"}, "4:30", "squeue --noheader --jobs=17 --Format=TimeLeft", 270.0),
        ({"SLURM_JOB_ID": "17"}, "UNLIMITED", "squeue --noheader --jobs=17 --Format=TimeLeft", None),
        ({"PBS_JOBID": "3.srv"}, "Resource_List.walltime = 00:01:00", "qstat -f 3.srv", 60.0),
        ({"LSB_JOBID": "9"}, "1:00 L", "bjobs -noheader -o time_left 9", 3600.0),
        ({"FLUX_URI": "local:///x"}, "90", "flux job timeleft", 90.0),
    ],
)
def test_the_batch_system_is_asked(environ: dict[str, str], answer: str, command: str, seconds: float | None) -> None:
    asked = Asked(answer)
    assert find(environ, ask=asked) == TimeLeft(seconds, command)
    assert asked.commands == [command]


def test_one_that_does_not_answer_leaves_it_unknown() -> None:
    left = find({"SLURM_JOB_ID": "17"}, ask=Asked(""))
    assert left.unknown
    assert usable(left, 60.0) is None
    assert "`squeue --noheader --jobs=17 --Format=TimeLeft` does not say; give --time-limit-minutes" in describe(
        left, 60
    )


@pytest.mark.parametrize(
    ("environ", "shown"),
    [
        ({"COBALT_JOBID": "7", "COBALT_ENDTIME": "abc"}, "not known: `COBALT_ENDTIME=abc` does not say; give"),
        ({"COBALT_PARTNAME": "4-6"}, "not known: `COBALT_ENDTIME` does not say; give"),
    ],
)
def test_where_cobalt_says_no_time_it_is_not_known(environ: dict[str, str], shown: str) -> None:
    left = find(environ, ask=Asked())
    assert left.unknown
    assert describe(left, 60.0).startswith(shown)


def test_too_little_time_is_said_with_what_would_do() -> None:
    assert too_short(None, "", 60.0) == too_short(61.0, "", 60.0) == ""
    given = too_short(60.0, "", 60.0)
    assert given.startswith("--time-limit-minutes 1: no job is started but those with wall_time_minutes = 0")
    assert given.endswith("give 2 or more")
    left = too_short(60.0, "squeue", 60.0)
    assert left.startswith("1.0 minutes (squeue, less 60 s: stop_margin_seconds): no job is started but")
    assert "submit it for a longer time" in left


def test_torque_says_how_long_the_whole_is() -> None:
    assert find({"PBS_JOBID": "3", "PBS_WALLTIME": "600"}, ask=Asked("")) == TimeLeft(600.0, "PBS_WALLTIME")


def test_without_a_batch_system_there_is_no_limit() -> None:
    asked = Asked("1")
    assert find({}, ask=asked) == NO_LIMIT
    assert asked.commands == []
    assert describe(NO_LIMIT, 60.0) == "no limit"


def test_a_margin_is_kept_and_a_moment_is_left_to_say_so() -> None:
    assert usable(TimeLeft(600.0, "x"), 60.0) == 540.0
    assert usable(TimeLeft(30.0, "x"), 60.0) == 1.0
    assert describe(TimeLeft(600.0, "squeue"), 60.0) == "9.0 minutes (squeue, less 60 s: stop_margin_seconds)"
