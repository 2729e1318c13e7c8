"""`balsam service` over launches that are processes of this host."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.client import Client
from balsam.site import Site
from balsam.states import State
from balsam.v1 import session_service_pb2
from balsam.v1.session_service_pb2_grpc import SessionServiceStub
from tests.batch.service_process import (
    allow,
    dry_run,
    kill_what_is_left,
    launch_states,
    launches,
    running,
    said,
    service,
    wait_until_all_finished,
)
from tests.support.processes import Services, running_launcher
from tests.support.processes import services as running_services
from tests.support.scheduling import Jobs
from tests.support.sites import make_test_site, states, wait_for_states, wait_until

LIST_SESSIONS = (SessionServiceStub, "ListSessions", session_service_pb2.ListSessionsRequest())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site whose launches are processes of this host; none of them outlives the test."""
    site = make_test_site(tmp_path, batch_system="local")
    yield site
    kill_what_is_left(site)


@pytest.fixture
def jobs(site: Site) -> Iterator[Jobs]:
    """The jobs of the site."""
    jobs = Jobs(site)
    yield jobs
    jobs.close()


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    """The site with its job store only: nothing becomes runnable."""
    with running_services(site, "jobstore"):
        client = Client(site)
        yield client
        client.close()


@pytest.fixture
def working(site: Site, services: Services) -> Iterator[Client]:
    """The site with all of its services."""
    client = Client(site)
    yield client
    client.close()


def test_the_service_gets_all_jobs_finished_with_the_launches_that_the_policy_allows(
    site: Site, working: Client, jobs: Jobs
) -> None:
    allow(site)
    for number in range(30):
        jobs.add(f"j{number}", args="true")
    most = 0

    def over() -> bool:
        nonlocal most
        most = max(most, sum(state not in ("ENDED", "CANCELLED") for state in launch_states(working)))
        return set(states(site).values()) == {"JOB_FINISHED"}

    with running(site) as process:
        wait_until(over, 60, "all jobs finish", site=site)
        wait_until(lambda: set(launch_states(working)) == {"ENDED"}, 60, "the launches end", site=site)
        assert most == 2
        assert len(launches(working)) == 2
        # More work: one launch more, soon, and without anybody asking for it.
        jobs.add("late", args="true")
        wait_until_all_finished(site)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert len(launches(working)) == 3
    assert "launch 1 " in said(site)
    assert "is submitted: 1 node for 16 minutes in the default queue; room for 15 jobs" in said(site)
    assert said(site).endswith("balsam service: stopped; launches that are queued stay\n")
    wait_until(lambda: set(launch_states(working)) == {"ENDED"}, 60, "the launches end", site=site)
    assert dry_run(site) == {"submit": [], "covered": [], "waiting": [], "notes": [], "breakers": []}
    assert service(site, "--once").returncode == 0
    assert len(launches(working)) == 3


def test_a_dry_run_shows_what_would_be_submitted_and_submits_nothing(site: Site, client: Client, jobs: Jobs) -> None:
    allow(site)
    for number in range(40):
        jobs.add(f"j{number}", args="true")
    jobs.add("large", args="true", num_nodes=3)
    plan = dry_run(site)
    assert [(one["nodes"], one["wall_minutes"], one["jobs"]) for one in plan["submit"]] == [(1, 16, 15), (1, 16, 15)]
    assert [(one["jobs"], one["never"], one["why"]) for one in plan["waiting"]] == [
        (1, True, "needs 3 nodes, and the largest launch of the policy has 1"),
        (10, False, "2 launches are open, and the policy allows 2 (max_launches)"),
    ]
    table = service(site, "--dry-run").stdout
    assert "Would be submitted" in table
    assert "needs 3 nodes, and the largest launch of the policy has 1" in table
    assert launches(client) == []


def test_it_sees_workflows_bound_jobs_and_idle_launchers(site: Site, client: Client, jobs: Jobs) -> None:
    allow(site)
    policy = site.path / "policy.toml"
    launch = jobs.add_launch(nodes=1)
    jobs.add("a", args="true")
    jobs.add("b", args="true", queued_launch=launch)
    jobs.add("c", args="true", num_nodes=2)

    def whys(part: str) -> list[tuple[int, str]]:
        return [(one["nodes"], one["why"]) for one in dry_run(site)[part]]

    bound, large = (1, f"bound to launch {launch}"), (2, "needs 2 nodes, and the largest launch of the policy has 1")
    assert (len(dry_run(site)["submit"]), whys("waiting")) == (1, [bound, large])
    policy.write_text(policy.read_text().replace("[[queue]]", '[[queue]]\nwf_filter = "te*"'))
    assert dry_run(site)["submit"][0]["wf_filter"] == "te*"
    policy.write_text(policy.read_text().replace("te*", "other"))
    others = "is of workflow 'test', which no queue of the policy takes"
    assert whys("waiting") == [bound, (2, others), (1, others)]
    with running_launcher(site, "--persistent") as launcher:
        wait_until(lambda: client.call(*LIST_SESSIONS).sessions, site=site)
        idle = f"launcher {socket.gethostname()}:{launcher.pid} is idle and could take it"
        assert (whys("covered"), whys("waiting")) == ([(1, idle)], [bound, (2, others)])
    assert launches(client)[0]["launch_id"] == launch


def test_launches_that_end_without_having_run_anything_trip_the_breaker(site: Site, client: Client, jobs: Jobs) -> None:
    allow(site)
    site.templates.mkdir()
    (site.templates / "local.sh").write_text("#!/bin/bash\necho no such module >&2\nexit 1\n")
    jobs.add("a", args="true")
    with running(site):
        wait_until(lambda: "3 launches in a row failed" in said(site), site=site)
        assert "no such module); the next is tried at" in said(site)
    assert launch_states(client) == ["ENDED"] * 3


def test_a_job_that_needs_gpus_that_no_node_has_costs_one_launch_and_holds_nobody_back(
    site: Site, working: Client, jobs: Jobs
) -> None:
    """The launcher of that launch finds out what its node has, and ends at once."""
    allow(site)
    jobs.add("gpus", args="true", gpus_per_rank=1000)
    with running(site):
        wait_until(lambda: "(as launchers there have reported)" in said(site), 60, "nodes are known", site=site)
        jobs.add("plain", args="true")
        wait_for_states(site, {"plain": "JOB_FINISHED"}, timeout=60)
        wait_until(lambda: launch_states(working) == ["ENDED", "ENDED"], site=site)
    assert states(site)["gpus"] == "PREPROCESSED"
    assert dry_run(site)["submit"] == []


def test_one_round_submits_once_for_the_same_work(site: Site, working: Client, jobs: Jobs) -> None:
    allow(site)
    jobs.add("a", args="true", wall_time_minutes=9)
    blocker = jobs.add("parent", args="sleep 60")
    jobs.wait(jobs.add("child", args="true", parents=[blocker]), State.AWAITING_PARENTS)
    first = service(site, "--once")
    assert first.returncode == 0, first.stderr
    assert "balsam service: launch 1 (" in first.stderr
    assert "1 job must wait: waiting for parents that have not finished" in first.stderr
    assert service(site, "--once").returncode == 0
    assert len(launches(working)) == 1
    assert (launches(working)[0]["nodes"], launches(working)[0]["wall_minutes"]) == (1, 11)
    log = (site.log / "service.log").read_text()
    assert "launch 1 (" in log


def test_a_second_service_of_a_site_is_refused(site: Site, client: Client) -> None:
    allow(site)
    with running(site) as process:
        wait_until(lambda: "submitting to" in said(site), site=site)
        second = service(site, "--once")
    assert second.returncode == 1
    assert second.stderr.startswith(f"balsam: the automatic submitter of this site runs already (pid {process.pid} on ")


def test_without_a_valid_policy_it_says_so(site: Site, client: Client) -> None:
    file = site.path / "policy.toml"

    def refusal() -> str:
        done = service(site)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        return done.stderr

    assert f"there is no {file}, which says what may be submitted" in refusal()
    file.write_text("max_launches = 1")
    assert f"{file} has no [[queue]], so nothing may be submitted" in refusal()
    file.write_text("max_launch = 1")
    assert "unknown setting 'max_launch'; did you mean 'max_launches'?" in refusal()


def test_it_waits_for_a_job_store_that_is_started_again(
    site: Site, services: Services, working: Client, jobs: Jobs
) -> None:
    allow(site)
    with running(site) as process:
        wait_until(lambda: "submitting to" in said(site), site=site)
        services.stop("scheduler", "jobstore")
        services.start("jobstore", "scheduler")
        jobs.add("a", args="true")
        wait_until_all_finished(site)
        assert process.poll() is None


def test_children_whose_parents_have_finished_wake_it(
    site: Site, services: Services, working: Client, jobs: Jobs
) -> None:
    allow(site)
    parent = jobs.add("parent", args="true")
    jobs.wait(jobs.add("child", args="true", parents=[parent]), State.AWAITING_PARENTS)
    services.stop("scheduler")
    jobs.set_state(parent, State.POSTPROCESSED)
    with running(site):
        wait_until(lambda: "1 job must wait: waiting for parents" in said(site), site=site)
        services.start("scheduler")
        wait_until_all_finished(site)
    assert len(launches(working)) == 1


def test_a_job_that_no_launch_of_the_policy_holds_is_told_so_at_submission(site: Site, client: Client) -> None:
    allow(site)
    environ = os.environ | {"BALSAM_DB_PATH": str(site.path)}

    def add(*options: str) -> str:
        words = [sys.executable, "-m", "balsam_cli", "job", "--name", "n", *options, "--", "true"]
        return subprocess.run(words, env=environ, capture_output=True, text=True, timeout=60, check=True).stderr

    never = (
        "and `balsam service` never submits a launch for n: it needs 3 nodes, and the largest launch of the policy has"
    )
    assert never in add("--num-nodes", "3")
    assert ", or `balsam service`, which submits one" in add()
    with running(site):
        wait_until(lambda: "submitting to" in said(site), site=site)
        assert add() == ""
