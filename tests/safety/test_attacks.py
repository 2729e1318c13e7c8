"""Whatever an attacker says, or has left in a directory: nothing is written outside the job's own, nothing is started
but its command, and it is refused, or fails, or runs, with one clear reason."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from balsam.states import State
from tests.safety.cases import CASES, Case, Plot
from tests.safety.ground import Ground, Refusal, story


def test_there_are_enough_attacks_and_each_has_a_title() -> None:
    assert len(CASES) >= 150
    assert len({case.title for case in CASES}) > 0.95 * len(CASES)


@pytest.fixture(scope="module", autouse=True)
def _things_of_the_attacker(ground: Ground) -> None:
    """Files that attackers may name: their own, and links to what is not theirs."""
    own = ground.own
    (own / "env $(touch x); id.sh").write_text("export SOURCED=1\n")
    for name in ("input/sub", "output", "pipes"):
        (own / name).mkdir(parents=True)
    (own / "input" / "a.dat").write_text("input a")
    (own / "input" / "b.dat").write_text("input b")
    (own / "input" / "sub" / "b.dat").write_text("input c")
    for name in ("job.out", "preprocess.log"):
        (own / "output" / name).symlink_to(ground.outside / "a.dat")
    os.mkfifo(own / "pipe")
    os.mkfifo(own / "pipes" / "pipe")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title.encode("ascii", "backslashreplace").decode())
def test_an_attack_gets_nowhere(ground: Ground, case: Case) -> None:
    parent = _parent(ground) if case.has_parent else None
    plot = _plot(ground, case, parent)
    if case.plant is not None:
        case.plant(plot)
    before, data = ground.snapshot(), ground.data()
    refused = _attempt(ground, case, plot, parent)
    if case.refused:
        assert refused is not None, "it was taken"
        reason, field, message = refused
        assert (field, reason) == (case.refused, "INVALID_VALUE"), message
        assert "\n" not in message
        assert len(message) < 1000
    else:
        assert refused is None, refused
        _look(ground, case, plot)
    assert ground.trespasses(before) == []
    assert ground.strays(data, plot.directory) == []


def _parent(ground: Ground) -> str:
    """A parent that has finished."""
    job_id = str(uuid.uuid4())
    assert ground.add(job_id, name="parent", application=ground.add_app()) is None
    ground.wait(job_id)
    return job_id


def _plot(ground: Ground, case: Case, parent: str | None) -> Plot:
    fields = {"name": "job", "workflow": "w"} | _filled(ground, case.fields)
    job_id = str(uuid.uuid4())
    folder = "_".join(fields["name"].split()) or "job"
    directory = Path(fields.get("user_workdir") or ground.site.data / fields["workflow"] / f"{folder}_{job_id[:8]}")
    above = Path(ground.get(parent).working_directory) if parent else directory
    return Plot(ground, job_id, directory, above)


def _attempt(ground: Ground, case: Case, plot: Plot, parent: str | None) -> tuple[str, str, str] | None:
    """Adds application and job; gives reason, field and message of a refusal."""
    try:
        application = "" if case.app is None else ground.add_app(**_filled(ground, case.app))
    except Refusal as refusal:
        return refusal.reason, refusal.field, refusal.details
    fields = {"name": "job"} | _filled(ground, case.fields)
    refused = ground.add(plot.job_id, application=application, parents=[parent] if parent else [], **fields)
    return None if refused is None else (refused.reason, refused.field, refused.message)


def _look(ground: Ground, case: Case, plot: Plot) -> None:
    job = ground.wait(plot.job_id)
    if case.fails:
        assert job.state == State.FAILED, story(ground, job)
        assert case.fails in job.message, story(ground, job)
    else:
        assert job.state == State.JOB_FINISHED, story(ground, job)
    if case.argv is not None:
        assert job.working_directory == str(plot.directory)
        seen = (plot.directory / "probe.argv").read_bytes().split(b"\0")[:-1]
        expected = [_fill(ground, word) for word in case.argv] or [""]  # of no word, printf makes an empty one
        assert [os.fsdecode(word) for word in seen] == expected
        assert (plot.directory / f"{case.fields.get('name', 'job')}.out").is_file()
    if case.look is not None:
        case.look(plot)


def _filled(ground: Ground, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _fill(ground, value) for name, value in fields.items()}


def _fill(ground: Ground, value: Any) -> Any:
    """A value with the places in it."""
    if isinstance(value, dict):
        return {name: _fill(ground, text) for name, text in value.items()}
    if not isinstance(value, str):
        return value
    for sign, place in (("@OUT", ground.outside), ("@OWN", ground.own), ("@PROBE", ground.probe)):
        value = value.replace(sign, str(place))
    return value
