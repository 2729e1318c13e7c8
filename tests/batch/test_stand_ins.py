"""Launches from their submission to their end, in batch systems that the test holds in its hands."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.client import Client
from balsam.errors import BalsamError, NotAllowed
from balsam.ids import new_id
from balsam.settings import replaced
from balsam.site import SETTINGS_FILE, Site
from balsam.v1.session_pb2 import Session
from balsam.v1.session_service_pb2 import CloseSessionRequest, OpenSessionRequest
from balsam.v1.session_service_pb2_grpc import SessionServiceStub
from balsam.version import VERSION
from balsam_scheduler.batch import calls
from balsam_scheduler.batch.cancelling import cancel
from balsam_scheduler.batch.records import LaunchRecord
from balsam_scheduler.batch.submitting import LaunchRequest, SubmitFailed, finish, refresh, submit
from tests.support.processes import services
from tests.support.queues import StandIn
from tests.support.scheduling import Jobs
from tests.support.sites import make_test_site, states

EVERY = pytest.mark.parametrize("stand_in", ["pbs", "lsf", "cobalt", "flux"], indirect=True)
ONE = pytest.mark.parametrize("stand_in", ["pbs"], indirect=True)
SMALL = LaunchRequest(1, 30)
LOST = "Connection timed out"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose job store runs, for all of these tests."""
    site = make_test_site(tmp_path_factory.mktemp("batch"))
    with services(site, "jobstore"):
        yield site


@pytest.fixture
def site(served: Site, stand_in: StandIn) -> Site:
    """That site, as one of this batch system and with nothing of the tests before."""
    settings = served.path / SETTINGS_FILE
    settings.write_text(replaced(settings.read_text(), "batch_system", stand_in.kind))
    for directory in (served.templates, served.qsubmit):
        shutil.rmtree(directory, ignore_errors=True)
    return Site(served.path)


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    client = Client(site)
    client.QueuedLaunch.objects.all().delete()
    yield client
    client.close()


def state(site: Site, client: Client) -> tuple[str, str]:
    """State and message of the last launch, without asking the batch system."""
    launch = client.QueuedLaunch.objects.last()
    assert launch is not None
    return launch.state, launch.message


@pytest.fixture(autouse=True)
def _ask_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("balsam_scheduler.batch.looking.TWICE_SECONDS", 0.0)


def look_twice(site: Site, client: Client) -> list[LaunchRecord]:
    """The launches after two looks: what is gone is believed then."""
    first = refresh(site, client)
    second = {launch.launch_id: launch for launch in refresh(site, client)}
    return [second.get(launch.launch_id, launch) for launch in first]


@EVERY
def test_a_launch_goes_through_the_queue(stand_in: StandIn, site: Site, client: Client) -> None:
    launch = submit(site, client, LaunchRequest(2, 30, queue="debug", sched_flags="--extra 'two words'"))
    (job_id,) = stand_in.jobs()
    job = stand_in.jobs()[job_id]
    assert (launch.state, launch.batch_system, launch.message) == ("QUEUED", stand_in.kind, "")
    assert launch.scheduler_id[1:] == job_id[1:]
    assert launch.tag in job["name"]
    assert f"BALSAM_LAUNCH_ID={launch.launch_id}\n" in Path(job["script"]).read_text()
    assert Path(launch.command.split()[-1]).name in (f"launch-{launch.launch_id}.sh", f"{job['name']}.out")
    assert "--extra two words" in stand_in.calls()[0]
    assert [one.state for one in refresh(site, client)] == ["QUEUED"]
    stand_in.change(job_id, state="running")
    assert [one.state for one in refresh(site, client)] == ["RUNNING"]
    Path(job["output"]).write_text("first\nno such module: mpich\n")
    stand_in.change(job_id, state="ended")
    (ended,) = look_twice(site, client)
    assert ended.state == "ENDED"
    assert ended.message.endswith("its output ends with: first | no such module: mpich")
    asked = len(stand_in.calls())
    assert refresh(site, client) == []
    assert len(stand_in.calls()) == asked  # where all are over, nobody is asked


@EVERY
def test_one_query_asks_for_all(stand_in: StandIn, site: Site, client: Client) -> None:
    for _ in range(5):
        submit(site, client, SMALL)
    first, *_, forgotten, last = stand_in.jobs()
    stand_in.change(first, state="running")
    stand_in.change(last, state="ended")
    stand_in.forget(forgotten)
    asked = len(stand_in.calls())
    assert [one.state for one in look_twice(site, client)] == ["RUNNING", "QUEUED", "QUEUED", "ENDED", "ENDED"]
    assert len(stand_in.calls()) == asked + 2


@EVERY
def test_an_id_that_somebody_else_has_got_since(stand_in: StandIn, site: Site, client: Client) -> None:
    submit(site, client, SMALL)
    (job_id,) = stand_in.jobs()
    stand_in.change(job_id, name="of-another", state="running")
    assert [one.state for one in look_twice(site, client)] == ["ENDED"]


@ONE
def test_what_is_gone_for_a_moment_has_ended_nothing(stand_in: StandIn, site: Site, client: Client) -> None:
    submit(site, client, SMALL)
    (job_id,) = stand_in.jobs()
    name = stand_in.jobs()[job_id]["name"]
    stand_in.change(job_id, name="of-another")
    assert [one.state for one in refresh(site, client)] == ["UNKNOWN"]
    stand_in.change(job_id, name=name, state="running")
    assert [one.state for one in refresh(site, client)] == ["RUNNING"]


@ONE
def test_what_is_gone_while_its_launcher_is_at_work_has_not_ended(
    stand_in: StandIn, site: Site, client: Client
) -> None:
    launch = submit(site, client, SMALL)
    (job_id,) = stand_in.jobs()
    session = Session(kind=Session.LAUNCHER, host="node1", pid=1, nodes=1, job_mode="auto", launch=launch.launch_id)
    request = OpenSessionRequest(session=session, version=VERSION, request_id=new_id())
    opened = client.call(SessionServiceStub, "OpenSession", request).session
    stand_in.forget(job_id)
    said = "its launcher is at work, though it is not in the queue any more"
    assert [(one.state, one.message) for one in look_twice(site, client)] == [("UNKNOWN", said)]
    client.call(SessionServiceStub, "CloseSession", CloseSessionRequest(session_id=opened.session_id))
    assert [one.state for one in look_twice(site, client)] == ["ENDED"]


@EVERY
def test_a_batch_system_that_does_not_answer_has_ended_nothing(
    stand_in: StandIn, site: Site, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch_id = submit(site, client, SMALL).launch_id
    (job_id,) = stand_in.jobs()
    stand_in.change(job_id, state="running")
    with stand_in.trouble("fail", "cannot connect to server"):
        assert [one.state for one in refresh(site, client)] == ["UNKNOWN"]
        assert state(site, client) == ("UNKNOWN", "cannot connect to server")
        with pytest.raises(BalsamError, match=r"launch \d+ is not cancelled: cannot connect to server; try again"):
            cancel(site, client, launch_id)
    assert [(one.state, one.message) for one in refresh(site, client)] == [("RUNNING", "")]
    with stand_in.trouble("hang"):
        refresh(site, client, functools.partial(calls.run, seconds=0.3))
        now, message = state(site, client)
        assert (now, message.endswith("did not answer within 0.3 s")) == ("UNKNOWN", True)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        refresh(site, client)
        now, message = state(site, client)
        assert (now, message.startswith("there is no program")) == ("UNKNOWN", True)
    assert [one.state for one in refresh(site, client)] == ["RUNNING"]


@EVERY
def test_an_answer_that_was_lost(stand_in: StandIn, site: Site, client: Client) -> None:
    """The submission was accepted: it is found by its name, and not made once more."""
    with stand_in.trouble("lost-answer", LOST):
        launch = submit(site, client, SMALL)
    assert len(stand_in.jobs()) == 1
    assert (launch.state, launch.scheduler_id[1:]) == ("QUEUED", next(iter(stand_in.jobs()))[1:])


@ONE
def test_a_submission_that_did_not_arrive_is_made_once_more(stand_in: StandIn, site: Site, client: Client) -> None:
    def lose(call: calls.Call) -> calls.Output:
        tried.append(call.words[0])
        return calls.Output(1, err=f"qsub: {LOST}") if tried == ["qsub"] else calls.run(call)

    tried: list[str] = []
    launch = submit(site, client, SMALL, lose)
    assert tried == ["qsub", "qselect", "qsub", "qselect"]
    assert (launch.state, len(stand_in.jobs())) == ("QUEUED", 1)


@EVERY
def test_of_a_submission_that_arrived_late_and_the_one_made_once_more_one_job_is_left(
    stand_in: StandIn, site: Site, client: Client
) -> None:
    def arrive_late(call: calls.Call) -> calls.Output:
        asked.append(call)
        if len(asked) == 1:
            raise calls.NoAnswer(f"{call.words[0]} did not answer within 30 s")
        output = calls.run(call)
        if len(asked) == 2:
            calls.run(asked[0])  # just after it was looked for
        return output

    asked: list[calls.Call] = []
    launch = submit(site, client, SMALL, arrive_late)
    first, second = sorted(stand_in.jobs().values(), key=lambda job: job["state"] == "ended")
    assert (launch.state, launch.scheduler_id[1:]) == ("QUEUED", first["id"][1:])
    assert (first["state"] != "ended", second["state"]) == (True, "ended")


@ONE
def test_a_submission_in_doubt_is_settled_later(stand_in: StandIn, site: Site, client: Client) -> None:
    def lose_all_answers(call: calls.Call) -> calls.Output:
        calls.run(call)
        raise calls.NoAnswer(f"{call.words[0]} did not answer within 30 s")

    launch = submit(site, client, SMALL, lose_all_answers)
    said = "it may have been accepted: qsub did not answer within 30 s; qselect did not answer within 30 s"
    assert (launch.state, launch.message, launch.scheduler_id) == ("UNKNOWN", said, "")
    (found,) = refresh(site, client)
    assert (found.state, [found.scheduler_id]) == ("QUEUED", list(stand_in.jobs()))
    assert len(stand_in.jobs()) == 1


@EVERY
def test_what_is_refused_says_why(
    stand_in: StandIn, site: Site, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        stand_in.trouble("refuse", "qsub: no such queue"),
        pytest.raises(SubmitFailed, match=r"launch \d+ was not submitted: .*: no such queue") as caught,
    ):
        submit(site, client, SMALL)
    assert "\n" not in str(caught.value)
    now, message = state(site, client)
    assert (now, "no such queue" in message) == ("SUBMIT_FAILED", True)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        with pytest.raises(SubmitFailed, match=r"launch \d+ was not submitted: there is no program '"):
            submit(site, client, SMALL)
    assert stand_in.jobs() == {}


@ONE
def test_a_template_that_does_not_render_says_why_on_the_launch(stand_in: StandIn, site: Site, client: Client) -> None:
    site.templates.mkdir()
    (site.templates / "pbs.sh").write_text("#!/bin/bash\n{{ oops }}\n")
    with pytest.raises(SubmitFailed, match=r"launch \d+ was not submitted: .*pbs\.sh, line 2: 'oops' is undefined"):
        submit(site, client, SMALL)
    now, message = state(site, client)
    assert (now, "pbs.sh, line 2: 'oops' is undefined" in message) == ("SUBMIT_FAILED", True)
    assert stand_in.calls() == []


@EVERY
def test_the_same_request_submits_once(stand_in: StandIn, site: Site, client: Client) -> None:
    wanted = LaunchRequest(1, 30, request_id=new_id())
    first = submit(site, client, wanted)
    assert submit(site, client, wanted) == first
    assert len(stand_in.jobs()) == 1


@EVERY
def test_a_submission_whose_process_died_before_it_could_record_it(
    stand_in: StandIn, site: Site, client: Client
) -> None:
    """Between the batch system's answer and the record of it: the same request finds the job."""

    def die(call: calls.Call) -> calls.Output:
        calls.run(call)
        raise KeyboardInterrupt

    wanted = LaunchRequest(1, 30, request_id=new_id())
    with pytest.raises(KeyboardInterrupt):
        submit(site, client, wanted, die)
    assert state(site, client)[0] == "PENDING_SUBMISSION"
    again = submit(site, client, wanted)
    assert (again.state, again.scheduler_id[1:]) == ("QUEUED", next(iter(stand_in.jobs()))[1:])
    assert len(stand_in.jobs()) == 1


@ONE
def test_a_command_that_a_killed_process_has_left_is_given_time_to_arrive(
    stand_in: StandIn, site: Site, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(call: calls.Call) -> calls.Output:
        raise KeyboardInterrupt

    wanted = LaunchRequest(1, 30, request_id=new_id())
    with pytest.raises(KeyboardInterrupt):
        submit(site, client, wanted, die)
    assert submit(site, client, wanted).state == "PENDING_SUBMISSION"
    assert stand_in.jobs() == {}
    monkeypatch.setattr(calls, "LIMIT_SECONDS", -1.0)
    assert submit(site, client, wanted).state == "QUEUED"
    assert len(stand_in.jobs()) == 1


@ONE
def test_a_request_that_was_not_recorded_before_its_process_died_is_planned_anew(
    stand_in: StandIn, site: Site, client: Client
) -> None:
    wanted = LaunchRequest(1, 30, request_id=new_id())
    for _ in range(2):
        assert finish(site, client, wanted).state == "CANCELLED"
    assert (stand_in.calls(), state(site, client)) == ([], ("CANCELLED", "planned anew"))


@EVERY
def test_a_launch_that_is_cancelled_while_it_is_being_submitted_leaves_no_job(
    stand_in: StandIn, site: Site, client: Client
) -> None:
    def cancel_first(call: calls.Call) -> calls.Output:
        if not stand_in.jobs():
            cancel(site, client, client.QueuedLaunch.objects.get().pk)
        return calls.run(call)

    launch = submit(site, client, SMALL, cancel_first)
    (job,) = stand_in.jobs().values()
    assert (launch.state, launch.scheduler_id[1:], job["state"]) == ("CANCELLED", job["id"][1:], "ended")


@EVERY
def test_launches_are_cancelled(stand_in: StandIn, site: Site, client: Client) -> None:
    numbers = [submit(site, client, SMALL).launch_id for _ in range(3)]
    _, running, forgotten = stand_in.jobs()
    stand_in.change(running, state="running")
    stand_in.forget(forgotten)
    for number in numbers:
        launch = cancel(site, client, number)
        assert (launch.state, launch.message) == ("CANCELLED", "cancelled with `balsam cancel`")
    assert [job["state"] for job in stand_in.jobs().values()] == ["ended", "ended"]
    with pytest.raises(NotAllowed, match=rf"launch {numbers[0]} is over: it is CANCELLED"):
        cancel(site, client, numbers[0])
    assert refresh(site, client) == []


@ONE
def test_a_launch_whose_batch_system_cannot_be_asked_is_given_up_by_force(
    stand_in: StandIn, site: Site, client: Client
) -> None:
    launch = submit(site, client, SMALL)
    with stand_in.trouble("fail", "cannot connect to server"):
        with pytest.raises(BalsamError, match=rf"`balsam cancel --force {launch.launch_id}` gives it up"):
            cancel(site, client, launch.launch_id)
        assert cancel(site, client, launch.launch_id, force=True).state == "CANCELLED"
    assert state(site, client)[1].endswith("its job may be there still: cannot connect to server")


@ONE
def test_a_launch_that_no_batch_system_has_is_left_to_who_made_it(
    stand_in: StandIn, site: Site, client: Client
) -> None:
    launch = client.QueuedLaunch.objects.create(state="RUNNING")
    assert refresh(site, client) == []
    assert stand_in.calls() == []
    assert cancel(site, client, launch.pk).state == "CANCELLED"


@ONE
def test_its_launcher_knows_better_than_an_old_answer(stand_in: StandIn, site: Site, client: Client) -> None:
    launch_id = submit(site, client, SMALL).launch_id
    client.launches.update(launch_id, {"state": "UNKNOWN"})

    def slowly(call: calls.Call) -> calls.Output:
        output = calls.run(call)
        client.launches.update(launch_id, {"state": "RUNNING", "message": "its launcher is here"})
        return output

    assert [one.state for one in refresh(site, client, slowly)] == ["RUNNING"]
    assert state(site, client) == ("RUNNING", "its launcher is here")


@EVERY
def test_the_script_runs_the_jobs_of_the_site(stand_in: StandIn, tmp_path: Path) -> None:
    site = make_test_site(tmp_path / "real", batch_system=stand_in.kind)
    with services(site):
        client, jobs = Client(site), Jobs(site)
        launch = submit(site, client, SMALL)
        jobs.add("bound", args="sh -c 'echo $BALSAM_LAUNCH_ID'", queued_launch=launch.launch_id)
        jobs.add("free", args="true")
        (job_id,) = stand_in.jobs()
        assert stand_in.start(job_id).wait(60) == 0, Path(stand_in.jobs()[job_id]["output"]).read_text()
        assert states(site) == {"bound": "JOB_FINISHED", "free": "JOB_FINISHED"}
        assert state(site, client) == ("ENDED", "")
        client.close()
        jobs.close()


@ONE
def test_a_launch_that_was_cancelled_meanwhile_runs_nothing(stand_in: StandIn, site: Site, client: Client) -> None:
    launch: LaunchRecord = submit(site, client, SMALL)
    client.launches.update(launch.launch_id, {"state": "CANCELLED"})
    assert stand_in.start(launch.scheduler_id).wait(60) == 1
    output = Path(stand_in.jobs()[launch.scheduler_id]["output"]).read_text()
    assert f"BALSAM_LAUNCH_ID = {launch.launch_id}: it was cancelled" in output
    assert state(site, client)[0] == "CANCELLED"
