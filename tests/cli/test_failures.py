"""`balsam failures`: groups of failed jobs, and running one of them again."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.client import Client
from balsam.ids import new_id
from balsam.site import Site
from balsam.states import State
from balsam.v1 import job_service_pb2
from balsam.v1.job_service_pb2_grpc import JobServiceStub
from tests.cli.conftest import Balsam
from tests.support.processes import launcher
from tests.support.scheduling import Jobs
from tests.support.sites import states, wait_for_states

pytestmark = pytest.mark.usefixtures("services")
S = State

CAUSES = (
    "exit code 3\nno convergence after {n} steps",
    "killed by SIGKILL (9): out of memory\nallocating {n} MB",
    "exit code 139 (128 + SIGSEGV)\nat 0x{n:08x}",
    "exit code 1\nFileNotFoundError: /data/w/fit_{n:08x}/in.dat",
    "preprocess failed: exit code 2\nbad header in line {n}",
)


@pytest.fixture
def jobs(site: Site) -> Iterator[Jobs]:
    jobs = Jobs(site)
    yield jobs
    jobs.close()


def test_jobs_that_fail_alike_are_one_group(balsam: Balsam, jobs: Jobs, site: Site, tmp_path: Path) -> None:
    mended = f"test -e {tmp_path}/mended ||"
    for number in range(3):
        jobs.add(
            f"run-{number}", args=f"sh -c '{mended} {{ echo bad value {number}.5; exit 4; }}'", node_packing_count=4
        )
    app = jobs.add_app("post", postprocess=f"test -e {tmp_path}/mended")
    jobs.add("post", application=app)
    jobs.add("child", parents=[jobs.add("killed", args="sh -c 'kill -9 $$'")])
    launcher(site)
    wait_for_states(site, {"post": "FAILED", "child": "FAILED"})
    groups = balsam("failures", "--json").json
    assert len(groups) == 4
    worst = groups[0]
    assert (worst["jobs"], worst["exit_code"]) == (3, 4)
    assert (worst["cause"], worst["said"]) == ("exit code 4", "bad value #")
    assert worst["nodes"] == {socket.gethostname(): 3}
    assert f"launcher on {socket.gethostname()}" in balsam("show", worst["example"]).out
    assert worst["group"] in balsam("failures").out

    (tmp_path / "mended").touch()
    assert balsam("failures", "--retry", worst["group"]).out == "reset 3 jobs\n"
    after = next(one for one in groups if one["cause"].startswith("postprocess failed"))
    assert balsam("failures", "--retry", after["group"], "--json").json["done"] == 1
    launcher(site)
    wait_for_states(site, {**{f"run-{number}": "JOB_FINISHED" for number in range(3)}, "post": "JOB_FINISHED"})
    assert jobs.history(after["example"]).count("RUNNING") == 1
    left = balsam("failures", "--json").json
    assert sorted(one["cause"] for one in left) == ["killed by SIGKILL (9)", "parent failed, was killed or deleted"]
    by_parent = next(one for one in left if one["cause"].startswith("parent"))
    unnamed = balsam("failures", "--retry", "")
    assert (unnamed.status, unnamed.out) == (1, "")
    assert "no group of failed jobs is named ''" in unnamed.err
    refused = balsam("failures", "--retry", by_parent["group"])
    assert (refused.status, refused.out) == (1, "")
    assert "because of their parents" in refused.err


def test_four_thousand_failures_of_five_causes(balsam: Balsam, site: Site) -> None:
    client = Client(site)
    made = [{"job_id": new_id(), "name": f"j{n}", "workflow": "many"} for n in range(4000)]
    client.jobs.create(made)
    for first in range(0, 4000, 1000):
        request = job_service_pb2.UpdateJobsRequest()
        for number, job in enumerate(made[first : first + 1000], first):
            message = CAUSES[number % 5].format(n=number * 7919)
            update = request.updates.add(message=message, update_mask={"paths": ["state"]})
            update.job.job_id, update.job.state = job["job_id"], S.FAILED.value
        assert client.call(JobServiceStub, "UpdateJobs", request).updated == 1000
    client.close()
    start = time.monotonic()
    groups = balsam("failures", "--wf", "many", "--json").json
    seconds = time.monotonic() - start
    assert [one["jobs"] for one in groups] == [800] * 5
    assert seconds < 5.0  # one where nothing else runs


def test_wrong_groups_and_none(balsam: Balsam, site: Site) -> None:
    assert balsam("failures").out == "No job has failed.\n"
    assert balsam("failures", "--json").json == []
    assert states(site) == {}
    result = balsam("failures", "--retry", "0badc0de")
    assert (result.status, result.out) == (1, "")
    assert "no group of failed jobs is named '0badc0de'" in result.err
    assert len(result.err.splitlines()) == 1
