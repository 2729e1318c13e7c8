"""`balsam plot` and `balsam.plots.read` of jobs that have really run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam import plots
from balsam.client import Client
from balsam.errors import ValidationError
from balsam.plots import reading
from balsam.site import Site
from tests.cli.conftest import Balsam
from tests.support.processes import launcher, services
from tests.support.scheduling import Jobs
from tests.support.sites import wait_for_states


@pytest.fixture
def client(any_site: Site) -> Iterator[Client]:
    """A site over each database, on which some jobs have run; its services run."""
    with services(any_site):
        jobs = Jobs(any_site)
        first = jobs.add("first", args="sleep 0.2", node_packing_count=4)
        jobs.add("second", args="true", parents=[first], node_packing_count=2)
        jobs.add("wrong", args="false")
        launcher(any_site)
        wait_for_states(any_site, {"second": "JOB_FINISHED", "wrong": "FAILED"}, 30)
        jobs.close()
        client = Client(any_site)
        client.jobs.create([{"job_id": "0" * 8 + "-0000-4000-8000-" + "0" * 12, "name": "other", "workflow": "else"}])
        yield client
        client.close()


def test_what_has_happened_is_read(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    series = plots.read(client.BalsamJob.objects, progress=counts.append)
    assert (series.total, sum(series.entered["RUN_DONE"]), sum(series.entered["FAILED"])) == (4, 2, 1)
    assert counts[-1] > 10
    assert series.stays["RUNNING"].high >= 0.15
    # first used a quarter of a node, the others next to nothing
    in_use = sum(nodes * width for nodes, width in zip(series.nodes, series.widths, strict=True))
    assert 0.04 <= in_use <= 3 * series.stays["RUNNING"].mean - 0.1

    # the launcher is gone, and what it had is known
    (gone,) = series.launchers
    assert (gone.nodes, gone.start < gone.end) == (1, True)
    assert 0 < max(series.capacity()) <= 1
    assert 0 < (series.utilization() or 0) < 1

    chosen = client.BalsamJob.objects.filter(workflow="test")
    by_id = plots.read(chosen)
    assert by_id.total == 3
    monkeypatch.setattr(reading, "FEW", 0)
    by_filter = plots.read(chosen)
    assert (by_filter.total, by_filter.entered["RUN_DONE"]) == (3, by_id.entered["RUN_DONE"])
    assert by_filter.edges[0] == by_id.edges[0]
    assert plots.read(chosen, last_seconds=1e-3).entered.get("RUNNING") is None
    nodes = {node.name: node for node in plots.read_graph(chosen)}
    assert nodes["second"].parents == (nodes["first"].job_id,)
    assert plots.read(client.BalsamJob.objects.none()).total == 0
    with pytest.raises(ValidationError, match="must be a query"):
        plots.read([])  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="a slice of a query"):
        plots.read(chosen[:1])


@pytest.mark.usefixtures("services")
def test_the_command(
    balsam: Balsam, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    jobs = Jobs(site)
    jobs.add("child", parents=[jobs.add("parent")])
    jobs.close()
    assert balsam("plot").out == "balsam-overview.png\n"
    assert (tmp_path / "balsam-overview.png").read_bytes().startswith(b"\x89PNG")
    assert balsam("plot", "graph", "--out", "g.svg", "--wf", "te*").out == "g.svg\n"
    assert "parent" in (tmp_path / "g.svg").read_text()
    series = balsam("plot", "times", "--json", "--last", "1h").json
    assert (series["total"], series["file"]) == (2, None)
    assert len(series["edges"]) == len(series["jobs"]["AWAITING_PARENTS"]) + 1
    assert set(balsam("plot", "utilization", "--json", "--nodes", "3").json["capacity"]) == {3.0}
    drawn = balsam("plot", "graph", "--json", "--out", "h.png").json
    assert drawn["edges"] == [{"parent": 0, "child": 1, "dependencies": 1}]
    assert (drawn["file"], [box["level"] for box in drawn["boxes"]]) == ("h.png", [0, 1])
    assert not (tmp_path / "balsam-times.png").exists()


WRONG: list[tuple[list[str], int, str]] = [
    (["--out", "x.gif"], 1, "the name must end with .png, .svg or .pdf"),
    (["--out", "nowhere/x.png"], 1, "No such file or directory"),
    (["--wf", "none"], 1, "no job matches; workflow '*none*' would match 0"),
    (["--last", "soon"], 1, "--last 'soon': must be a span of time"),
    (["graph", "--last", "1h"], 2, "a graph has no time"),
    (["--nodes", "0"], 2, "--nodes"),
    (["pie"], 2, "'pie'"),
]
"""(words, exit status, what is said of them)"""


@pytest.mark.usefixtures("services")
def test_what_is_wrong_is_said_in_a_line(balsam: Balsam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words, status, said in WRONG:
        result = balsam("plot", *words)
        assert (words, result.status, result.out) == (words, status, "")
        assert said in result.err
        assert len(result.err.splitlines()) == 1
