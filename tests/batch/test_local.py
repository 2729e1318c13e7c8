"""`batch_system = "local"`: launches are processes of this host."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.client import Client
from balsam.processes import process_table
from balsam.site import Site
from balsam_scheduler.batch.answers import Known
from balsam_scheduler.batch.calls import Call, NoAnswer, Output, run
from balsam_scheduler.batch.cancelling import cancel
from balsam_scheduler.batch.naming import ticket
from balsam_scheduler.batch.records import LaunchRecord
from balsam_scheduler.batch.submitting import LaunchRequest, SubmitFailed, refresh, submit
from balsam_scheduler.batch.systems.local import ENV_NAME, Local
from tests.support.processes import services
from tests.support.scheduling import Jobs
from tests.support.sites import make_test_site, states, wait_for_states, wait_until

SMALL = LaunchRequest(1, 5)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose services run, for all of these tests."""
    site = make_test_site(tmp_path_factory.mktemp("local"), batch_system="local")
    with services(site):
        yield site


@pytest.fixture
def site(served: Site) -> Iterator[Site]:
    """That site, with nothing of the tests before."""
    shutil.rmtree(served.templates, ignore_errors=True)
    yield served
    _end_all(served)


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    client = Client(site)
    yield client
    _end_all(site)
    client.BalsamJob.objects.all().delete()
    client.QueuedLaunch.objects.all().delete()
    client.close()


@pytest.fixture
def jobs(site: Site, client: Client) -> Iterator[Jobs]:
    jobs = Jobs(site)
    yield jobs
    jobs.close()


def _end_all(site: Site) -> None:
    """Launches that a failed test has left."""
    mark = f"BALSAM_DB_PATH={site.path}".encode()
    for pid in process_table().by_pid:
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if mark in variables and ENV_NAME.encode() in variables:
            os.kill(pid, signal.SIGKILL)


def state(client: Client, launch: LaunchRecord) -> str:
    return client.QueuedLaunch.objects.get(pk=launch.launch_id).state


def own_script(site: Site, text: str) -> None:
    """What is started in place of a launcher."""
    site.templates.mkdir(exist_ok=True)
    (site.templates / "local.sh").write_text(f"#!/bin/bash\n{text}\n")


def test_a_launch_runs_the_jobs_and_ends(site: Site, client: Client, jobs: Jobs) -> None:
    for number in range(5):
        jobs.add(f"job-{number}", args="true")
    launch = submit(site, client, SMALL)
    assert (launch.state, launch.batch_system) == ("QUEUED", "local")
    wait_for_states(site, {f"job-{number}": "JOB_FINISHED" for number in range(5)}, timeout=60)
    wait_until(lambda: state(client, launch) == "ENDED", site=site)
    assert client.QueuedLaunch.objects.get().message == ""


def test_a_launch_that_runs_is_found_by_id_and_by_name(site: Site, client: Client, tmp_path: Path) -> None:
    own_script(site, f"echo $$ > {tmp_path}/pid; sleep 600 & wait")
    launch = submit(site, client, SMALL)
    wait_until((tmp_path / "pid").exists)
    pid = (tmp_path / "pid").read_text().strip()
    assert launch.scheduler_id.partition("@")[0] == pid
    assert [one.state for one in refresh(site, client)] == ["RUNNING"]
    # As if the process that submitted it had died before it could write its id down.
    client.launches.update(launch.launch_id, {"scheduler_id": "", "state": "PENDING_SUBMISSION"})
    (found,) = refresh(site, client)
    assert (found.scheduler_id, found.state) == (launch.scheduler_id, "RUNNING")
    assert cancel(site, client, launch.launch_id).state == "CANCELLED"
    wait_until(lambda: not is_there(found))


def is_there(launch: LaunchRecord) -> bool:
    asked = ticket(launch, Local())
    return Local().look([asked], run)[asked] == Known(launch.scheduler_id, "RUNNING")


def test_a_process_that_has_got_the_id_since_is_not_the_launch(site: Site, client: Client) -> None:
    own_script(site, "true")
    launch = submit(site, client, SMALL)
    host = launch.scheduler_id.partition("@")[2]
    client.launches.update(launch.launch_id, {"scheduler_id": f"{os.getpid()}@{host}"})
    assert [one.state for one in refresh(site, client)] == ["ENDED"]


def test_the_end_of_a_launch_whose_launcher_did_not_come_up_says_why(site: Site, client: Client) -> None:
    own_script(site, "module load mpich")
    launch = submit(site, client, SMALL)
    wait_until(lambda: [one.state for one in refresh(site, client)] in (["ENDED"], []))
    message = client.QueuedLaunch.objects.get(pk=launch.launch_id).message
    assert message.startswith("its process is not there any more; its output ends with: ")
    assert message.endswith("module: command not found")


def test_a_launch_on_another_host_cannot_be_told(site: Site, client: Client) -> None:
    own_script(site, "true")
    launch = submit(site, client, SMALL)
    client.launches.update(launch.launch_id, {"scheduler_id": "17@elsewhere"})
    (found,) = refresh(site, client)
    assert (found.state, found.message.startswith("it is a process of elsewhere, and this is ")) == ("UNKNOWN", True)


def test_cancelling_a_launch_gives_its_runs_back(site: Site, client: Client, jobs: Jobs) -> None:
    running = jobs.add("long", args="sleep 600")
    launch = submit(site, client, SMALL)
    wait_for_states(site, {"long": "RUNNING"}, timeout=60)
    assert state(client, launch) == "RUNNING"
    assert cancel(site, client, launch.launch_id).state == "CANCELLED"
    wait_for_states(site, {"long": "RESTART_READY"})
    assert jobs.history(running)[-2:] == ["RUN_TIMEOUT", "RESTART_READY"]
    assert state(client, launch) == "CANCELLED"


def test_a_launch_that_does_not_stop_is_killed(
    site: Site, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_script(site, f"trap '' TERM; touch {tmp_path}/deaf; while true; do sleep 0.05; done")
    launch = submit(site, client, SMALL)
    wait_until((tmp_path / "deaf").exists)
    monkeypatch.setattr("balsam_scheduler.batch.cancelling._STOP_SECONDS", -1.5)  # with a grace of 2 s
    assert cancel(site, client, launch.launch_id).state == "CANCELLED"
    wait_until(lambda: not is_there(launch))


def test_two_nodes_are_not_to_be_had(site: Site, client: Client) -> None:
    with pytest.raises(SubmitFailed, match="was not submitted: nodes = 2: batch_system = 'local' has one node"):
        submit(site, client, LaunchRequest(2, 5))
    assert client.QueuedLaunch.objects.get().state == "SUBMIT_FAILED"


@pytest.mark.parametrize("answer", [NoAnswer("env did not answer within 30 s"), Output(-9)])
def test_a_start_whose_answer_was_lost_is_found(
    site: Site, client: Client, tmp_path: Path, answer: NoAnswer | Output
) -> None:
    """The script may run although nobody has heard so: that is no failure, and it is not started once more."""

    def lose(call: Call) -> Output:
        run(call)
        wait_until((tmp_path / "pid").exists)
        if isinstance(answer, NoAnswer):
            raise answer
        return answer

    own_script(site, f"echo $$ >> {tmp_path}/pid; sleep 600 & wait")
    launch = submit(site, client, SMALL, lose)
    assert (launch.state, launch.scheduler_id.partition("@")[0]) == ("RUNNING", (tmp_path / "pid").read_text().strip())
    assert cancel(site, client, launch.launch_id).state == "CANCELLED"


def test_the_scheduler_notices_by_itself(site: Site, client: Client, jobs: Jobs, tmp_path: Path) -> None:
    """A launch whose script ends is ENDED without anybody asking."""
    own_script(site, f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done")
    launch = submit(site, client, SMALL)
    wait_until(lambda: state(client, launch) == "RUNNING", site=site)
    (tmp_path / "go").touch()
    wait_until(lambda: Path(f"/proc/{launch.scheduler_id.partition('@')[0]}/fd").exists() is False)
    (site.qsubmit / "news").touch()  # the next look is 30 s away, or when something is written here
    wait_until(lambda: state(client, launch) == "ENDED", site=site)
    assert states(site) == {}
