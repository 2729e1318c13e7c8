"""`balsam plan` on a real site, over both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest

from balsam.client import Client
from balsam.ids import new_id
from balsam.run_times import sample
from balsam.site import Site
from balsam_cli.plan import collecting
from tests.cli.conftest import Balsam
from tests.support.processes import launcher, services
from tests.support.scheduling import Jobs
from tests.support.sites import states, wait_until

RUNS = 6


@pytest.fixture
def client(any_site: Site) -> Iterator[Client]:
    """A site over each database, on which some runs of an application are over; its services run."""
    with services(any_site):
        jobs = Jobs(any_site)
        jobs.add_app("nap", executable="sleep")
        for number in range(RUNS):
            jobs.add(f"nap-{number}", application="nap", args="0.1", node_packing_count=8)
        jobs.add("wrong", application="nap", args="nonsense", node_packing_count=8)
        launcher(any_site)
        wait_until(lambda: list(states(any_site).values()).count("JOB_FINISHED") == RUNS, site=any_site)
        jobs.close()
        client = Client(any_site)
        yield client
        client.close()


def test_the_history_of_an_application(client: Client) -> None:
    for times in (sample(client), sample(client, ["nap", "unknown"])):
        lengths = times.lengths("nap")
        assert len(lengths) == RUNS  # none twice, and not the one that failed
        assert all(0.09 < one < 30 for one in lengths)
    assert sample(client).minutes(0.9) == {"nap": 1}


def test_what_is_to_be_done(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = new_id(), new_id()
    client.jobs.create(
        [
            {"job_id": first, "name": "first", "workflow": "next", "application": "nap", "num_nodes": 2},
            {"job_id": second, "name": "second", "workflow": "next", "application": "nap", "parents": [first]},
        ]
    )
    assert collecting.find_work(client, None).total == 2
    work = collecting.find_work(client, "ne*")
    assert [(task.kind.nodes, task.unmet) for task in work.tasks] == [(1, 1), (2, 0)]
    assert not work.ready
    monkeypatch.setattr(collecting, "MOST_WAITING", 0)
    work = collecting.find_work(client, "next")
    assert (sum(work.ready.values()), sum(work.later.values()), work.total) == (1, 1, 2)
    assert collecting.find_work(client, "test").total == 0


@pytest.mark.usefixtures("services")
def test_the_command(balsam: Balsam, site: Site) -> None:
    nothing = balsam("plan")
    assert (nothing.status, nothing.out) == (0, "nothing is left to run\n")
    assert balsam("plan", "--json").json["plans"] == []
    jobs = Jobs(site)
    for number in range(4):
        jobs.add(f"job-{number}", args="true", wall_time_minutes=30)
    jobs.close()
    answer = balsam("plan", "--nodes", "1,2", "--minutes", "60", "--queue-wait", "10-20", "--json").json
    assert answer["jobs"] == 4
    assert [one["nodes"] for one in answer["plans"]] == [1, 2]
    (known,) = answer["estimates"]
    assert (known["source"], known["runs_seen"], known["mean_seconds"]) == ("wall_time_minutes", 0, 1800)
    alone, two = answer["plans"]
    assert alone["launches"]["likely"] == 2  # two jobs in each
    assert two["seconds"]["likely"] == (15 + 60) * 60
    assert two["seconds"]["low"] < two["seconds"]["likely"] <= two["seconds"]["high"]
    finish = datetime.fromisoformat(two["finish_time"]["likely"]) - datetime.fromisoformat(answer["time"])
    assert finish.total_seconds() == pytest.approx(two["seconds"]["likely"], abs=0.01)
    assert " never " in balsam("plan", "--minutes", "20").out
    table = balsam("plan", "--wf", "test").out
    assert "4 jobs to do" in table
    assert "NODE-HOURS" in table
    assert "fewer than 5 runs have been seen" in table


WRONG: list[tuple[list[str], int, str]] = [
    (["--nodes", "many"], 1, "'many' is no number of nodes"),
    (["--queue-wait", "long"], 1, "must be minutes"),
    (["--wf", "none"], 1, "no job matches; workflow '*none*' would match 0"),
    (["--minutes", "0"], 2, "--minutes"),
    (["--job-mode", "fast"], 2, "--job-mode"),
]
"""(words, exit status, what is said of them)"""


@pytest.mark.usefixtures("services")
def test_what_is_wrong_is_said_in_a_line(balsam: Balsam) -> None:
    for words, status, said in WRONG:
        result = balsam("plan", *words)
        assert (words, result.status, result.out) == (words, status, "")
        assert said in result.err
        assert len(result.err.splitlines()) == 1
