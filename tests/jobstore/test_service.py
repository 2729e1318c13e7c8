"""The job store as a process: what it answers to bad callers, and what is left when it or its database is killed."""

from __future__ import annotations

import contextlib
import json
import queue
import stat
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from balsam.errors import ResourceExhausted
from balsam.rpc import MAX_MESSAGE_BYTES, Connection
from balsam.site import Site
from balsam.states import State
from balsam.v1 import (
    application_pb2,
    application_service_pb2,
    event_service_pb2,
    job_pb2,
    job_service_pb2,
    launch_pb2,
    launch_service_pb2,
    lease_pb2,
    query_pb2,
    session_pb2,
    session_service_pb2,
    site_service_pb2,
)
from balsam.v1.job_service_pb2_grpc import JobServiceStub
from balsam.v1.session_service_pb2_grpc import SessionServiceStub
from balsam_jobstore.database import Database, sqlite_url
from balsam_jobstore.migrate import migrate
from balsam_jobstore.postgres import Cluster, Stop
from balsam_scheduler.rules import RULES
from tests.support.postgres import execute
from tests.support.processes import serves, services
from tests.support.rpc_client import METHODS, Client, Refusal, empty, refusal
from tests.support.sites import make_test_site, wait_until

S = State
jobs_pb, apps_pb, events_pb, work_pb = job_service_pb2, application_service_pb2, event_service_pb2, session_service_pb2
launches_pb = launch_service_pb2
NOT_MINE = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose job store runs, for tests that leave it as it is."""
    url = "sqlite"
    if request.param == "postgres":
        cluster: Cluster = request.getfixturevalue("postgres_cluster")
        execute(cluster.url, "CREATE DATABASE service")
        url = cluster.url_of("service")
    site = make_test_site(tmp_path_factory.mktemp("service"), url)
    with services(site, "jobstore"):
        yield site
    if url != "sqlite":
        execute(cluster.url, "DROP DATABASE service WITH (FORCE)")


@pytest.fixture
def client(shared: Site) -> Iterator[Client]:
    client = Client(shared)
    yield client
    client.close()


def new_job(name: str = "a", **fields: Any) -> job_pb2.Job:
    return job_pb2.Job(**({"job_id": str(uuid.uuid4()), "name": name} | fields))


def create(client: Client, *jobs: job_pb2.Job, atomic: bool = False) -> jobs_pb.CreateJobsResponse:
    return client.call("JobService/CreateJobs", jobs_pb.CreateJobsRequest(jobs=jobs, atomic=atomic))


def rename(job: job_pb2.Job) -> jobs_pb.UpdateJobsRequest:
    change = jobs_pb.JobUpdate(job=job_pb2.Job(job_id=job.job_id, name="new"), update_mask={"paths": ["name"]})
    return jobs_pb.UpdateJobsRequest(updates=[change])


def by_id(*job_ids: str) -> jobs_pb.JobSelector:
    return jobs_pb.JobSelector(ids=jobs_pb.JobSelector.Ids(job_ids=job_ids))


def where(field: str, op: Any, *values: query_pb2.Value, path: tuple[str, ...] = ()) -> query_pb2.Filter:
    return query_pb2.Filter(test=query_pb2.Test(field=field, op=op, values=values, path=path))


text = query_pb2.Value


# Bad callers


@pytest.mark.parametrize("method", METHODS)
def test_bytes_that_are_no_message_are_refused(client: Client, method: str) -> None:
    with pytest.raises(Refusal) as caught:
        client.call(method, b"\xff\xff\xff\xff")
    assert (caught.value.code, caught.value.reason) == ("INVALID_ARGUMENT", "MALFORMED")
    assert "not a valid message" in caught.value.details


def test_a_message_that_is_packed_is_refused_and_not_unpacked(shared: Site, client: Client) -> None:
    name = jobs_pb.GetJobRequest(job_id=NOT_MINE).SerializeToString()
    with grpc.insecure_channel(shared.address("jobstore")) as channel:
        call = channel.unary_unary("/balsam.v1.JobService/GetJob")
        for message, compression, reason in (
            (name, grpc.Compression.NoCompression, "NOT_FOUND"),
            (name * 100, grpc.Compression.Gzip, "MALFORMED"),
            (bytes(20 * MAX_MESSAGE_BYTES), grpc.Compression.Gzip, "MALFORMED"),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call(
                    message,
                    metadata=[("authorization", f"Bearer {client.token}")],
                    compression=compression,
                    timeout=20,
                    wait_for_ready=True,
                )
            assert refusal(caught.value).reason == reason


def test_text_that_is_not_utf_8_is_refused(client: Client) -> None:
    with pytest.raises(Refusal) as caught:
        client.call("JobService/GetJob", b"\x0a\x02\xed\xa0")
    assert (caught.value.code, caught.value.reason) == ("INVALID_ARGUMENT", "MALFORMED")


@pytest.mark.parametrize("token", ["", "wrong", "owner.wrong", "run.1.1.abc", "run.x.y.z", "run.1.1." + "0" * 64])
def test_a_caller_without_a_valid_token_gets_nothing_but_health(shared: Site, client: Client, token: str) -> None:
    for method in METHODS:
        with pytest.raises(Refusal) as caught:
            client.call(method, empty(method), token=token)
        assert caught.value.code == "UNAUTHENTICATED", method
    with grpc.insecure_channel(shared.address("jobstore")) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_method_that_does_not_exist_is_unimplemented(shared: Site, client: Client) -> None:
    with grpc.insecure_channel(shared.address("jobstore")) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/balsam.v1.JobService/Nothing")(b"", metadata=[("authorization", client.token)])
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@contextlib.contextmanager
def held_up(site: Site) -> Iterator[None]:
    """Nothing can be written meanwhile: somebody else holds the database."""
    name = site.settings.database
    database = Database(sqlite_url(site.database) if name == "sqlite" else name)
    with database.writer() as connection, connection.begin():
        if not database.is_sqlite:
            connection.exec_driver_sql("LOCK TABLE job")
        yield
    database.close()


def test_load_is_shed_and_sessions_are_renewed_meanwhile(shared: Site, client: Client) -> None:
    session = work_pb.RenewSessionRequest(session_id=open_session(client))
    job = new_job()
    create(client, job)
    update = rename(job)
    update.updates.extend([update.updates[0]] * 499)  # each is a write of its own

    def call() -> str:
        try:
            client.call("JobService/UpdateJobs", update)
        except Refusal as refused:
            return refused.code
        return "OK"

    with ThreadPoolExecutor(20) as pool:
        with held_up(shared):
            calls = [pool.submit(call) for _ in range(20)]
            wait_until(lambda: any(call.done() for call in calls), what="something is refused")
            client.call("SessionService/RenewSession", session, timeout=10)
        assert {call.result() for call in calls} == {"OK", "RESOURCE_EXHAUSTED"}
    assert client.call("JobService/UpdateJobs", rename(job)).updated == 1
    client.call("SessionService/CloseSession", work_pb.CloseSessionRequest(session_id=session.session_id))


@pytest.mark.parametrize("op", ["GT", "GTE", "LT", "LTE", "RANGE"])
@pytest.mark.parametrize("field", ["name", "priority", "create_time", "job_id", "message"])
def test_nothing_is_greater_or_less_than_null(client: Client, field: str, op: str) -> None:
    nulls = [query_pb2.Value()] * (2 if op == "RANGE" else 1)
    with pytest.raises(Refusal) as caught:
        client.call("JobService/ListJobs", jobs_pb.ListJobsRequest(filter=where(field, op, *nulls)))
    assert (caught.value.code, caught.value.field) == ("INVALID_ARGUMENT", field)


@pytest.mark.parametrize("field", ["a\nb", "b\x1b[31m"])
def test_an_error_about_a_path_is_one_line(client: Client, field: str) -> None:
    request = jobs_pb.ListJobsRequest(filter=where("name", query_pb2.Test.EXACT, text(text="a"), path=(field,)))
    with pytest.raises(Refusal) as caught:
        client.call("JobService/ListJobs", request)
    assert (caught.value.code, caught.value.field) == ("INVALID_ARGUMENT", "name")
    assert caught.value.details.isprintable()


@pytest.mark.parametrize(
    "request_",
    [
        jobs_pb.ListJobsRequest(filter=where("", query_pb2.Test.EXACT, text(text="a"))),
        jobs_pb.ListJobsRequest(filter=where("", query_pb2.Test.OP_UNSPECIFIED)),
        jobs_pb.ListJobsRequest(filter=where("a\nb", query_pb2.Test.LT)),
        jobs_pb.ListJobsRequest(order_by=[query_pb2.OrderBy()]),
        jobs_pb.ListJobsRequest(read_mask={"paths": [""]}),
    ],
)
def test_a_query_that_names_no_field_is_told_so(client: Client, request_: jobs_pb.ListJobsRequest) -> None:
    with pytest.raises(Refusal) as caught:
        client.call("JobService/ListJobs", request_)
    assert (caught.value.code, caught.value.field) == ("INVALID_ARGUMENT", "field")
    assert "\n" not in caught.value.details


def test_who_sends_too_much_is_told_how_much_it_was(shared: Site) -> None:
    connection = Connection(shared)
    request = jobs_pb.GetJobRequest(job_id="x" * (MAX_MESSAGE_BYTES + 1))
    with pytest.raises(ResourceExhausted, match=r"has 16,777,222 bytes, and at most 16,777,216 are allowed: ask for"):
        connection.call(JobServiceStub, "GetJob", request)
    connection.close()


def test_a_message_that_is_too_large_is_refused_and_the_service_lives(client: Client) -> None:
    huge = new_job(data='{"x": "' + "y" * (MAX_MESSAGE_BYTES + 1) + '"}')
    with pytest.raises(Refusal) as caught:
        create(client, huge)
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    assert str(MAX_MESSAGE_BYTES) in caught.value.details
    assert create(client, new_job()).created == 1


@pytest.mark.parametrize(
    ("fields", "field", "what"),
    [
        ({"job_id": "x"}, "job_id", "not a job id"),
        ({"job_id": ""}, "job_id", "missing"),
        ({"name": "a/b"}, "name", "must not hold '/'"),
        ({"name": ".."}, "name", "directory link"),
        ({"name": "x" * 201}, "name", "200"),
        ({"name": "a\0b"}, "name", "NUL"),
        ({"name": "a\nb"}, "name", "control"),
        ({"workflow": "/abs"}, "workflow", "absolute"),
        ({"workflow": "a/../b"}, "workflow", "directory link"),
        ({"args": "it's"}, "args", "does not split"),
        ({"args": "a\0"}, "args", "NUL"),
        ({"num_nodes": 0}, "num_nodes", "at least 1"),
        ({"ranks_per_node": -1}, "ranks_per_node", "at least 1"),
        ({"wall_time_minutes": -1}, "wall_time_minutes", "at least 0"),
        ({"gpus_per_rank": float("nan")}, "gpus_per_rank", "finite"),
        ({"gpus_per_rank": float("inf")}, "gpus_per_rank", "finite"),
        ({"gpus_per_rank": -0.5}, "gpus_per_rank", "between"),
        ({"cpu_affinity": 7}, "cpu_affinity", "cpu_affinity = 7"),
        ({"state": 77}, "state", "state = 77"),
        ({"state": S.RUNNING}, "state", "state = RUNNING: a new job is CREATED"),
        ({"data": "[1]"}, "data", "JSON object"),
        ({"data": "{"}, "data", "not JSON"),
        ({"data": '{"x": NaN}'}, "data", "NaN"),
        ({"data": '{"x": 1e999}'}, "data", "cannot be stored"),
        ({"data": '{"x": "\\u0000"}'}, "data", "NUL"),
        ({"data": '{"x": "\\ud800"}'}, "data", "surrogate"),
        ({"data": '{"x":' + "[" * 5000 + "]" * 5000 + "}"}, "data", "nested too deeply"),
        ({"environ_vars": {"A=B": "1"}}, "environ_vars", "not the name"),
        ({"environ_vars": {"A": "\0"}}, "environ_vars", "NUL"),
        ({"parents": ["x"]}, "parents", "not a job id"),
        ({"stage_in_url": "gsiftp://x/y"}, "stage_in_url", "URL"),
        ({"user_workdir": "relative"}, "user_workdir", "absolute"),
        ({"application": "nosuch"}, "application", "application 'nosuch' does not exist"),
    ],
)
def test_a_wrong_value_of_a_new_job_is_refused_and_its_field_named(
    client: Client, fields: dict[str, Any], field: str, what: str
) -> None:
    answer = create(client, new_job(**fields), new_job("good"))
    (refused,) = answer.refusals
    assert answer.created == 1
    assert (refused.index, refused.field) == (0, field)
    assert refused.reason in ("INVALID_VALUE", "NOT_FOUND")
    assert what in refused.message

    assert create(client, new_job("good"), new_job(**fields), atomic=True).created == 0


_BAD_CALLS: list[tuple[str, Any, str]] = [
    ("JobService/GetJob", jobs_pb.GetJobRequest(job_id="x"), "job_id"),
    ("JobService/ListJobs", jobs_pb.ListJobsRequest(page_size=-1), "page_size"),
    ("JobService/ListJobs", jobs_pb.ListJobsRequest(page_token="x"), "page_token"),
    ("JobService/ListJobs", jobs_pb.ListJobsRequest(order_by=[query_pb2.OrderBy(field="nme")]), "nme"),
    ("JobService/ListJobs", jobs_pb.ListJobsRequest(filter=where("name", 99, text(text="x"))), "name"),
    ("JobService/ListJobs", jobs_pb.ListJobsRequest(filter=where("name", 1, text(text="a\0"))), "name"),
    (
        "JobService/ListJobs",
        jobs_pb.ListJobsRequest(filter=where("gpus_per_rank", 1, text(number=float("nan")))),
        "gpus_per_rank",
    ),
    ("JobService/ListJobs", jobs_pb.ListJobsRequest(filter=where("data", 1, text(text="x"), path=("a\0",))), "path"),
    ("JobService/CountJobs", jobs_pb.CountJobsRequest(group_by=["nme"]), "nme"),
    ("JobService/SetJobState", jobs_pb.SetJobStateRequest(selector=by_id(NOT_MINE), state=99), "state"),
    ("JobService/SetJobState", jobs_pb.SetJobStateRequest(state=S.CREATED), "selector"),
    ("JobService/SetJobState", jobs_pb.SetJobStateRequest(selector=by_id("x"), state=S.CREATED), "job_id"),
    ("JobService/SetJobState", jobs_pb.SetJobStateRequest(selector=by_id(NOT_MINE), state=1, message="\0"), "message"),
    ("JobService/KillJobs", jobs_pb.KillJobsRequest(), "selector"),
    ("JobService/KillJobs", jobs_pb.KillJobsRequest(selector=by_id(NOT_MINE), message="\0"), "message"),
    ("JobService/DeleteJobs", jobs_pb.DeleteJobsRequest(), "selector"),
    ("JobService/UpdateMatchingJobs", jobs_pb.UpdateMatchingJobsRequest(selector=by_id(NOT_MINE)), "update_mask"),
    ("ApplicationService/CreateApplication", apps_pb.CreateApplicationRequest(), "name"),
    (
        "ApplicationService/CreateApplication",
        apps_pb.CreateApplicationRequest(application=application_pb2.Application(name="a", executable="it's")),
        "executable",
    ),
    ("ApplicationService/GetApplication", apps_pb.GetApplicationRequest(name="\0"), "name"),
    ("ApplicationService/DeleteApplication", apps_pb.DeleteApplicationRequest(name="\0"), "name"),
    ("LaunchService/CreateLaunch", launches_pb.CreateLaunchRequest(launch=launch_pb2.Launch(nodes=0)), "nodes"),
    ("LaunchService/CreateLaunch", launches_pb.CreateLaunchRequest(launch=launch_pb2.Launch(state=99)), "state"),
    (
        "LaunchService/CreateLaunch",
        launches_pb.CreateLaunchRequest(launch=launch_pb2.Launch(job_mode="fast")),
        "job_mode",
    ),
    ("LaunchService/CreateLaunch", launches_pb.CreateLaunchRequest(), "request_id"),
    ("LaunchService/GetLaunch", launches_pb.GetLaunchRequest(), "launch_id"),
    ("LaunchService/GetLaunch", launches_pb.GetLaunchRequest(launch_id=2**40), "launch_id"),
    (
        "LaunchService/UpdateLaunch",
        launches_pb.UpdateLaunchRequest(launch=launch_pb2.Launch(launch_id=1), update_mask={"paths": ["owner"]}),
        "owner",
    ),
    ("LaunchService/DeleteLaunch", launches_pb.DeleteLaunchRequest(launch_id=-1), "launch_id"),
    ("EventService/ListEvents", events_pb.ListEventsRequest(page_size=10_001), "page_size"),
    ("EventService/ListEvents", events_pb.ListEventsRequest(filter=events_pb.EventFilter(workflow="\0")), "workflow"),
    ("EventService/ListEvents", events_pb.ListEventsRequest(filter=events_pb.EventFilter(states=[99])), "state"),
    ("EventService/WatchEvents", events_pb.WatchEventsRequest(after_sequence=-1), "after_sequence"),
    ("EventService/WatchEvents", events_pb.WatchEventsRequest(filter=events_pb.EventFilter(job_ids=["x"])), "job_ids"),
    ("SessionService/OpenSession", work_pb.OpenSessionRequest(), "kind"),
    (
        "SessionService/OpenSession",
        work_pb.OpenSessionRequest(session=session_pb2.Session(kind=2, job_mode="fast")),
        "job_mode",
    ),
    (
        "SessionService/OpenSession",
        work_pb.OpenSessionRequest(session=session_pb2.Session(kind=1, host="\0"), request_id=NOT_MINE),
        "host",
    ),
    (
        "SessionService/OpenSession",
        work_pb.OpenSessionRequest(session=session_pb2.Session(kind=1, host="a\nb"), request_id=NOT_MINE),
        "host",
    ),
    ("SessionService/OpenSession", work_pb.OpenSessionRequest(session=session_pb2.Session(kind=1)), "request_id"),
    (
        "SessionService/OpenSession",
        work_pb.OpenSessionRequest(session=session_pb2.Session(kind=1, launch=1), request_id=NOT_MINE),
        "launch",
    ),
    ("SessionService/Work", work_pb.WorkRequest(), "attach"),
]


@pytest.mark.parametrize(
    ("method", "request_", "field"), _BAD_CALLS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_wrong_value_of_a_call_is_refused_and_its_field_named(
    client: Client, method: str, request_: Any, field: str
) -> None:
    with pytest.raises(Refusal) as caught:
        client.call(method, request_)
    assert (caught.value.code, caught.value.field) == ("INVALID_ARGUMENT", field)
    assert "\n" not in caught.value.details


def test_an_update_is_refused_item_by_item(client: Client) -> None:
    good = new_job()
    create(client, good)
    changes = [
        ({"job_id": good.job_id, "priority": 3}, ["priority"], "", 0),
        ({"job_id": "x"}, ["priority"], "job_id", 0),
        ({"job_id": good.job_id}, [], "update_mask", 0),
        ({"job_id": good.job_id}, ["nme"], "nme", 0),
        ({"job_id": good.job_id}, ["owner"], "owner", 0),
        ({"job_id": good.job_id, "num_nodes": 0}, ["num_nodes"], "num_nodes", 0),
        ({"job_id": good.job_id, "name": "new"}, ["name"], "", 77),
        ({"job_id": NOT_MINE}, ["name"], "job_id", 0),
        ({"job_id": good.job_id, "state": S.RUNNING}, ["state"], "state", 0),
    ]
    request = jobs_pb.UpdateJobsRequest()
    for fields, mask, _, expected in changes:
        item = request.updates.add(job=job_pb2.Job(**fields), expected_revision=expected)
        item.update_mask.paths.extend(mask)
    answer = client.call("JobService/UpdateJobs", request)
    assert answer.updated == 1
    assert list(answer.revisions) == [2, *[0] * 8]
    found = sorted((item.index, item.field, item.reason) for item in answer.refusals)
    assert [(index, field) for index, field, _ in found] == [(i, changes[i][2]) for i in range(1, 9)]
    assert [reason for _, _, reason in found][-4:] == ["INVALID_VALUE", "CONFLICT", "NOT_FOUND", "INVALID_STATE"]


def test_what_does_not_exist_is_not_found_and_named(client: Client) -> None:
    for method, request, name in (
        ("JobService/GetJob", jobs_pb.GetJobRequest(job_id=NOT_MINE), NOT_MINE),
        ("ApplicationService/GetApplication", apps_pb.GetApplicationRequest(name="nosuch"), "'nosuch'"),
        ("ApplicationService/DeleteApplication", apps_pb.DeleteApplicationRequest(name="nosuch"), "'nosuch'"),
        ("SessionService/RenewSession", work_pb.RenewSessionRequest(session_id="nosuch"), "'nosuch'"),
        ("SessionService/CloseSession", work_pb.CloseSessionRequest(session_id="nosuch"), "'nosuch'"),
        ("SessionService/RegisterRules", work_pb.RegisterRulesRequest(session_id="nosuch"), "'nosuch'"),
    ):
        with pytest.raises(Refusal) as caught:
            client.call(method, request)
        assert caught.value.code == "NOT_FOUND"
        assert name in caught.value.details


def test_a_change_of_many_jobs_that_some_refuse_changes_the_others(client: Client) -> None:
    wf = f"wf {uuid.uuid4()}"
    jobs = [new_job(f"j{i}", workflow=wf) for i in range(3)]
    create(client, *jobs)
    client.call("JobService/KillJobs", jobs_pb.KillJobsRequest(selector=by_id(jobs[0].job_id)))
    mine = jobs_pb.JobSelector(filter=where("workflow", 1, text(text=wf)))
    moved = client.call("JobService/SetJobState", jobs_pb.SetJobStateRequest(selector=mine, state=S.RUN_DONE))
    assert (moved.updated, moved.refused) == (2, 1)
    assert "stays so" in moved.refusals[0].message

    request = jobs_pb.UpdateMatchingJobsRequest(selector=mine, values=job_pb2.Job(priority=9, application="nosuch"))
    request.update_mask.paths.extend(["priority", "application"])
    answer = client.call("JobService/UpdateMatchingJobs", request)
    assert (answer.updated, answer.refused) == (0, 3)
    found = client.call("JobService/ListJobs", jobs_pb.ListJobsRequest(filter=mine.filter)).jobs
    assert [job.priority for job in found] == [0, 0, 0]

    request.dry_run = True
    assert client.call("JobService/UpdateMatchingJobs", request).updated == 3
    delete = jobs_pb.DeleteJobsRequest(selector=mine, dry_run=True)
    assert client.call("JobService/DeleteJobs", delete).deleted == 3
    delete.dry_run = False
    assert client.call("JobService/DeleteJobs", delete).deleted == 3


# Sessions and their tokens


class Line:
    """An open work stream."""

    def __init__(self, client: Client, session_id: str) -> None:
        self._requests: queue.Queue[Any] = queue.Queue()
        self.send(attach=work_pb.WorkRequest.Attach(session_id=session_id))
        self.answers = client.stream("SessionService/Work", iter(self._requests.get, None))
        self._first = next(self.answers)
        assert self._first.attached

    def send(self, **message: Any) -> None:
        self._requests.put(work_pb.WorkRequest(**message))

    def grants(self) -> list[lease_pb2.Grant]:
        """Grants that came as the line was opened, or else waits for some."""
        return list(self._first.grants or next(answer for answer in self.answers if answer.grants).grants)

    def acknowledged(self, number: int) -> None:
        """Waits until a report is durable."""
        next(answer for answer in self.answers if answer.ack.number >= number)

    def close(self) -> None:
        self.answers.cancel()
        self._requests.put(None)


def test_a_session_is_renewed_at_an_address_of_its_own_by_its_owner_only(shared: Site, client: Client) -> None:
    request = work_pb.OpenSessionRequest(
        session=session_pb2.Session(kind=session_pb2.Session.LAUNCHER, host="here", job_mode="auto"),
        request_id=str(uuid.uuid4()),
    )
    opened = client.call("SessionService/OpenSession", request)
    session = work_pb.RenewSessionRequest(session_id=opened.session.session_id)
    assert stat.S_IMODE(Path(opened.renewal_address.removeprefix("unix:")).stat().st_mode) == 0o600

    def renew(token: str) -> str:
        with grpc.insecure_channel(opened.renewal_address) as channel:
            call = SessionServiceStub(channel).RenewSession
            try:
                call(session, metadata=(("authorization", f"Bearer {token}"),), timeout=10)
            except grpc.RpcError as error:
                return str(error.code().name)  # type: ignore[attr-defined]
        return "OK"

    assert renew(shared.owner_token_file.read_text().strip()) == "OK"
    assert renew("owner.guessed") == "UNAUTHENTICATED"
    client.call("SessionService/CloseSession", work_pb.CloseSessionRequest(session_id=opened.session.session_id))
    assert renew(shared.owner_token_file.read_text().strip()) == "NOT_FOUND"


def open_session(client: Client, kind: int = session_pb2.Session.LAUNCHER, workflow_filter: str = "") -> str:
    session = session_pb2.Session(kind=kind, host="here", job_mode="auto", workflow_filter=workflow_filter)  # type: ignore[arg-type]
    request = work_pb.OpenSessionRequest(session=session, request_id=str(uuid.uuid4()))
    return str(client.call("SessionService/OpenSession", request).session.session_id)


def schedule(client: Client) -> str:
    session_id = open_session(client, session_pb2.Session.SCHEDULER)
    client.call("SessionService/RegisterRules", work_pb.RegisterRulesRequest(session_id=session_id, rules=RULES))
    return session_id


def test_the_token_of_a_run_works_while_it_runs_and_never_for_applications(shared: Site, client: Client) -> None:
    scheduler, launcher = schedule(client), open_session(client, workflow_filter="mine")
    line = Line(client, launcher)
    mine = new_job(workflow="mine")
    create(client, mine)
    line.send(credit=work_pb.WorkRequest.Credit(nodes=1, jobs=1, largest=1))
    (grant,) = line.grants()
    line.send(reports=work_pb.WorkRequest.Reports(number=1, reports=[_report(grant, S.RUNNING)]))
    line.acknowledged(1)

    run = Client(shared, grant.token)
    assert run.call("JobService/GetJob", jobs_pb.GetJobRequest(job_id=mine.job_id)).state == S.RUNNING
    child = new_job("child", parents=[mine.job_id])
    gone = new_job("gone")
    assert create(run, child, gone).created == 2
    update = jobs_pb.UpdateJobsRequest()
    update.updates.add(job=job_pb2.Job(job_id=child.job_id, priority=4)).update_mask.paths.append("priority")
    assert run.call("JobService/UpdateJobs", update).updated == 1
    assert run.call("JobService/DeleteJobs", jobs_pb.DeleteJobsRequest(selector=by_id(gone.job_id))).deleted == 1
    for job_id in (child.job_id, gone.job_id):
        event = client.call("EventService/ListEvents", _events_of(job_id)).events[0]
        assert event.actor == event.SCRIPT

    for method in (
        "ApplicationService/CreateApplication",
        "ApplicationService/UpdateApplication",
        "ApplicationService/DeleteApplication",
        "LaunchService/CreateLaunch",
        "LaunchService/UpdateLaunch",
        "LaunchService/DeleteLaunch",
        "SessionService/OpenSession",
        "SessionService/RegisterRules",
        "SessionService/Work",
    ):
        with pytest.raises(Refusal) as caught:
            run.call(method, empty(method))
        assert caught.value.code == "PERMISSION_DENIED", method

    end = _report(grant, S.RUN_DONE, release=True)
    line.send(reports=work_pb.WorkRequest.Reports(number=2, reports=[end]))
    line.acknowledged(2)
    with pytest.raises(Refusal) as caught:
        run.call("JobService/GetJob", jobs_pb.GetJobRequest(job_id=mine.job_id))
    assert caught.value.code == "UNAUTHENTICATED"
    run.close()
    line.close()
    for session_id in (scheduler, launcher):
        client.call("SessionService/CloseSession", work_pb.CloseSessionRequest(session_id=session_id))


def _report(grant: lease_pb2.Grant, state: State, *, release: bool = False) -> lease_pb2.Report:
    return lease_pb2.Report(lease=grant.lease, passages=[lease_pb2.Passage(state=state.value)], release=release)


def _events_of(*job_ids: str) -> events_pb.ListEventsRequest:
    return events_pb.ListEventsRequest(filter=events_pb.EventFilter(job_ids=job_ids))


def test_the_times_of_a_host_whose_clock_is_wrong_are_corrected(shared: Site, client: Client) -> None:
    scheduler, launcher = schedule(client), open_session(client, workflow_filter="clock")
    line = Line(client, launcher)
    mine = new_job(workflow="clock")
    create(client, mine)
    line.send(credit=work_pb.WorkRequest.Credit(nodes=1, jobs=1, largest=1))
    (grant,) = line.grants()
    report = _report(grant, S.RUNNING)
    their_now = time.time_ns() // 1000 - 300_000_000  # five minutes behind
    report.passages[0].time_us = their_now - 1_000_000
    line.send(reports=work_pb.WorkRequest.Reports(number=1, reports=[report], send_time_us=their_now))
    line.acknowledged(1)
    line.close()
    request = _events_of(mine.job_id)
    running = client.call("EventService/ListEvents", request).events[-1]
    assert list(running.states) == [S.RUNNING]
    early = running.record_time.ToMicroseconds() - running.time.ToMicroseconds()
    assert 1_000_000 <= early < 5_000_000
    for session_id in (scheduler, launcher):
        client.call("SessionService/CloseSession", work_pb.CloseSessionRequest(session_id=session_id))


def test_a_grant_brings_its_program_once_and_again_when_it_has_changed(client: Client) -> None:
    name = f"app {uuid.uuid4()}"
    scheduler, launcher = schedule(client), open_session(client, workflow_filter=name)
    line = Line(client, launcher)
    line.send(credit=work_pb.WorkRequest.Credit(nodes=9, jobs=9, largest=1))
    application = application_pb2.Application(name=name, executable="one", envscript="env.sh", python="/bin/python")
    client.call("ApplicationService/CreateApplication", apps_pb.CreateApplicationRequest(application=application))

    def programs() -> list[tuple[str, str, str]]:
        create(client, new_job(workflow=name, application=name))
        answer = next(answer for answer in line.answers if answer.grants)
        assert all(grant.program_id for grant in answer.grants)
        return [(program.executable, program.envscript, program.python) for program in answer.programs]

    assert programs() == [("one", "env.sh", "/bin/python")]
    assert programs() == []
    application.executable = "two"
    change = apps_pb.UpdateApplicationRequest(application=application, update_mask={"paths": ["executable"]})
    assert client.call("ApplicationService/UpdateApplication", change).revision == 2
    assert programs() == [("two", "env.sh", "/bin/python")]
    line.close()
    for session_id in (scheduler, launcher):
        client.call("SessionService/CloseSession", work_pb.CloseSessionRequest(session_id=session_id))


def test_a_launch_comes_back_as_it_was_given(client: Client) -> None:
    given = launch_pb2.Launch(
        scheduler_id="17",
        project="p",
        queue="debug",
        nodes=4,
        wall_minutes=30,
        job_mode="mpi",
        wf_filter="w*",
        sched_flags="--x",
        command="run.sh",
        state=launch_pb2.Launch.QUEUED,
        prescheduled_only=True,
        from_balsam=False,
        message="Priority",
        batch_system="slurm",
    )
    request = launches_pb.CreateLaunchRequest(launch=given, request_id=str(uuid.uuid4()))
    made = client.call("LaunchService/CreateLaunch", request)
    assert client.call("LaunchService/CreateLaunch", request) == made
    assert client.call("LaunchService/GetLaunch", launches_pb.GetLaunchRequest(launch_id=made.launch_id)) == made
    for name in ("launch_id", "owner", "create_time", "revision"):
        assert getattr(made, name)
        made.ClearField(name)
    assert made == given


def test_a_masked_field_that_is_left_out_goes_back_to_its_default(client: Client) -> None:
    given = launch_pb2.Launch(nodes=4, wall_minutes=30, job_mode="mpi", from_balsam=False, state=3, queue="debug")
    request = launches_pb.CreateLaunchRequest(launch=given, request_id=str(uuid.uuid4()))
    launch_id = client.call("LaunchService/CreateLaunch", request).launch_id
    change = launches_pb.UpdateLaunchRequest(launch=launch_pb2.Launch(launch_id=launch_id), expected_revision=1)
    change.update_mask.paths.extend(["nodes", "wall_minutes", "job_mode", "from_balsam", "state", "queue"])
    launch = client.call("LaunchService/UpdateLaunch", change)
    assert (launch.nodes, launch.wall_minutes, launch.job_mode, launch.from_balsam) == (1, 60, "auto", True)
    assert (launch.state, launch.queue, launch.revision) == (launch_pb2.Launch.PENDING_SUBMISSION, "", 2)
    with pytest.raises(Refusal) as caught:
        client.call("LaunchService/UpdateLaunch", change)
    assert (caught.value.code, caught.value.reason) == ("ABORTED", "CONFLICT")
    client.call("LaunchService/DeleteLaunch", launches_pb.DeleteLaunchRequest(launch_id=launch_id))
    with pytest.raises(Refusal) as caught:
        client.call("LaunchService/GetLaunch", launches_pb.GetLaunchRequest(launch_id=launch_id))
    assert caught.value.code == "NOT_FOUND"


def test_a_job_comes_back_as_it_was_given(client: Client) -> None:
    parent = new_job("parent")
    job = new_job(
        "whole é",
        workflow="deep/er",
        description="line\nline",
        args="--x 'a b'",
        environ_vars={"A": "1:2", "B": ""},
        data='{"x":[1,2.5,null,{"y":"z"}]}',
        parents=[parent.job_id],
        wait_for_parents=False,
        input_files="*.dat [ab]?",
        stage_in_url="local:/in",
        stage_out_url="scp:host:/out",
        stage_out_files="*",
        wall_time_minutes=0,
        num_nodes=2,
        coschedule_num_nodes=3,
        ranks_per_node=4,
        threads_per_rank=5,
        threads_per_core=6,
        cpu_affinity=job_pb2.Job.DEPTH,
        mpi_flags="-x",
        node_packing_count=7,
        gpus_per_rank=0.25,
        priority=-8,
        post_error_handler=True,
        post_timeout_handler=True,
        auto_timeout_retry=False,
        max_restarts=0,
    )
    assert create(client, parent, job).created == 2
    found = client.call("JobService/GetJob", jobs_pb.GetJobRequest(job_id=job.job_id))
    assert json.loads(found.data) == json.loads(job.data)
    for field in job_pb2.Job.DESCRIPTOR.fields[:30]:
        if field.name != "data":
            assert getattr(found, field.name) == getattr(job, field.name), field.name
    assert found.working_directory.endswith(f"/data/deep/er/whole_é_{job.job_id[:8]}")
    assert (found.state, found.revision, found.leased, found.HasField("exit_code")) == (S.CREATED, 1, False, False)
    assert found.create_time.seconds > 1_600_000_000

    listed = client.call(
        "JobService/ListJobs", jobs_pb.ListJobsRequest(filter=where("job_id", 1, text(text=job.job_id)))
    )
    found.ClearField("parents")
    assert list(listed.jobs) == [found]
    only = jobs_pb.ListJobsRequest(filter=where("children", 1, text(text=job.job_id)), read_mask={"paths": ["name"]})
    assert list(client.call("JobService/ListJobs", only).jobs) == [job_pb2.Job(job_id=parent.job_id, name="parent")]


def test_counts_come_by_the_values_of_fields(client: Client) -> None:
    wf = f"wf {uuid.uuid4()}"
    create(client, *[new_job("a", workflow=wf, post_error_handler=i > 0) for i in range(3)])
    request = jobs_pb.CountJobsRequest(
        filter=where("workflow", 1, text(text=wf)),
        group_by=["state", "post_error_handler", "cpu_affinity", "num_nodes"],
    )
    answer = client.call("JobService/CountJobs", request)
    shown = [
        ([value.text or value.boolean or value.integer for value in group.values], group.count)
        for group in answer.groups
    ]
    assert answer.count == 3
    assert shown == [(["CREATED", 0, "none", 1], 1), (["CREATED", True, "none", 1], 2)]


@pytest.mark.parametrize(
    "message",
    [
        {"credit": work_pb.WorkRequest.Credit(nodes=float("nan"), jobs=1)},
        {"credit": work_pb.WorkRequest.Credit(nodes=1, jobs=1, minutes=float("nan"))},
        {
            "reports": work_pb.WorkRequest.Reports(
                number=1, reports=[lease_pb2.Report(passages=[lease_pb2.Passage(state=99)])]
            )
        },
    ],
    ids=["nodes", "minutes", "state"],
)
def test_a_wrong_message_ends_the_line_of_its_session_only(client: Client, message: dict[str, Any]) -> None:
    session_id = open_session(client)
    line = Line(client, session_id)
    line.send(**message)
    with pytest.raises(grpc.RpcError) as caught:
        list(line.answers)
    assert refusal(caught.value).code == "INVALID_ARGUMENT"
    Line(client, session_id).close()
    client.call("SessionService/CloseSession", work_pb.CloseSessionRequest(session_id=session_id))


@pytest.mark.parametrize(
    "rule",
    [
        work_pb.Rule(path=[S.READY]),
        work_pb.Rule(**{"from": S.CREATED}),
        work_pb.Rule(**{"from": S.CREATED}, path=[99]),
        work_pb.Rule(**{"from": S.CREATED}, when=[99], path=[S.READY]),
        work_pb.Rule(**{"from": S.CREATED}, path=[S.RUNNING]),
        work_pb.Rule(**{"from": S.CREATED}, path=[S.FAILED], message="\0"),
    ],
)
def test_a_rule_that_the_graph_does_not_allow_is_refused(client: Client, rule: work_pb.Rule) -> None:
    session_id = open_session(client, session_pb2.Session.SCHEDULER)
    with pytest.raises(Refusal) as caught:
        client.call("SessionService/RegisterRules", work_pb.RegisterRulesRequest(session_id=session_id, rules=[rule]))
    assert caught.value.code == "INVALID_ARGUMENT"
    client.call("SessionService/CloseSession", work_pb.CloseSessionRequest(session_id=session_id))


# Starting


def start(site: Site) -> subprocess.CompletedProcess[str]:
    """Starts a job store that is to refuse."""
    command = [sys.executable, "-m", "balsam_jobstore", "--site", str(site.path)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


def test_a_second_job_store_is_refused_and_the_first_named(shared: Site, client: Client) -> None:
    pid = client.call("SiteService/GetSite", site_service_pb2.GetSiteRequest()).pid
    second = start(shared)
    assert second.returncode == 1
    assert second.stderr.startswith(f"balsam job store: the job store of this site runs already (pid {pid} on ")
    assert second.stderr.count("\n") == 1
    assert serves(shared, "jobstore")


@pytest.mark.parametrize(
    ("database", "message"),
    [
        ("postgresql://me:secret@/db?host=/nowhere", "cannot open the database postgresql+psycopg2://me:***@/db"),
        ("nonsense", "the database URL is not valid"),
    ],
)
def test_a_database_that_cannot_be_opened_is_refused_with_one_line(tmp_path: Path, database: str, message: str) -> None:
    site = make_test_site(tmp_path, database)
    refused = start(site)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith(f"balsam job store: {message}")
    assert refused.stderr.count("\n") == 1
    logged = "".join(path.read_text() for path in site.log.iterdir())
    assert "Traceback" not in logged
    assert "secret" not in logged + refused.stderr
    assert not site.socket("jobstore").exists()


def test_a_database_that_is_newer_than_the_program_is_refused_with_one_line(tmp_path: Path) -> None:
    site = make_test_site(tmp_path)
    database = Database(sqlite_url(site.database))
    migrate(database)
    with database.writer() as connection, connection.begin():
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    refused = start(site)
    assert refused.returncode == 1
    assert refused.stderr.startswith("balsam job store: the database is at revision 9999, which this version")
    assert refused.stderr.count("\n") == 1


# Killed


def test_what_was_acknowledged_is_there_after_a_kill(any_site: Site) -> None:
    acknowledged: list[str] = []
    started = threading.Event()

    def add_jobs(client: Client) -> None:
        while True:
            jobs = [new_job(f"j{len(acknowledged)}") for _ in range(20)]
            try:
                create(client, *jobs)
            except Refusal:
                return
            acknowledged.extend(job.job_id for job in jobs)
            if len(acknowledged) > 400:
                started.set()

    with services(any_site, "jobstore") as running:
        clients = [Client(any_site) for _ in range(3)]
        threads = [threading.Thread(target=add_jobs, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        assert started.wait(60)
        running.kill("jobstore")
        for thread in threads:
            thread.join()
        running.start("jobstore")
        found: list[str] = []
        token = ""
        client = Client(any_site)
        while True:
            request = jobs_pb.ListJobsRequest(page_token=token, read_mask={"paths": ["job_id"]}, page_size=10_000)
            page = client.call("JobService/ListJobs", request)
            found += [job.job_id for job in page.jobs]
            token = page.next_page_token
            if not token:
                break
        assert len(found) == len(set(found))
        assert set(acknowledged) <= set(found)
        assert create(client, new_job(job_id=acknowledged[-1])).existing == 1
        for each in (*clients, client):
            each.close()


def test_a_subscriber_goes_on_after_a_kill_without_gap_or_repeat(any_site: Site) -> None:
    with services(any_site, "jobstore") as running:
        received: list[int] = []
        resume = 0
        for round_ in range(3):
            client = Client(any_site)
            create(client, *[new_job() for _ in range(50)])
            request = events_pb.WatchEventsRequest(after_sequence=resume)
            for answer in client.open("EventService/WatchEvents", request):
                received += [event.sequence for event in answer.events]
                resume = answer.sequence
                if len(received) >= 50 * (round_ + 1):
                    break
            client.close()
            running.kill("jobstore")
            running.start("jobstore")
        assert received == list(range(1, 151))


def test_a_session_and_its_leases_outlive_a_kill(any_site: Site) -> None:
    with services(any_site, "jobstore") as running:
        client = Client(any_site)
        schedule(client)
        launcher = open_session(client)
        line = Line(client, launcher)
        mine = new_job()
        create(client, mine)
        line.send(credit=work_pb.WorkRequest.Credit(nodes=1, jobs=1, largest=1))
        (grant,) = line.grants()
        running.kill("jobstore")
        running.start("jobstore")

        client = Client(any_site)
        client.call("SessionService/RenewSession", work_pb.RenewSessionRequest(session_id=launcher))
        run = Client(any_site, grant.token)
        assert run.call("JobService/GetJob", jobs_pb.GetJobRequest(job_id=mine.job_id)).leased
        line = Line(client, launcher)  # it says that it holds nothing: what was granted comes again
        assert [again.lease for again in line.grants()] == [grant.lease]
        line.close()


@pytest.mark.postgres
def test_a_database_that_stops_and_comes_back_is_waited_for(
    tmp_path: Path, short_directory: Path, postgres_cluster: Cluster
) -> None:
    cluster = Cluster(tmp_path / "pg", short_directory, durable=False)
    log = tmp_path / "postgres.log"
    cluster.start(log)
    site = make_test_site(tmp_path, cluster.url)
    try:
        with services(site, "jobstore"):
            client = Client(site)
            before = new_job("before")
            create(client, before)
            session_id = open_session(client)
            line = Line(client, session_id)
            watch = client.open("EventService/WatchEvents", events_pb.WatchEventsRequest(after_sequence=0))
            assert next(watch).sequence == 0

            cluster.stop(Stop.IMMEDIATE)
            for call in (
                lambda: create(client, new_job("lost")),
                lambda: client.call("JobService/GetJob", jobs_pb.GetJobRequest(job_id=before.job_id)),
                lambda: client.call("SessionService/ListSessions", work_pb.ListSessionsRequest()),
                lambda: client.call("JobService/UpdateJobs", rename(before)),
                lambda: create(client, new_job("lost")),
            ):
                with pytest.raises(Refusal) as caught:
                    call()
                assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", "NO_DATABASE")
            client.call("SessionService/RenewSession", work_pb.RenewSessionRequest(session_id=session_id))

            cluster.start(log)
            after = new_job("after")
            wait_until(lambda: _works(lambda: create(client, after)), what="the job store works again", site=site)
            assert client.call("JobService/GetJob", jobs_pb.GetJobRequest(job_id=before.job_id)).name == "before"
            sequences: list[int] = []
            while len(sequences) < 2:
                sequences += [event.sequence for event in next(watch).events]
            assert sequences == [1, 2]
            line.close()
            Line(client, session_id).close()
            client.close()
    finally:
        cluster.stop(Stop.IMMEDIATE)


def _works(call: Callable[[], object]) -> bool:
    try:
        call()
    except Refusal as refused:
        if (refused.code, refused.reason) == ("UNAVAILABLE", "NO_DATABASE"):
            return False
        raise
    return True
