"""Every workload at a small size, most of them among the slow tests, for what it does and not for how fast.

And that a wrong result is noticed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from balsam.client import connect
from balsam.site import Site
from balsam_launcher import mpi
from benchmarks import __main__ as command
from benchmarks import checks
from benchmarks.campaigns import noop_jobs
from benchmarks.figures import Figure, Skipped, Workload, WrongResult
from benchmarks.harness import Bench
from benchmarks.workloads import WORKLOADS, find
from tests.support.components import missing
from tests.support.processes import Services

OFTEN = ("w2", "w3", "queries")
"""Measured in every run of the tests."""
ON_POSTGRES = ("w2", "w8")
"""Where something else is done there."""


@pytest.mark.parametrize(
    "key", [pytest.param(one.key, marks=[] if one.key in OFTEN else pytest.mark.slow) for one in WORKLOADS]
)
def test_over_sqlite(key: str, tmp_path: Path) -> None:
    measure(find(key), Bench(tmp_path, "sqlite", repeats=1, small=True))


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("key", ON_POSTGRES)
def test_over_postgres(key: str, tmp_path: Path) -> None:
    try:
        bench = Bench(tmp_path, "postgres", repeats=1, small=True)
    except Skipped as reason:
        missing("PostgreSQL", str(reason))
    measure(find(key), bench)


def measure(workload: Workload, bench: Bench) -> None:
    """Every figure has a value, and its limit where it has one; nothing is left running."""
    try:
        workload.measure(bench)
    except Skipped as reason:
        missing(workload.title, str(reason))
    left_out = {"w8.scans"} if bench.database == "sqlite" else set()
    assert {series.figure for series in bench.series} == {f for f in workload.figures if f.key not in left_out}
    for series in bench.series:
        assert len(series.rounds) == 1
        assert len(series.limits) == (1 if series.figure.limit else 0)
        assert all(value > 0 for value in series.limits)
    assert list(bench.scratch.glob("*/run/*.sock")) == []


def test_a_wrong_result_is_noticed(site: Site, services: Services) -> None:
    client = connect(site.path)
    client.BalsamJob.objects.bulk_create(noop_jobs(client, 3, "w"))
    waiting = checks.FREE[:4]
    checks.states(client, {"PREPROCESSED": 3}, "w")
    checks.histories(client, {waiting: 3}, "w")
    with pytest.raises(WrongResult, match="jobs by state are"):
        checks.states(client, {"JOB_FINISHED": 3}, "w")
    with pytest.raises(WrongResult, match="3 jobs, and not 0, have entered CREATED READY"):
        checks.histories(client, {checks.FREE: 3}, "w")
    with pytest.raises(WrongResult, match="3 jobs, and not 2, have entered"):
        checks.histories(client, {waiting: 2}, "w")
    with pytest.raises(WrongResult, match="0 jobs, and not 3, have entered"):
        checks.histories(client, {waiting: 3}, "another")
    with pytest.raises(WrongResult, match="0 directories and 0 output files of 3 jobs"):
        checks.outputs(site.data / "w", 3)
    (site.data / "w" / "n0").mkdir(parents=True)
    with pytest.raises(WrongResult, match="1 directories and 0 output files of 1 jobs"):
        checks.outputs(site.data / "w", 1)


def test_a_traceback_in_a_log_is_noticed(site: Site) -> None:
    checks.no_tracebacks(site)
    (site.log / "jobstore.log").write_text("Traceback (most recent call last):\n")
    with pytest.raises(WrongResult, match="there is a traceback in"):
        checks.no_tracebacks(site)


RATE = Figure("fake.rate", "something", "1/s", more_is_better=True)


def fake(*values: float, error: Exception | None = None) -> Workload:
    def work(bench: Bench) -> None:
        for number in bench.rounds():
            bench.record(RATE, values[number - 1])
        if error:
            raise error

    return Workload("fake", "nothing", (RATE,), work)


Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the command with a workload that does nothing; gives its exit status."""

    def with_workload(workload: Workload, *words: str) -> int:
        monkeypatch.setattr(command, "find", lambda key: workload)
        return command.main(["fake", "--database", "sqlite", "--directory", str(tmp_path), *words])

    return with_workload


def test_exit_status_tells_whether_something_got_slower(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = tmp_path / "results" / "earlier.json"
    assert run(fake(10, 10, 10), "--json", str(earlier)) == 0
    assert json.loads(earlier.read_text())["figures"][0]["rounds"] == [10, 10, 10]
    assert run(fake(10, 10, 10), "--against", str(earlier)) == 0
    assert run(fake(20, 20, 20), "--against", str(earlier)) == 0
    assert "FASTER" in capsys.readouterr().out
    assert run(fake(5, 5, 5), "--against", str(earlier)) == 1
    assert "SLOWER" in capsys.readouterr().out
    assert run(fake(5, 5, 5), "--against", str(earlier), "--scale", "small") == 2
    assert run(fake(5, 5, 5), "--against", str(tmp_path / "none.json")) == 2
    assert list(tmp_path.glob("balsam-bench-*")) == []


def test_exit_status_tells_whether_a_workload_failed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(fake(1, 2, 3, error=WrongResult("it did nothing"))) == 2
    said = capsys.readouterr()
    assert "FAILED fake over sqlite: WrongResult: it did nothing" in said.out
    assert "something" not in said.out
    assert run(fake(1, 2, 3, error=Skipped("there is none here"))) == 0
    assert "skipped fake over sqlite: there is none here" in capsys.readouterr().out


def test_the_list_names_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == 0
    said = capsys.readouterr().out
    assert all(figure.key in said for workload in WORKLOADS for figure in workload.figures)


def test_a_limit_is_recorded_where_a_figure_has_one_and_only_there(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "sqlite")
    with pytest.raises(ValueError, match=r"fake\.rate"):
        bench.record(RATE, 1.0, 2.0)
    with pytest.raises(ValueError, match=r"fake\.limited"):
        bench.record(Figure("fake.limited", "something", "s", limit="something else"), 1.0)


def test_mpi_that_is_missing_is_a_reason_to_skip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mpi, "find", lambda setting, path: mpi.NoMpi("no mpiexec found"))
    with pytest.raises(Skipped, match="no mpiexec found"):
        find("w11").measure(Bench(tmp_path, "sqlite", repeats=1, small=True))
