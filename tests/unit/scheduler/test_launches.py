"""When the scheduler looks after launches, and that a command which hangs does not keep it from stopping."""

from __future__ import annotations

import asyncio
import math
import subprocess
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from balsam.errors import Unavailable
from balsam.site import Site
from balsam_scheduler import launches
from balsam_scheduler.batch.calls import Call, Run
from balsam_scheduler.launches import LaunchWatch

OPEN, OVER = SimpleNamespace(is_over=False), SimpleNamespace(is_over=True)
Answer = Callable[[], list[Any]]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Answer]:
    """What each look gives, in order; those that were not used are left."""
    answers: list[Answer] = []
    monkeypatch.setattr(launches, "refresh", lambda site, client, run: answers.pop(0)())
    monkeypatch.setattr(launches, "_STAT_SECONDS", 0.005)
    return answers


def away() -> list[Any]:
    raise Unavailable("the job store is away")


def watch(site: Site, until: Callable[[], bool], meanwhile: Callable[[], None] = lambda: None) -> bool:
    """Runs a watch until a condition holds; False: it does not within half a second."""

    async def run() -> bool:
        task = asyncio.create_task(LaunchWatch(site, subprocess.Popen).run())
        for number in range(100):
            if until():
                break
            if number == 20:
                meanwhile()
            await asyncio.sleep(0.005)
        task.cancel()
        return until()

    return asyncio.run(run())


@pytest.mark.parametrize("answer", [[], [OVER]])
def test_while_all_launches_are_over_nobody_is_asked(
    site: Site, looks: list[Answer], answer: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launches, "LOOK_SECONDS", 0.0)
    looks[:] = [lambda: answer, lambda: answer]
    assert not watch(site, lambda: not looks)
    assert len(looks) == 1


def test_while_one_is_not_over_it_is_looked_after(
    site: Site, looks: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launches, "LOOK_SECONDS", 0.01)
    looks[:] = [lambda: [OVER, OPEN], lambda: [OPEN], lambda: [OVER]]
    assert watch(site, lambda: not looks)


def test_a_look_that_failed_is_done_again(site: Site, looks: list[Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launches, "_RETRY_SECONDS", 0.01)
    looks[:] = [away, away, list]
    assert watch(site, lambda: not looks)


def test_a_new_script_is_noticed(site: Site, looks: list[Answer]) -> None:
    looks[:] = [list, list]
    assert watch(site, lambda: not looks, (site.qsubmit / "launch-1.sh").touch)


def test_a_stop_ends_the_command_that_is_under_way(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Any] = []

    def hang(_site: Site, _client: object, run: Run) -> list[Any]:
        watched.stop()
        heard.append(run(Call(("sleep", "600"))))
        return []

    monkeypatch.setattr(launches, "refresh", hang)
    watched = LaunchWatch(site, subprocess.Popen)
    began = time.monotonic()
    assert watched._look() == math.inf
    assert heard == []  # what a command said that was killed means nothing
    assert time.monotonic() - began < 30
