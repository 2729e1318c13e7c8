"""Where runs failed: kept for those that did, told with the event and with the job."""

from __future__ import annotations

import pytest

from balsam.states import State
from balsam_jobstore import nodes
from balsam_jobstore.events import EventFilter, read_events
from balsam_jobstore.reading import list_jobs
from tests.support.store import Bench

S = State


def told(bench: Bench, job_id: str) -> dict[str, str]:
    """Name of the last state -> node, of the events of a job."""
    with bench.store.database.reader() as connection:
        events = read_events(connection, EventFilter(job_ids=frozenset({job_id})), 0, 100)
    return {State(event.states[-1]).name: event.node for event in events if event.states}


def node_of(bench: Bench, job_id: str) -> str:
    with bench.store.database.reader() as connection:
        jobs, _ = list_jobs(connection, bench.store.database.is_sqlite, None, [], 100, "", ["job_id", "node"])
    return next(str(job["node"]) for job in jobs if str(job["job_id"]) == job_id)


def test_the_node_of_a_run_that_failed_is_kept(bench: Bench) -> None:
    bad, good = bench.add("bad"), bench.add("good")
    launcher = bench.launcher(jobs=2)
    launcher.finish(launcher.grant("bad"), S.RUN_ERROR, exit_code=1, node="node17")
    launcher.finish(launcher.grant("good"), S.RUN_DONE, exit_code=0, node="node18")  # a launcher says so of none
    assert told(bench, bad)["RUN_ERROR"] == "node17"
    assert told(bench, bad)["RUNNING"] == ""
    assert set(told(bench, good).values()) == {""}
    assert (node_of(bench, bad), node_of(bench, good)) == ("node17", "")
    assert bench.sql("SELECT name FROM node") == [("node17",)]


def test_subscribers_are_told_the_node(bench: Bench) -> None:
    bench.add("a")
    launcher = bench.launcher(jobs=1)
    launcher.finish(launcher.grant("a"), S.RUN_ERROR, exit_code=1, node="node17")
    assert [event.node for event in bench.events if S.RUN_ERROR in event.states] == ["node17"]


def test_a_name_is_kept_once(bench: Bench) -> None:
    jobs = [bench.add(f"j{number}") for number in range(6)]
    launcher = bench.launcher(jobs=6)
    for number in range(6):
        node = f"node{number % 2}"
        launcher.finish(launcher.grant(f"j{number}"), S.RUN_ERROR, exit_code=1, node=node)
    assert sorted(bench.sql("SELECT name FROM node")) == [("node0",), ("node1",)]
    assert [node_of(bench, job) for job in jobs] == ["node0", "node1"] * 3


def test_where_a_run_was_lost_is_kept(bench: Bench) -> None:
    job_id = bench.add("a")
    launcher = bench.launcher(jobs=1)
    grant = launcher.grant("a")
    launcher.start(grant)
    assert launcher.report(grant, release=True, node="node3", message="node3 was lost")
    assert told(bench, job_id)["RUN_TIMEOUT"] == "node3"


def test_a_job_has_the_node_of_its_last_run_only(bench: Bench) -> None:
    job_id = bench.add("a")
    launcher = bench.launcher(jobs=1)
    launcher.finish(launcher.grant("a"), S.RUN_TIMEOUT, node="node3")
    assert node_of(bench, job_id) == "node3"
    launcher.give(jobs=1)
    launcher.finish(launcher.grants[-1], S.RUN_DONE, exit_code=0)
    assert bench.get(job_id)["attempt"] == 2
    assert node_of(bench, job_id) == ""


@pytest.mark.parametrize(("name", "kept"), [("node1", "node1"), ("n\x1b[2J", ""), ("a" * 300, "a" * 253), ("", "")])
def test_a_name_that_must_not_be_shown_is_not_kept(name: str, kept: str) -> None:
    assert nodes.clean(name) == kept
