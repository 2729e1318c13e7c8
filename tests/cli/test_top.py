"""`balsam top` over a real site, with keys that are pressed."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, RichLog, Static

from balsam.client import Client
from balsam.errors import BalsamError
from balsam.site import Site
from balsam_cli.top.modals import Output, Question
from balsam_cli.top.screen import Top
from tests.cli.conftest import Balsam
from tests.cli.test_terminal import terminal
from tests.support.processes import Services, launcher, running_launcher
from tests.support.sites import states, wait_for_states

Screen = Pilot[BalsamError]


def on_screen(site: Site, use: Callable[[Top, Screen], Coroutine[Any, Any, None]], workflow: str = "") -> Top:
    """Shows a site as long as it is used."""

    async def run() -> Top:
        client = Client(site)
        app = Top(client, workflow)
        try:
            async with app.run_test(size=(140, 44)) as pilot:
                await use(app, pilot)
        finally:
            client.close()
        return app

    return asyncio.run(run())


async def shown(pilot: Screen, condition: Callable[[], object], what: str) -> None:
    """Waits until something is shown."""
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up, f"{what} is not shown"
        await pilot.pause(0.02)


def text_of(app: Top, name: str) -> str:
    return str(app.query_one(f"#{name}", Static).render())


def column(app: Top, table: str, number: int) -> list[str]:
    found = app.query_one(f"#{table}", DataTable)
    return [str(found.get_row_at(row)[number]) for row in range(found.row_count)]


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The file for whose coming the runs wait."""
    return tmp_path / "gate"


def wait_for(gate: Path, words: str = "") -> tuple[str, ...]:
    return ("--", "sh", "-c", f"echo {words}; until [ -e {gate} ]; do sleep 0.05; done")


@pytest.mark.usefixtures("services")
def test_what_happens_is_shown(site: Site, balsam: Balsam, gate: Path) -> None:
    balsam("job", "--name", "bad-1", "--workflow", "w", "--", "sh", "-c", "echo wrong >&2; exit 3")
    balsam("job", "--name", "bad-2", "--workflow", "w", "--", "sh", "-c", "echo wrong >&2; exit 3")
    launcher(site)
    wait_for_states(site, {"bad-1": "FAILED", "bad-2": "FAILED"})

    async def use(app: Top, pilot: Screen) -> None:
        await shown(pilot, lambda: column(app, "causes", 0) == ["2"], "the cause of the failures")
        assert "exit code 3" in column(app, "causes", 2)[0]
        assert "no launcher" in text_of(app, "workers")
        assert "scheduler" in text_of(app, "workers")
        with running_launcher(site):
            balsam("job", "--name", "long", "--workflow", "w", *wait_for(gate))
            await shown(pilot, lambda: column(app, "runs", 1) == ["long"], "the run")
            await shown(pilot, lambda: column(app, "runs", 4) == [socket.gethostname()], "its node")
            assert column(app, "runs", 2) == ["w"]
            assert column(app, "runs", 5)[0].endswith("s")
            assert "launcher" in text_of(app, "workers")
            assert "RUNNING" in text_of(app, "states")
            gate.touch()
            await shown(pilot, lambda: app.picture.counts.get("JOB_FINISHED") == 1, "the end")
            await shown(pilot, lambda: column(app, "runs", 1) == [], "that it runs no more")
        assert "3 jobs" in text_of(app, "head")

    on_screen(site, use)


@pytest.mark.usefixtures("services")
def test_keys_filter_sort_open_and_kill(site: Site, balsam: Balsam, gate: Path) -> None:
    for name, workflow in (("b", "w1"), ("a", "w2")):
        balsam(
            "job", "--name", name, "--workflow", workflow, "--node-packing-count", "8", *wait_for(gate, f"I am {name}")
        )

    async def use(app: Top, pilot: Screen) -> None:
        await shown(pilot, lambda: len(column(app, "runs", 1)) == 2, "both runs")
        await pilot.press("s")
        assert column(app, "runs", 1) == ["a", "b"]
        await pilot.press("slash", *"w1", "enter")
        await shown(pilot, lambda: column(app, "runs", 1) == ["b"], "the run of the workflow")
        assert "of workflow w1" in text_of(app, "head")
        assert not app.query_one("#filter", Input).has_class("asked")
        await pilot.press("o")
        await shown(pilot, lambda: isinstance(app.screen, Output), "the output")
        log = app.screen.query_one("#text", RichLog)
        await shown(pilot, lambda: any("I am b" in line.text for line in log.lines), "what the job wrote")
        await pilot.press("escape")
        await pilot.press("k")
        await shown(pilot, lambda: isinstance(app.screen, Question), "the question")
        await pilot.press("n")
        await pilot.press("k")
        await shown(pilot, lambda: isinstance(app.screen, Question), "the question")
        assert states(site)["b"] == "RUNNING"
        await pilot.press("y")
        await shown(pilot, lambda: app.picture.counts.get("USER_KILLED") == 1, "that it was killed")
        await shown(pilot, lambda: column(app, "runs", 1) == [], "that it runs no more")
        await pilot.press("q")

    with running_launcher(site):
        wait_for_states(site, {"a": "RUNNING", "b": "RUNNING"})
        on_screen(site, use)
        assert states(site) == {"a": "RUNNING", "b": "USER_KILLED"}
        gate.touch()


@pytest.mark.usefixtures("services")
def test_names_of_jobs_are_no_markup_and_steer_nothing(site: Site, balsam: Balsam, gate: Path) -> None:
    balsam("job", "--name", "[red]x", "--workflow", "w", "--description", "\x1b[2J", *wait_for(gate))

    async def use(app: Top, pilot: Screen) -> None:
        await shown(pilot, lambda: column(app, "runs", 1) == ["[red]x"], "the run")
        gate.touch()

    with running_launcher(site):
        on_screen(site, use)


def test_a_job_store_that_stops_ends_it_with_the_reason(site: Site, services: Services, balsam: Balsam) -> None:
    async def use(app: Top, pilot: Screen) -> None:
        await shown(pilot, lambda: app.picture.time, "the site")
        services.stop("scheduler", "jobstore")
        await shown(pilot, lambda: app.return_value is not None, "the end")

    app = on_screen(site, use)
    assert isinstance(app.return_value, BalsamError)
    services.start("jobstore", "scheduler")


@pytest.mark.usefixtures("services")
def test_without_a_terminal_it_says_what_else_there_is(balsam: Balsam) -> None:
    done = balsam("top")
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert "`balsam top` draws on a whole terminal, and this is none; `balsam status`" in done.err


@pytest.mark.usefixtures("services")
def test_on_a_terminal_it_shows_the_site_until_q_is_typed(site: Site, balsam: Balsam) -> None:
    balsam("make-dummies", "3")
    with terminal(site, "top") as screen:
        screen.wait_for("3 jobs")
        screen.type("q")
        assert screen.finish() == 0
    with terminal(site, "top", TERM="dumb") as screen:
        screen.wait_for("this is none")
        assert screen.finish() == 1
