"""A request that comes again has no second effect and gets the same answer, whatever has become of the job store."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from balsam.site import Site
from balsam.states import State
from balsam.v1 import (
    application_pb2,
    application_service_pb2,
    job_pb2,
    job_service_pb2,
    launch_pb2,
    launch_service_pb2,
    session_pb2,
    session_service_pb2,
    user_pb2,
    user_service_pb2,
)
from balsam_jobstore import schema
from balsam_jobstore.postgres import Cluster
from balsam_scheduler.rules import RULES
from tests.support.dumps import dump_of_site
from tests.support.hands import Hands
from tests.support.postgres import execute
from tests.support.processes import services
from tests.support.rpc_client import METHODS, Client, Refusal
from tests.support.sites import make_test_site

jobs_pb, apps_pb, launches_pb, work_pb, users_pb = (
    job_service_pb2,
    application_service_pb2,
    launch_service_pb2,
    session_service_pb2,
    user_service_pb2,
)

READ_ONLY = {
    "SiteService/GetSite",
    "JobService/GetJob",
    "JobService/ListJobs",
    "JobService/CountJobs",
    "LaunchService/GetLaunch",
    "LaunchService/ListLaunches",
    "ApplicationService/GetApplication",
    "ApplicationService/ListApplications",
    "EventService/ListEvents",
    "EventService/WatchEvents",
    "SessionService/ListSessions",
    "OutputService/ReadOutput",
    "ArchiveService/ExportJobs",
    "UserService/ListUsers",
    "UserService/ListConnections",
    "UserService/ListAuditEntries",
}
HARMLESS_AGAIN = {
    "SessionService/RenewSession",
    "SessionService/RegisterRules",
    "SessionService/Work",
    "SessionService/RecoverReports",
    "OutputService/SendOutput",
    "ArchiveService/ImportJobs",
    "ArchiveService/RemoveArchivedJobs",
}
"""Say how something is, and may say so again; reports of work are fenced, and files are compared with what there is."""
CHANGING = [method for method in METHODS if method not in READ_ONLY | HARMLESS_AGAIN]


# What is asked, each time of something new


def new_id() -> str:
    return str(uuid.uuid4())


def new_job(**fields: Any) -> job_pb2.Job:
    return job_pb2.Job(**({"job_id": new_id(), "name": "a"} | fields))


def add_jobs(client: Client, count: int = 1) -> list[str]:
    made = [new_job() for _ in range(count)]
    client.call("JobService/CreateJobs", jobs_pb.CreateJobsRequest(jobs=made))
    return [job.job_id for job in made]


def by_id(*job_ids: str) -> jobs_pb.JobSelector:
    return jobs_pb.JobSelector(ids=jobs_pb.JobSelector.Ids(job_ids=job_ids))


def some(client: Client) -> jobs_pb.JobSelector:
    """Jobs, and one that is none."""
    return by_id(*add_jobs(client, 2), new_id())


def application(**fields: str) -> application_pb2.Application:
    return application_pb2.Application(**({"name": f"app{new_id()}", "executable": "true"} | fields))


def add_app(client: Client) -> application_pb2.Application:
    request = apps_pb.CreateApplicationRequest(application=application())
    return client.call("ApplicationService/CreateApplication", request)


def launch() -> launch_pb2.Launch:
    return launch_pb2.Launch(queue="debug", nodes=2, wall_minutes=10, job_mode="serial")


def add_launch(client: Client) -> launch_pb2.Launch:
    return client.call(
        "LaunchService/CreateLaunch", launches_pb.CreateLaunchRequest(launch=launch(), request_id=new_id())
    )


def open_session(client: Client, kind: int = session_pb2.Session.LAUNCHER) -> str:
    request = work_pb.OpenSessionRequest(session=session(kind), request_id=new_id())
    return client.call("SessionService/OpenSession", request).session.session_id


def session(kind: int = session_pb2.Session.LAUNCHER) -> session_pb2.Session:
    return session_pb2.Session(kind=kind, host=new_id(), job_mode="auto")  # type: ignore[arg-type]


def user() -> user_pb2.User:
    return user_pb2.User(name=f"user{new_id()}", role=user_pb2.User.MEMBER)


def add_user(client: Client) -> str:
    request = users_pb.AddUserRequest(user=user(), token_digest=uuid.uuid4().bytes * 2)
    return client.call("UserService/AddUser", request).user.name


def update_jobs(client: Client) -> Any:
    first, second = add_jobs(client, 2)
    request = jobs_pb.UpdateJobsRequest()
    for job_id, revision in ((first, 1), (new_id(), 0), (second, 7), (first, 2)):
        item = request.updates.add(job=job_pb2.Job(job_id=job_id, priority=revision + 5), expected_revision=revision)
        item.update_mask.paths.append("priority")
    return request


def update_matching(client: Client) -> Any:
    request = jobs_pb.UpdateMatchingJobsRequest(selector=some(client), values=job_pb2.Job(priority=3))
    request.update_mask.paths.append("priority")
    return request


def change_dependencies(client: Client) -> Any:
    one, two, three = add_jobs(client, 3)
    edge = jobs_pb.Dependency
    client.call(
        "JobService/ChangeDependencies", jobs_pb.ChangeDependenciesRequest(add=[edge(parent_id=one, child_id=two)])
    )
    return jobs_pb.ChangeDependenciesRequest(
        add=[edge(parent_id=two, child_id=three), edge(parent_id=three, child_id=one)],
        remove=[edge(parent_id=one, child_id=two)],
    )


def update_application(client: Client) -> Any:
    made = add_app(client)
    changed = application_pb2.Application(name=made.name, description="better")
    request = apps_pb.UpdateApplicationRequest(application=changed, expected_revision=made.revision)
    request.update_mask.paths.append("description")
    return request


def update_launch(client: Client) -> Any:
    made = add_launch(client)
    changed = launch_pb2.Launch(launch_id=made.launch_id, state=launch_pb2.Launch.RUNNING)
    request = launches_pb.UpdateLaunchRequest(launch=changed, expected_revision=made.revision)
    request.update_mask.paths.append("state")
    return request


REQUESTS: dict[str, Callable[[Client], Any]] = {
    "ApplicationService/CreateApplication": lambda c: apps_pb.CreateApplicationRequest(application=application()),
    "ApplicationService/UpdateApplication": update_application,
    "ApplicationService/DeleteApplication": lambda c: apps_pb.DeleteApplicationRequest(name=add_app(c).name),
    "JobService/CreateJobs": lambda c: jobs_pb.CreateJobsRequest(
        jobs=[new_job(), new_job(wall_time_minutes=-1), new_job(job_id=add_jobs(c)[0]), new_job(parents=[new_id()])]
    ),
    "JobService/UpdateJobs": update_jobs,
    "JobService/UpdateMatchingJobs": update_matching,
    "JobService/SetJobState": lambda c: jobs_pb.SetJobStateRequest(selector=some(c), state=State.FAILED.value),
    "JobService/KillJobs": lambda c: jobs_pb.KillJobsRequest(selector=some(c)),
    "JobService/DeleteJobs": lambda c: jobs_pb.DeleteJobsRequest(selector=some(c)),
    "JobService/ChangeDependencies": change_dependencies,
    "LaunchService/CreateLaunch": lambda c: launches_pb.CreateLaunchRequest(launch=launch()),
    "LaunchService/UpdateLaunch": update_launch,
    "LaunchService/DeleteLaunch": lambda c: launches_pb.DeleteLaunchRequest(launch_id=add_launch(c).launch_id),
    "SessionService/OpenSession": lambda c: work_pb.OpenSessionRequest(session=session()),
    "SessionService/CloseSession": lambda c: work_pb.CloseSessionRequest(session_id=open_session(c)),
    "UserService/AddUser": lambda c: users_pb.AddUserRequest(user=user(), token_digest=uuid.uuid4().bytes * 2),
    "UserService/DropUser": lambda c: users_pb.DropUserRequest(name=add_user(c)),
}


def asked(client: Client, method: str) -> Any:
    """A request with an id, for which everything is prepared."""
    request = REQUESTS[method](client)
    request.request_id = new_id()
    return request


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose job store runs."""
    url = "sqlite"
    if request.param == "postgres":
        cluster: Cluster = request.getfixturevalue("postgres_cluster")
        execute(cluster.url, "CREATE DATABASE requests")
        url = cluster.url_of("requests")
    site = make_test_site(tmp_path_factory.mktemp("requests"), url)
    with services(site, "jobstore"):
        yield site
    if url != "sqlite":
        execute(cluster.url, "DROP DATABASE requests WITH (FORCE)")


@pytest.fixture
def client(shared: Site) -> Iterator[Client]:
    client = Client(shared)
    yield client
    client.close()


def size(site: Site) -> dict[str, int]:
    """How many rows each table has, and how often they were changed."""
    sizes = {}
    for name, rows in dump_of_site(site).items():
        columns = schema.metadata.tables[name].c.keys()
        sizes[name] = len(rows)
        if "revision" in columns:
            sizes[f"changes of {name}"] = sum(row[columns.index("revision")] for row in rows)
    return sizes


# Every rpc


def test_every_rpc_that_changes_something_takes_an_id(client: Client) -> None:
    assert set(REQUESTS) == set(CHANGING)
    assert set(METHODS) >= READ_ONLY | HARMLESS_AGAIN
    for method, kind in METHODS.items():
        assert ("request_id" in kind.input_type.fields_by_name) is (method in CHANGING), method


@pytest.mark.parametrize("method", CHANGING)
def test_the_same_request_twice_is_done_once(shared: Site, client: Client, method: str) -> None:
    request = asked(client, method)
    before = dump_of_site(shared)
    answer = client.call(method, request)
    after = dump_of_site(shared)
    assert after != before
    assert client.call(method, request) == answer
    assert dump_of_site(shared) == after


@pytest.mark.parametrize("method", CHANGING)
def test_the_same_request_many_times_at_once_is_done_once(shared: Site, client: Client, method: str) -> None:
    def grows_by(count: int) -> dict[str, int]:
        request = asked(client, method)
        before = size(shared)
        with ThreadPoolExecutor(count) as pool:
            answers = list(pool.map(lambda _: client.call(method, request), range(count)))
        assert all(answer == answers[0] for answer in answers)
        after = size(shared)
        return {name: after[name] - before[name] for name in after}

    assert grows_by(8) == grows_by(1)


def test_the_same_requests_after_the_job_store_was_killed_are_not_done_again(any_site: Site) -> None:
    with services(any_site, "jobstore") as running:
        before, asking = Client(any_site), {}
        answers = {}
        for method in CHANGING:
            asking[method] = asked(before, method)
        for method, request in asking.items():
            answers[method] = before.call(method, request)
        before.close()
        running.kill("jobstore")
        running.start("jobstore")
        contents = dump_of_site(any_site)
        after = Client(any_site)
        for method, request in asking.items():
            assert after.call(method, request) == answers[method], method
        assert dump_of_site(any_site) == contents
        after.close()


@pytest.mark.parametrize("method", CHANGING)
def test_an_id_that_is_none_is_refused(shared: Site, client: Client, method: str) -> None:
    request = asked(client, method)
    request.request_id = "mine"
    before = dump_of_site(shared)
    with pytest.raises(Refusal, match="request_id = 'mine': must be a UUID that the client makes") as caught:
        client.call(method, request)
    assert (caught.value.code, caught.value.field) == ("INVALID_ARGUMENT", "request_id")
    assert dump_of_site(shared) == before


@pytest.mark.parametrize("method", sorted({*CHANGING} - {"LaunchService/CreateLaunch", "SessionService/OpenSession"}))
def test_a_request_without_an_id_is_done_and_not_remembered(shared: Site, client: Client, method: str) -> None:
    request = REQUESTS[method](client)
    before = dump_of_site(shared)
    client.call(method, request)
    after = dump_of_site(shared)
    assert after != before
    assert after["request"] == before["request"]


# What is not the same


def other_content(request: Any) -> Any:
    other = type(request)()
    other.CopyFrom(request)
    other.message = "other"
    return other


def test_an_id_that_was_used_for_something_else_is_refused(shared: Site, client: Client) -> None:
    kill = asked(client, "JobService/KillJobs")
    move = jobs_pb.SetJobStateRequest(
        selector=by_id(*add_jobs(client)), state=State.FAILED.value, request_id=kill.request_id
    )
    client.call("JobService/KillJobs", kill)
    contents = dump_of_site(shared)
    for method, request in (("JobService/KillJobs", other_content(kill)), ("JobService/SetJobState", move)):
        with pytest.raises(Refusal, match="was used for another KillJobs before; make a new one") as caught:
            client.call(method, request)
        assert (caught.value.code, caught.value.field) == ("INVALID_ARGUMENT", "request_id")
    assert dump_of_site(shared) == contents


def test_an_answer_is_given_to_nobody_else(shared: Site, client: Client) -> None:
    (job_id,) = add_jobs(client)
    client.call(
        "JobService/SetJobState",
        jobs_pb.SetJobStateRequest(selector=by_id(job_id), state=State.PREPROCESSED.value),
    )
    request = asked(client, "JobService/KillJobs")
    client.call("JobService/KillJobs", request)
    hands = Hands(shared)
    try:
        token = hands.take().token
        with pytest.raises(Refusal, match="was used for another KillJobs"):
            client.call("JobService/KillJobs", request, token=token)
    finally:
        hands.close()


def test_a_stream_that_comes_again_in_other_messages_is_refused(client: Client) -> None:
    first, second = new_job(), new_job()
    request_id = new_id()
    together = jobs_pb.CreateJobsRequest(jobs=[first, second], request_id=request_id)
    apart = [jobs_pb.CreateJobsRequest(jobs=[first], request_id=request_id), jobs_pb.CreateJobsRequest(jobs=[second])]
    assert client.call("JobService/CreateJobs", *apart).created == 2
    assert client.call("JobService/CreateJobs", *apart).created == 2
    with pytest.raises(Refusal, match="was used for another CreateJobs"):
        client.call("JobService/CreateJobs", together)


# What is remembered


def test_a_refusal_had_no_effect_and_is_not_remembered(client: Client) -> None:
    made = add_app(client)
    request = apps_pb.CreateApplicationRequest(application=application(name=made.name), request_id=new_id())
    with pytest.raises(Refusal, match="exists already"):
        client.call("ApplicationService/CreateApplication", request)
    client.call("ApplicationService/DeleteApplication", apps_pb.DeleteApplicationRequest(name=made.name))
    again = client.call("ApplicationService/CreateApplication", request)
    assert again.name == made.name
    assert client.call("ApplicationService/CreateApplication", request) == again


def test_what_was_refused_of_a_request_stays_refused(client: Client) -> None:
    (there,), missing = add_jobs(client), new_job()
    request = jobs_pb.UpdateJobsRequest(request_id=new_id())
    for job_id in (missing.job_id, there):
        request.updates.add(job=job_pb2.Job(job_id=job_id, priority=5)).update_mask.paths.append("priority")
    answer = client.call("JobService/UpdateJobs", request)
    assert (answer.updated, [refusal.index for refusal in answer.refusals]) == (1, [0])
    client.call("JobService/CreateJobs", jobs_pb.CreateJobsRequest(jobs=[missing]))
    assert client.call("JobService/UpdateJobs", request) == answer
    assert client.call("JobService/GetJob", jobs_pb.GetJobRequest(job_id=missing.job_id)).priority == 0


def test_a_session_that_has_ended_is_not_opened_again(client: Client) -> None:
    request = work_pb.OpenSessionRequest(session=session(), request_id=new_id())
    opened = client.call("SessionService/OpenSession", request)
    client.call("SessionService/CloseSession", work_pb.CloseSessionRequest(session_id=opened.session.session_id))
    assert client.call("SessionService/OpenSession", request) == opened
    with pytest.raises(Refusal, match="has ended"):
        client.call("SessionService/RenewSession", work_pb.RenewSessionRequest(session_id=opened.session.session_id))


def test_rules_may_be_registered_again(shared: Site, client: Client) -> None:
    add_jobs(client, 3)
    session_id = open_session(client, session_pb2.Session.SCHEDULER)
    request = work_pb.RegisterRulesRequest(session_id=session_id, rules=RULES)
    assert client.call("SessionService/RegisterRules", request).moved >= 3
    contents = dump_of_site(shared)
    assert client.call("SessionService/RegisterRules", request).moved == 0
    assert dump_of_site(shared) == contents
    client.call("SessionService/CloseSession", work_pb.CloseSessionRequest(session_id=session_id))
