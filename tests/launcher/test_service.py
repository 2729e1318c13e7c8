"""The launcher's own server: status, stopping, draining, live output."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from balsam.errors import NotAllowed, NotFound
from balsam.rpc import Connection, unpack_error
from balsam.site import Site
from balsam.states import State
from balsam.v1 import launcher_service_pb2 as pb
from balsam.v1.launcher_service_pb2_grpc import LauncherServiceStub
from tests.launcher.conftest import Witness
from tests.support.processes import Services, running_launcher
from tests.support.scheduling import Jobs
from tests.support.sites import wait_until


class Remote:
    """A launcher, as another program on its host sees it."""

    def __init__(self, site: Site, pid: int) -> None:
        self.pid = pid
        self.connection = Connection(site, f"launcher-{pid}")
        wait_until(lambda: site.read_info(f"launcher-{pid}"), what="the launcher serves", site=site)

    def status(self) -> pb.GetLauncherStatusResponse:
        answer: pb.GetLauncherStatusResponse = self.connection.call(
            LauncherServiceStub, "GetLauncherStatus", pb.GetLauncherStatusRequest()
        )
        return answer

    def tail(self, job_id: str, offset: int = 0, *, follow: bool = False) -> Iterator[bytes]:
        request = pb.TailOutputRequest(job_id=job_id, offset=offset, follow=follow)
        for answer in self.connection.stream(LauncherServiceStub, "TailOutput", request):
            yield answer.data


@pytest.fixture
def remote(site: Site, services: Services) -> Iterator[Remote]:
    """A launcher that stays."""
    with running_launcher(site, "--persistent", "--time-limit-minutes", "60") as process:
        remote = Remote(site, process.pid)
        yield remote
        remote.connection.close()


def test_it_tells_what_runs_and_how_busy_it_is(remote: Remote, jobs: Jobs, witness: Witness) -> None:
    job_id = jobs.add("run", args=witness.command, node_packing_count=4)
    run_pid = witness.wait_until_begun()
    status = wait_until(lambda: next((s for s in [remote.status()] if s.runs and s.runs[0].pid), None))
    assert status is not None
    (run,) = status.runs
    assert (run.job_id, run.name, run.attempt, run.pid) == (job_id, "run", 1, run_pid)
    assert list(run.nodes) == list(status.nodes) == [os.uname().nodename]
    assert abs(run.start_time.seconds - time.time()) < 60
    assert (status.pid, status.utilization, status.waiting, status.ended) == (remote.pid, 0.25, 0, 0)
    assert 3000 < status.seconds_left <= 3600
    witness.let_go()
    jobs.wait(job_id, State.JOB_FINISHED)
    after = remote.status()
    assert (len(after.runs), after.ended, after.errors, after.utilization) == (0, 1, 0, 0.0)


def test_errors_are_counted(remote: Remote, jobs: Jobs) -> None:
    for args in ("false", "world!"):
        jobs.wait(jobs.add(args.strip("!"), args=args), State.FAILED)
    assert (remote.status().ended, remote.status().errors) == (2, 2)


def test_a_run_can_be_stopped_and_ends_as_timed_out(remote: Remote, jobs: Jobs, witness: Witness) -> None:
    job_id = jobs.add("run", args=witness.command, auto_timeout_retry=False)
    witness.wait_until_begun()
    remote.connection.call(LauncherServiceStub, "StopRun", pb.StopRunRequest(job_id=job_id))
    jobs.wait(job_id, State.FAILED)
    assert "RUN_TIMEOUT" in jobs.history(job_id)
    with pytest.raises(NotFound):
        remote.connection.call(LauncherServiceStub, "StopRun", pb.StopRunRequest(job_id=job_id))


def test_drained_it_ends_when_its_runs_have_ended(site: Site, services: Services, jobs: Jobs, witness: Witness) -> None:
    first = jobs.add("first", args=witness.command)
    with running_launcher(site, "--persistent") as process:
        remote = Remote(site, process.pid)
        witness.wait_until_begun()
        second = jobs.add("second", args="true")
        answer = remote.connection.call(LauncherServiceStub, "Drain", pb.DrainRequest())
        assert (answer.runs, remote.status().draining) == (1, True)
        remote.connection.close()
        witness.let_go()
        assert process.wait(30) == 0
    assert jobs.wait(first, State.JOB_FINISHED).attempt == 1
    assert jobs.get(second).attempt == 0


def test_output_is_followed_until_the_run_ends(remote: Remote, jobs: Jobs, tmp_path: Path) -> None:
    script = f"echo one; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo two"
    job_id = jobs.add("run", args=f"sh -c '{script}'")
    wait_until(lambda: remote.status().runs)
    chunks = remote.tail(job_id, follow=True)
    assert next(chunks) == b"one\n"
    assert b"".join(remote.tail(job_id, offset=1)) == b"ne\n"
    (tmp_path / "go").touch()
    assert b"".join(chunks) == b"two\n"


def test_output_of_a_job_that_does_not_run_here_is_not_found(remote: Remote) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(remote.tail("none"))
    assert isinstance(unpack_error(caught.value), NotFound)


def test_without_the_owners_token_there_is_no_answer(
    remote: Remote, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("wrong")
    monkeypatch.setenv("BALSAM_TOKEN_FILE", str(tmp_path / "token"))
    stranger = Connection(site, f"launcher-{remote.pid}")
    with pytest.raises(NotAllowed):
        stranger.call(LauncherServiceStub, "GetLauncherStatus", pb.GetLauncherStatusRequest())
    stranger.close()
