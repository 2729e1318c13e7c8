"""Graphs of ten thousand jobs, through real services and a real launcher."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import balsam
from balsam import BalsamJob, Count
from balsam import client as clients
from balsam.launcher import dag
from balsam.site import Site
from tests.support.processes import launcher, services

WIDTH = 9_998
RELEASE_SECONDS = 0.5
"""Ten times what is promised for an idle machine."""


@pytest.fixture
def running(any_site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("BALSAM_DB_PATH", str(any_site.path))
    clients.reset()
    with services(any_site):
        yield any_site
    clients.reset()


def diamond() -> tuple[BalsamJob, list[BalsamJob], BalsamJob]:
    """One job, those that wait for it, and the one that waits for them."""
    first = BalsamJob(name="first", args="true")
    middle = [
        BalsamJob(name=f"m{number}", args="true", node_packing_count=2, parents=[first]) for number in range(WIDTH)
    ]
    last = BalsamJob(name="last", args="true", parents=middle)
    BalsamJob.objects.bulk_create([first, *middle, last])
    return first, middle, last


def states() -> dict[str, int]:
    return dict(BalsamJob.objects.values_list("state").annotate(n=Count("pk")))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_diamond_finishes_and_its_last_job_goes_as_soon_as_it_may(running: Site) -> None:
    _, middle, last = diamond()
    launcher(running, timeout=240)
    assert states() == {"JOB_FINISHED": WIDTH + 2}
    assert len(last.get_parents_by_id()) == WIDTH
    history = balsam.connect().events.history(str(last.job_id))
    released = next(passage.time for passage in history if passage.state == "READY")
    ends = BalsamJob.objects.filter(pk__in=middle)
    assert ends.count() == WIDTH
    moves = balsam.connect().events.moves([str(job.job_id) for job in middle], ["RUN_DONE"])
    waited = (released - max(move.time for move in moves)).total_seconds()
    print(f"the last of {WIDTH} parents ended {waited * 1000:.1f} ms before its child was released")
    assert waited < RELEASE_SECONDS


@pytest.mark.slow
def test_a_wide_subtree_is_killed_brought_back_and_deleted(running: Site) -> None:
    first, _, last = diamond()
    first.update_state("FAILED", "by hand")
    assert states() == {"FAILED": WIDTH + 2}
    last.refresh_from_db()
    assert "m0 (" in last.message
    first.update_state("CREATED")
    assert states() == {"PREPROCESSED": 1, "AWAITING_PARENTS": WIDTH + 1}
    last.set_parents([first])
    assert last.get_parents_by_id() == [str(first.job_id)]
    assert dag.kill(first) == WIDTH + 2
    assert BalsamJob.objects.all().delete()[0] == WIDTH + 2
