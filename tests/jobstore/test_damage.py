"""One damaged row stops nobody: it is set aside and reported, and the rest is served."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from balsam.site import Site
from balsam.states import State
from balsam.v1 import event_service_pb2, job_pb2, job_service_pb2
from balsam_jobstore import setting_aside
from balsam_jobstore.database import Database
from tests.support.invariants import violations_of_site
from tests.support.processes import launcher, services
from tests.support.revisions import of_site
from tests.support.rpc_client import Client
from tests.support.sites import states, wait_for_states
from tests.support.store import Bench

S = State


@pytest.fixture
def loose(store_url: str) -> str:
    """A database of which SQLite's columns take NULL, as damage does; PostgreSQL keeps what it was told."""
    database = Database(store_url)
    if database.is_sqlite:
        with database.writer() as connection, connection.begin():
            connection.exec_driver_sql("PRAGMA writable_schema = ON")
            text = "UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') WHERE type = 'table'"
            connection.exec_driver_sql(text)
    database.close()  # the next connection reads it
    return store_url


def damage(bench: Bench, text: str, **parameters: Any) -> None:
    with bench.database.writer() as connection, connection.begin():
        assert connection.execute(sa.text(text), parameters).rowcount == 1


def set_aside(bench: Bench) -> dict[str, str]:
    """File -> why."""
    return {path.name: json.loads(path.read_text())["why"] for path in sorted(bench.set_aside.iterdir())}


DAMAGES = [
    ("UPDATE job SET state = 99 WHERE job_id = :id", "state = 99 is not a state"),
    ("UPDATE job SET application = 77 WHERE job_id = :id", r"its application \(77\) does not exist"),
    ("UPDATE job SET name = NULL WHERE job_id = :id", "name is NULL"),
    ("UPDATE job SET num_nodes = -3 WHERE job_id = :id", "num_nodes = -3 is less than 1"),
    ("DELETE FROM job_detail WHERE key = (SELECT key FROM job WHERE job_id = :id)", "half of it is missing"),
    (
        "UPDATE job_detail SET environ_vars = '{\"a' WHERE key = (SELECT key FROM job WHERE job_id = :id)",
        "environ_vars is not a JSON object",
    ),
    ("UPDATE job SET priority = 'high' WHERE job_id = :id", "priority = 'high' is not a whole number"),
    (
        "UPDATE job_detail SET data = '{\"a' WHERE key = (SELECT key FROM job WHERE job_id = :id)",
        "data is not a JSON object",
    ),
]


SQLITE_ONLY = ("name = NULL", "'high'", "SET data")


@pytest.mark.parametrize(("text", "why"), DAMAGES)
def test_a_damaged_job_is_set_aside_and_the_others_go_on(
    loose: str, request: pytest.FixtureRequest, text: str, why: str
) -> None:
    if not loose.startswith("sqlite") and any(words in text for words in SQLITE_ONLY):
        pytest.skip("PostgreSQL keeps types and NOT NULL by itself")
    bench: Bench = request.getfixturevalue("bench")
    bad = bench.add("bad", args="true")
    child = bench.add("child", parents=[bad])
    for i in range(3):
        bench.add(f"good{i}", args="true")
    damage(bench, text, id=bad)

    look_over(bench)
    worker = bench.launcher(nodes=10, jobs=10, largest=1)

    assert {grant.name for grant in worker.grants} == {"good0", "good1", "good2"}
    ((file, said),) = set_aside(bench).items()
    assert re.match(why, said)
    kept = json.loads((bench.set_aside / file).read_text())
    assert kept["job"]["job_id"] == bad
    assert len(kept["edges"]) == 1
    assert kept["history"]
    assert bench.sql("SELECT 1 FROM job WHERE job_id = :id", id=bad) == []
    assert bench.state(child) == S.FAILED
    assert bench.message(child).endswith(f" was set aside: {said}")
    assert bench.events[-1].job_id in (bad, child)


def test_a_damaged_job_that_is_met_is_set_aside_and_the_command_goes_on(bench: Bench) -> None:
    ids = [bench.add(name, args="true") for name in ("bad", "good")]
    damage(bench, "DELETE FROM job_detail WHERE key = :key", key=bench.row(ids[0]).key)
    worker = bench.launcher(nodes=10, jobs=10, largest=1)
    assert [grant.name for grant in worker.grants] == ["good"]
    assert list(set_aside(bench).values()) == ["half of it is missing (job_detail)"]


def test_a_sound_store_is_looked_over_and_nothing_is_changed(bench: Bench) -> None:
    parent = bench.add("parent", args="true", data={"x": [1]}, environ_vars={"A": "b"})
    bench.add("child", parents=[parent])
    bench.add_app("app")
    bench.add("of_app", application="app", queued_launch=bench.add_launch())
    bench.launcher(nodes=10, jobs=10, largest=1)
    before = bench.sql("SELECT * FROM job ORDER BY key"), len(bench.events)
    look_over(bench)
    assert (bench.sql("SELECT * FROM job ORDER BY key"), len(bench.events)) == before
    assert set_aside(bench) == {}


def test_a_wrong_count_of_parents_is_put_right(bench: Bench) -> None:
    done, parent = bench.add("done", args="true"), bench.add("parent", args="true")
    bench.set_state(done, S.JOB_FINISHED)
    early = bench.add("early", parents=[parent])
    late = bench.add("late", parents=[done])
    damage(bench, "UPDATE job SET unmet = 0 WHERE job_id = :id", id=early)
    damage(bench, "UPDATE job SET unmet = 1, state = 2 WHERE job_id = :id", id=late)
    damage(bench, "UPDATE event SET states = 'B', actor = 5 WHERE sequence = (SELECT max(sequence) FROM event)")
    look_over(bench)
    assert [bench.row(job_id).unmet for job_id in (early, late)] == [1, 0]
    assert bench.states(early, late) == [S.AWAITING_PARENTS, S.PREPROCESSED]
    assert set_aside(bench) == {}


def test_an_edge_to_nothing_is_set_aside_and_its_child_fails(bench: Bench) -> None:
    parent = bench.add("parent", args="true")
    child = bench.add("child", parents=[parent])
    damage(bench, "INSERT INTO edge (child, parent, met) VALUES (:key, 999999, 0)", key=bench.row(child).key)
    look_over(bench)
    assert bench.state(child) == S.FAILED
    assert bench.message(child) == "one of its parents does not exist any more"
    assert bench.row(child).unmet == 1
    assert list(set_aside(bench)) == [f"edge-{bench.row(child).key}-999999.json"]
    bench.set_state(child, S.CREATED)  # who knows better starts it again
    assert bench.state(child) == S.AWAITING_PARENTS


def test_a_session_that_is_nonsense_gives_back_its_jobs(bench: Bench) -> None:
    job_id = bench.add("a", args="true")
    worker = bench.launcher(nodes=1, jobs=1, largest=1)
    assert [grant.name for grant in worker.grants] == ["a"]
    bench.store.sessions.remove(worker.session)
    bench.store.streams.clear()
    damage(bench, "UPDATE session SET kind = 9 WHERE key = :key", key=worker.session.key)
    bench.do(lambda tx: setting_aside.look_over_small(tx, bench.set_aside))
    look_over(bench)
    assert bench.row(job_id).session is None
    assert list(set_aside(bench).values()) == ["kind = 9 is no kind of session"]
    assert [grant.name for grant in bench.launcher(nodes=1, jobs=1, largest=1).grants] == ["a"]


def test_a_job_in_a_launch_that_does_not_exist_is_bound_to_none(bench: Bench) -> None:
    job_id = bench.add("a", args="true")
    damage(bench, "UPDATE job SET launch = 55 WHERE job_id = :id", id=job_id)
    look_over(bench)
    assert bench.row(job_id).launch is None


def test_looking_over_goes_in_pages(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setting_aside, "PAGE", 3)
    ids = [bench.add(f"j{i}", args="true") for i in range(10)]
    for index in (0, 3, 9):
        damage(bench, "UPDATE job SET state = 99 WHERE job_id = :id", id=ids[index])
    assert bench.run(bench.store._look_over(0, 0.0)) is not None
    look_over(bench)
    assert len(set_aside(bench)) == 3


def look_over(bench: Bench) -> None:
    assert bench.run(bench.store._look_over(0, 60.0)) is None


# The services


def change(site: Site, *statements: str) -> None:
    database = of_site(site)
    with database.writer() as connection, connection.begin():
        for statement in statements:
            assert connection.exec_driver_sql(statement).rowcount == 1, statement
    database.close()


def add(client: Client, *names: str) -> None:
    jobs = [job_pb2.Job(job_id=str(uuid.uuid4()), name=name, args="true") for name in names]
    assert client.call("JobService/CreateJobs", job_service_pb2.CreateJobsRequest(jobs=jobs)).created == len(names)


def of(name: str) -> str:
    return f"(SELECT key FROM job WHERE name = '{name}')"


def test_one_damaged_row_of_many_stops_nothing(any_site: Site) -> None:
    site = any_site
    with services(site) as running:
        client = Client(site)
        names = [f"bad{i}" for i in range(4)] + [f"good{i}" for i in range(4)]
        add(client, *names)
        wait_for_states(site, dict.fromkeys(names, "PREPROCESSED"))
        change(site, "UPDATE job SET state = 77 WHERE name = 'bad0'")
        assert set(states(site)) == set(names) - {"bad0"}  # met by a reader
        change(
            site,
            "UPDATE job SET state = 78 WHERE name = 'bad1'",
            f"UPDATE event SET states = '??' WHERE states = 'A' AND job = {of('good0')}",
        )
        by_priority = job_service_pb2.CountJobsRequest(group_by=["state", "priority"])
        assert client.call("JobService/CountJobs", by_priority).count == 6  # met by a count
        by_state = job_service_pb2.CountJobsRequest(group_by=["state"])
        assert client.call("JobService/CountJobs", by_state).count == 6
        events = client.call("EventService/ListEvents", event_service_pb2.ListEventsRequest()).events
        assert len(events) > 10
        change(
            site,
            f"UPDATE job_detail SET environ_vars = 'x=1' WHERE key = {of('bad2')}",
            f"DELETE FROM job_detail WHERE key = {of('bad3')}",
        )
        running.kill("jobstore")  # the two before were met while it ran, these are found by the next
        running.start("jobstore")
        launcher(site)
        good = {name: "JOB_FINISHED" for name in names if name.startswith("good")}
        wait_for_states(site, good)
        assert states(site) == good
        client.close()
    files = sorted(path.name.split("-")[0] for path in site.set_aside.iterdir())
    assert files == ["event", "job", "job", "job", "job"]


def test_damage_that_is_met_by_a_grant_stops_no_launcher(site: Site) -> None:
    with services(site):
        client = Client(site)
        add(client, "bad", "good")
        wait_for_states(site, {"bad": "PREPROCESSED", "good": "PREPROCESSED"})
        change(site, f"UPDATE job_detail SET environ_vars = 'x=1' WHERE key = {of('bad')}")
        launcher(site)
        wait_for_states(site, {"good": "JOB_FINISHED"})
        assert states(site) == {"good": "JOB_FINISHED"}
        client.close()
    assert violations_of_site(site) == []
