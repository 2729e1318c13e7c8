"""The pictures: that they can be drawn, of nothing and of much, and say what they should."""

from __future__ import annotations

import random
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from balsam import plots
from balsam.errors import ValidationError
from balsam.plots import style
from balsam.plots.series import Collector, Present, Series
from balsam.plots.workflow import Node
from balsam.states import State

S = State
NOON = 1_900_000_000_000_000
FIGURES = ("overview", "throughput", "utilization", "states", "times", "errors")


def campaign(jobs: int, seed: int = 0, *, title: str = "") -> Series:
    """The series of a made-up campaign on 16 nodes, in which some runs fail."""
    rng = random.Random(seed)
    collector = Collector()
    free = [NOON + 60_000_000] * 16
    for key in range(jobs):
        collector.add(key, NOON + key * 10, (S.CREATED, S.READY, S.STAGED_IN, S.PREPROCESSED))
    for key in range(jobs):
        place = free.index(min(free))
        end = free[place] + round(rng.lognormvariate(2, 0.7) * 1e6)
        collector.add(key, free[place], (S.RUNNING,))
        failed = rng.random() < 0.05
        collector.add(key, end, (S.RUN_ERROR, S.FAILED) if failed else (S.RUN_DONE,))
        if not failed:
            collector.add(key, end + 1_500_000, (S.POSTPROCESSED, S.JOB_FINISHED))
        free[place] = end
    launchers = (Present(NOON / 1e6 + 50, max(free) / 1e6, 16),)
    return collector.series(max(free), launchers=launchers, title=title)


def texts(figure: Any) -> str:
    """All that is written in a figure."""
    from matplotlib.text import Text

    figure.draw_without_rendering()
    return "\n".join(text.get_text() for text in figure.findobj(Text))


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("jobs", [0, 1, 500])
def test_every_figure_of_no_job_one_and_many(name: str, jobs: int, tmp_path: Path) -> None:
    before = {key: matplotlib.rcParams[key] for key in style.RC}
    figure = getattr(plots, name)(campaign(jobs, title="w"))
    for ending, start in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        file = plots.save(figure, tmp_path / f"picture{ending}")
        assert file.read_bytes().startswith(start)
    ET.parse(tmp_path / "picture.svg")
    assert {key: matplotlib.rcParams[key] for key in style.RC} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_overview_says_what_there_is() -> None:
    said = texts(plots.overview(campaign(500, title="eos $x_1$ $")))
    for word in ("eos $x_1$ $: 500 jobs", "Throughput", "successful runs per", "in use by running jobs", "finished"):
        assert word in said
    assert "nodes that there are" in said
    assert "run failed (RUN_ERROR)" in said
    assert "RUNNING  (500)" in said


def test_a_campaign_that_has_just_ended_is_seen_to_have_finished() -> None:
    collector = Collector()
    collector.add(1, NOON, (S.CREATED, S.READY, S.STAGED_IN, S.PREPROCESSED))
    collector.add(1, NOON + 10_000_000, (S.RUNNING,))
    collector.add(1, NOON + 60_000_000, (S.RUN_DONE, S.POSTPROCESSED, S.JOB_FINISHED))
    series = collector.series(NOON + 61_000_000)
    assert series.last == {"JOB_FINISHED": 1}
    (axes,) = plots.states(series).axes
    bands = {band.get_label(): band for band in axes.collections}
    assert next(iter(bands)) == "finished"
    start, end = axes.get_xlim()
    green = [x for x, y in bands["finished"].get_paths()[0].vertices if y == 1]
    assert max(green) == pytest.approx(end)
    assert 0.01 * (end - start) < end - min(green) < 0.05 * (end - start)


@pytest.mark.parametrize("first", [0.0, 0.97])
def test_a_bin_of_milliseconds_is_no_peak_of_the_rate(first: float) -> None:
    start = NOON / 1e6
    edges = (start + first, start + 1, start + 2, start + 3, start + 3.01)
    series = Series(edges=edges, entered={"RUN_DONE": (100 if not first else 9, 100, 100, 10)}, total=319)
    (rates,) = (patch.get_data().values for patch in plots.throughput(series).axes[0].patches)
    assert len(rates) == 3 - bool(first)
    assert all(99 <= rate <= 110 for rate in rates)


def test_nothing_is_said_in_words() -> None:
    said = texts(plots.overview(Series()))
    for word in ("no jobs", "no run has succeeded", "no job has run"):
        assert word in said


def test_every_state_has_a_colour_and_a_place() -> None:
    assert sorted(style.COLOURS) == sorted(State.__members__)


def test_a_graph_of_few_jobs_names_each_and_of_many_their_kinds(tmp_path: Path) -> None:
    few = [
        Node("a", "first $a_b$", "JOB_FINISHED"),
        Node("b", "second", "RUNNING", ("a",)),
        Node("c", "", "FAILED", ("a",)),
    ]
    figure = plots.graph(few, "w")
    assert "first $a_b$" in texts(figure)
    assert "w: 3 jobs" in texts(figure)
    plots.save(figure, tmp_path / "few.png")
    many = [Node(str(n), f"scan-{n}", "RUNNING" if n % 3 else "JOB_FINISHED") for n in range(2000)]
    many.append(Node("fit", "fit", "AWAITING_PARENTS", tuple(str(n) for n in range(2000))))
    figure = plots.graph(many)
    assert "scan-#\n× 2,000" in texts(figure)
    assert "like names together" in texts(figure)
    plots.save(figure, tmp_path / "many.svg")
    plots.save(plots.graph([]), tmp_path / "none.png")


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"'x\.gif': the name must end with \.png, \.svg or \.pdf"):
        plots.save(plots.times(Series()), "x.gif")
    with pytest.raises(OSError, match="No such file"):
        plots.save(plots.times(Series()), tmp_path / "nowhere" / "x.png")


def test_frames_hold_the_same_numbers() -> None:
    series = campaign(50)
    frame = series.frame()
    assert len(frame) == len(series.widths)
    assert list(frame["jobs_RUNNING"]) == list(series.jobs["RUNNING"])
    assert frame["entered_RUN_DONE"].sum() == sum(series.entered["RUN_DONE"])
    assert str(frame.index.tz) == "UTC"
    assert frame.index[0].timestamp() == pytest.approx(series.edges[0], abs=1e-5)
    assert series.stays_frame().loc["RUNNING", "count"] == 50
    assert len(Series().frame()) == len(Series().stays_frame()) == 0


@pytest.mark.parametrize(("package", "call"), [("matplotlib", "plots.times(s)"), ("pandas", "s.frame()")])
def test_a_package_that_is_missing_is_named(package: str, call: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from balsam import plots; from balsam.errors import ValidationError; s = plots.Series()\n"
        f"try: {call}\nexcept ValidationError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"pip install {package}" in done.stdout


def test_importing_loads_neither_matplotlib_nor_numpy() -> None:
    heavy = {"matplotlib", "numpy", "pandas", "rich"}
    code = f"import sys, balsam.plots; balsam.plots.read; print(*{heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0004, "0.4 ms"), (0.25, "250 ms"), (1, "1 s"), (3.2, "3.2 s"), (90, "1.5 min"), (86400 * 3, "3 d")],
)
def test_spans_of_time_for_people(seconds: float, text: str) -> None:
    assert style.span(seconds) == text


@pytest.mark.parametrize(("rate", "unit"), [(5.0, "second"), (0.1, "minute"), (0.001, "hour"), (1e-6, "day")])
def test_rates_are_told_in_a_unit_in_which_they_are_numbers(rate: float, unit: str) -> None:
    assert style.rate_unit([0.0, rate])[1] == unit
