"""Every rpc, by every role, on what is one's own and on what is somebody else's: made from the descriptors and the
table of rules. A new rpc without a rule, or without a request here, fails."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from balsam.site import Site
from balsam.states import State
from balsam.v1 import (
    application_pb2,
    application_service_pb2,
    archive_service_pb2,
    event_service_pb2,
    job_pb2,
    job_service_pb2,
    launch_pb2,
    launch_service_pb2,
    lease_pb2,
    output_service_pb2,
    query_pb2,
    session_pb2,
    session_service_pb2,
    site_service_pb2,
    user_pb2,
    user_service_pb2,
)
from balsam_jobstore.access import DENIED, METHODS, OWNER, RUN, VIEWER, Check
from balsam_jobstore.postgres import Cluster
from tests.support import people, rpc_client
from tests.support.hands import Hands, Rules
from tests.support.postgres import execute
from tests.support.processes import services
from tests.support.rpc_client import Client, Refusal
from tests.support.sites import make_test_site

jobs_pb, work_pb = job_service_pb2, session_service_pb2
ROLES = (OWNER, "member", VIEWER, RUN)
WORKFLOW = "campaign"
ALLOWED, REFUSED, HIDDEN = "allowed", "refused", "hidden"


@dataclass
class World:
    """A site with an owner, the members ann and bob, the viewer vic, and a run of one of ann's jobs."""

    site: Site
    tokens: dict[str, str]
    """Role -> token; the member is ann, and the run is of her job."""
    strangers: str
    """Token of bob."""
    run: lease_pb2.Grant
    clients: dict[str, Client] = field(default_factory=dict)

    def client(self, token: str) -> Client:
        """The line of somebody."""
        if token not in self.clients:
            self.clients[token] = Client(self.site, token)
        return self.clients[token]

    def of(self, role: str, whose: str) -> Client:
        """The line of the user whose objects a caller in a role finds to be their own, or another's."""
        own = self.tokens[OWNER] if role == OWNER else self.tokens["member"]
        return self.client(own if whose == "own" else self.strangers)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    url = "sqlite"
    if request.param == "postgres":
        cluster: Cluster = request.getfixturevalue("postgres_cluster")
        execute(cluster.url, "CREATE DATABASE world")
        url = cluster.url_of("world")
    site = make_test_site(tmp_path_factory.mktemp("world"), url, lease_seconds=600.0)
    with services(site, "jobstore"):
        yield from _peopled(site)
    if url != "sqlite":
        execute(cluster.url, "DROP DATABASE world WITH (FORCE)")


def _peopled(site: Site) -> Iterator[World]:
    owner = Client(site)
    ann, bob = people.add_user(owner, "ann"), people.add_user(owner, "bob")
    vic = people.add_user(owner, "vic", people.VIEWER)
    rules = Rules(site)
    new_job(Client(site, ann), name="running")
    hands = Hands(site, token=ann)
    run = hands.take()
    tokens = {OWNER: owner.token, "member": ann, VIEWER: vic, RUN: run.token}
    world = World(site, tokens, bob, run)
    yield world
    hands.close()
    rules.close()
    for client in (owner, *world.clients.values()):
        client.close()


# What there is to ask for


def new_job(client: Client, **fields: Any) -> str:
    """Adds a job of somebody; gives its id."""
    job = job_pb2.Job(**({"job_id": str(uuid.uuid4()), "name": "a", "workflow": WORKFLOW} | fields))
    answer = client.call("JobService/CreateJobs", jobs_pb.CreateJobsRequest(jobs=[job]))
    assert not answer.refusals, answer
    return job.job_id


def new_application(client: Client) -> str:
    """Registers an application of somebody; gives its name."""
    name = f"app-{uuid.uuid4()}"
    request = application_service_pb2.CreateApplicationRequest(application={"name": name, "executable": "true"})
    client.call("ApplicationService/CreateApplication", request)
    return name


def new_launch(client: Client) -> int:
    """Records a launch of somebody; gives its number."""
    request = launch_service_pb2.CreateLaunchRequest(launch=launch_pb2.Launch(nodes=1), request_id=str(uuid.uuid4()))
    return int(client.call("LaunchService/CreateLaunch", request).launch_id)


def opening(**fields: Any) -> work_pb.OpenSessionRequest:
    session = session_pb2.Session(kind=session_pb2.Session.LAUNCHER, host="here", job_mode="auto", **fields)
    return work_pb.OpenSessionRequest(session=session, request_id=str(uuid.uuid4()))


def new_session(client: Client) -> str:
    """Opens a session of somebody; gives its id."""
    return str(client.call("SessionService/OpenSession", opening()).session.session_id)


def by_id(*job_ids: str) -> jobs_pb.JobSelector:
    return jobs_pb.JobSelector(ids=jobs_pb.JobSelector.Ids(job_ids=job_ids))


def is_job(job_id: str) -> query_pb2.Filter:
    test = query_pb2.Test(field="job_id", op=query_pb2.Test.EXACT, values=[query_pb2.Value(text=job_id)])
    return query_pb2.Filter(test=test)


def nothing(make: Callable[[], Any]) -> Callable[[Client], Any]:
    """A request that names nothing of anybody."""
    return lambda client: make()


def _user() -> user_service_pb2.AddUserRequest:
    digest = hashlib.sha256(uuid.uuid4().bytes).digest()
    return user_service_pb2.AddUserRequest(
        user=user_pb2.User(name=f"u{uuid.uuid4().hex[:8]}", role=user_pb2.User.MEMBER), token_digest=digest
    )


def _update(client: Client) -> jobs_pb.UpdateJobsRequest:
    job = job_pb2.Job(job_id=new_job(client), priority=1)
    return jobs_pb.UpdateJobsRequest(updates=[{"job": job, "update_mask": {"paths": ["priority"]}}])


def _update_matching(client: Client) -> jobs_pb.UpdateMatchingJobsRequest:
    return jobs_pb.UpdateMatchingJobsRequest(
        selector=by_id(new_job(client)), values=job_pb2.Job(priority=1), update_mask={"paths": ["priority"]}
    )


def _create(client: Client) -> jobs_pb.CreateJobsRequest:
    job = job_pb2.Job(job_id=str(uuid.uuid4()), queued_launch=new_launch(client))
    return jobs_pb.CreateJobsRequest(jobs=[job])


def _application(client: Client) -> application_service_pb2.UpdateApplicationRequest:
    application = application_pb2.Application(name=new_application(client), executable="false")
    return application_service_pb2.UpdateApplicationRequest(
        application=application, update_mask={"paths": ["executable"]}
    )


def _launch(client: Client) -> launch_service_pb2.UpdateLaunchRequest:
    launch = launch_pb2.Launch(launch_id=new_launch(client), nodes=2)
    return launch_service_pb2.UpdateLaunchRequest(launch=launch, update_mask={"paths": ["nodes"]})


REQUESTS: dict[str, Callable[[Client], Any]] = {
    "SiteService/GetSite": nothing(site_service_pb2.GetSiteRequest),
    "JobService/CreateJobs": _create,
    "JobService/GetJob": lambda client: jobs_pb.GetJobRequest(job_id=new_job(client)),
    "JobService/ListJobs": lambda client: jobs_pb.ListJobsRequest(filter=is_job(new_job(client))),
    "JobService/CountJobs": lambda client: jobs_pb.CountJobsRequest(filter=is_job(new_job(client))),
    "JobService/UpdateJobs": _update,
    "JobService/UpdateMatchingJobs": _update_matching,
    "JobService/SetJobState": lambda client: jobs_pb.SetJobStateRequest(
        selector=by_id(new_job(client)), state=job_pb2.Job.State.ValueType(State.FAILED)
    ),
    "JobService/KillJobs": lambda client: jobs_pb.KillJobsRequest(selector=by_id(new_job(client))),
    "JobService/DeleteJobs": lambda client: jobs_pb.DeleteJobsRequest(selector=by_id(new_job(client))),
    "JobService/ChangeDependencies": lambda client: jobs_pb.ChangeDependenciesRequest(
        add=[jobs_pb.Dependency(parent_id=new_job(client), child_id=new_job(client))]
    ),
    "ApplicationService/CreateApplication": nothing(
        lambda: application_service_pb2.CreateApplicationRequest(
            application={"name": str(uuid.uuid4()), "executable": "true"}
        )
    ),
    "ApplicationService/GetApplication": lambda client: application_service_pb2.GetApplicationRequest(
        name=new_application(client)
    ),
    "ApplicationService/ListApplications": nothing(application_service_pb2.ListApplicationsRequest),
    "ApplicationService/UpdateApplication": _application,
    "ApplicationService/DeleteApplication": lambda client: application_service_pb2.DeleteApplicationRequest(
        name=new_application(client)
    ),
    "LaunchService/CreateLaunch": nothing(
        lambda: launch_service_pb2.CreateLaunchRequest(launch={"nodes": 1}, request_id=str(uuid.uuid4()))
    ),
    "LaunchService/GetLaunch": lambda client: launch_service_pb2.GetLaunchRequest(launch_id=new_launch(client)),
    "LaunchService/ListLaunches": nothing(launch_service_pb2.ListLaunchesRequest),
    "LaunchService/UpdateLaunch": _launch,
    "LaunchService/DeleteLaunch": lambda client: launch_service_pb2.DeleteLaunchRequest(launch_id=new_launch(client)),
    "EventService/ListEvents": lambda client: event_service_pb2.ListEventsRequest(
        filter=event_service_pb2.EventFilter(job_ids=[new_job(client)])
    ),
    "EventService/WatchEvents": nothing(event_service_pb2.WatchEventsRequest),
    "SessionService/OpenSession": lambda client: opening(launch=new_launch(client)),
    "SessionService/RenewSession": lambda client: work_pb.RenewSessionRequest(session_id=new_session(client)),
    "SessionService/CloseSession": lambda client: work_pb.CloseSessionRequest(session_id=new_session(client)),
    "SessionService/ListSessions": nothing(work_pb.ListSessionsRequest),
    "SessionService/RegisterRules": lambda client: work_pb.RegisterRulesRequest(session_id=new_session(client)),
    "SessionService/Work": lambda client: work_pb.WorkRequest(
        attach=work_pb.WorkRequest.Attach(session_id=new_session(client))
    ),
    "SessionService/RecoverReports": lambda client: work_pb.RecoverReportsRequest(session_id=new_session(client)),
    "OutputService/ReadOutput": lambda client: output_service_pb2.ReadOutputRequest(job_id=new_job(client)),
    "OutputService/SendOutput": lambda client: output_service_pb2.SendOutputRequest(session_id=new_session(client)),
    "ArchiveService/ExportJobs": nothing(lambda: archive_service_pb2.ExportJobsRequest(header_only=True)),
    "ArchiveService/ImportJobs": nothing(archive_service_pb2.ImportJobsRequest),
    "ArchiveService/RemoveArchivedJobs": nothing(archive_service_pb2.RemoveArchivedJobsRequest),
    "UserService/AddUser": nothing(_user),
    "UserService/DropUser": nothing(lambda: user_service_pb2.DropUserRequest(name="nobody")),
    "UserService/ListUsers": nothing(user_service_pb2.ListUsersRequest),
    "UserService/ListConnections": nothing(user_service_pb2.ListConnectionsRequest),
    "UserService/ListAuditEntries": nothing(user_service_pb2.ListAuditEntriesRequest),
}
"""Method -> what makes a request that is about an object of whoever has this line."""


def test_every_method_is_asked_for() -> None:
    assert REQUESTS.keys() == rpc_client.METHODS.keys() == METHODS.keys()


def expected(method: str, role: str, whose: str) -> str:
    """What the table of rules says."""
    rule = METHODS[method]
    if role not in rule.roles:
        return REFUSED
    if role == OWNER or whose == "own" or rule.check is Check.NOTHING:
        return ALLOWED
    if rule.check is Check.READ_JOBS:
        return HIDDEN if role == RUN and "Watch" not in method else ALLOWED
    return REFUSED


def outcome(client: Client, method: str, request: Any) -> str:
    """What came of a call."""
    try:
        answer = client.call(method, request)
    except Refusal as refusal:
        if method == "JobService/GetJob" and refusal.code == "NOT_FOUND":
            return HIDDEN
        return REFUSED if refusal.reason == DENIED else ALLOWED if refusal.reason else refusal.code
    refusals = getattr(answer, "refusals", ())
    if any(refusal.reason == DENIED for refusal in refusals):
        return REFUSED
    assert not refusals, refusals
    found = {"ListJobs": "jobs", "CountJobs": "count", "ListEvents": "events"}.get(method.partition("/")[2])
    return HIDDEN if found and not getattr(answer, found) else ALLOWED


@pytest.mark.parametrize("whose", ["own", "other"])
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("method", METHODS)
def test_each_role_may_do_what_the_table_says(world: World, method: str, role: str, whose: str) -> None:
    request = REQUESTS[method](world.of(role, whose))
    assert outcome(world.client(world.tokens[role]), method, request) == expected(method, role, whose)


def test_a_refusal_names_the_job_and_its_owner_and_stops_no_other_item(world: World) -> None:
    ann = world.client(world.tokens["member"])
    ids = [new_job(ann), new_job(world.client(world.strangers), name="his"), new_job(ann)]
    killed = ann.call("JobService/KillJobs", jobs_pb.KillJobsRequest(selector=by_id(*ids)))
    assert (killed.killed, killed.refused) == (2, 1)
    (refusal,) = killed.refusals
    assert (refusal.job_id, refusal.reason) == (ids[1], DENIED)
    assert refusal.message == f"job his ({ids[1][:8]}) belongs to bob, not to ann"


def test_what_is_refused_is_in_the_log_of_the_job_store(world: World) -> None:
    eve = people.add_user(world.client(world.tokens[OWNER]), "eve")
    theirs = new_job(world.client(world.strangers), name="his")
    requests = jobs_pb.KillJobsRequest(selector=by_id(theirs)), jobs_pb.DeleteJobsRequest(selector=by_id(theirs))
    for method, request in zip(("JobService/KillJobs", "JobService/DeleteJobs"), requests, strict=True):
        assert world.client(eve).call(method, request).refused == 1
    for method, token in (("UserService/ListUsers", eve), ("ApplicationService/DeleteApplication", "user.wrong")):
        with pytest.raises(Refusal):
            world.client(token).call(method, rpc_client.empty(method))
    lines = [line for line in (world.site.log / "jobstore.log").read_text().splitlines() if " refused " in line]
    of_eve = [line.partition(" refused ")[2] for line in lines if "eve (member)" in line]
    why = f"job his ({theirs[:8]}) belongs to bob, not to eve"
    assert of_eve == [
        f"JobService/KillJobs to eve (member) at the Unix socket: {why}",
        f"JobService/DeleteJobs to eve (member) at the Unix socket: {why}",
        "UserService/ListUsers to eve (member) at the Unix socket: UserService/ListUsers is not allowed to a member "
        "token",
    ]
    assert any("to who has no valid token at the Unix socket: no valid token for this site" in line for line in lines)


def test_a_member_opens_no_session_for_a_launch_that_is_still_to_come(world: World) -> None:
    session = session_pb2.Session(kind=session_pb2.Session.LAUNCHER, host="here", job_mode="auto", launch=999)
    request = work_pb.OpenSessionRequest(session=session, request_id=str(uuid.uuid4()))
    with pytest.raises(Refusal) as caught:
        world.client(world.tokens["member"]).call("SessionService/OpenSession", request)
    assert (caught.value.code, caught.value.field) == ("NOT_FOUND", "launch_id")


def test_a_filter_takes_one_s_own_and_counts_the_others(world: World) -> None:
    workflow = str(uuid.uuid4())
    ann, bob = world.client(world.tokens["member"]), world.client(world.strangers)
    for client in (ann, ann, bob, world.client(world.tokens[OWNER])):
        new_job(client, workflow=workflow)
    test = query_pb2.Test(field="workflow", op=query_pb2.Test.EXACT, values=[query_pb2.Value(text=workflow)])
    selector = jobs_pb.JobSelector(filter=query_pb2.Filter(test=test))
    change: dict[str, Any] = {"values": job_pb2.Job(priority=5), "update_mask": {"paths": ["priority"]}}
    update = jobs_pb.UpdateMatchingJobsRequest(selector=selector, dry_run=True, **change)
    assert ann.call("JobService/UpdateMatchingJobs", update).updated == 2
    update.dry_run = False
    updated = ann.call("JobService/UpdateMatchingJobs", update)
    assert (updated.updated, updated.refused, updated.refusals[0].reason) == (2, 2, DENIED)
    killed = ann.call("JobService/KillJobs", jobs_pb.KillJobsRequest(selector=selector))
    assert (killed.killed, killed.refused) == (2, 2)
    trial = ann.call("JobService/DeleteJobs", jobs_pb.DeleteJobsRequest(selector=selector, dry_run=True))
    deleted = ann.call("JobService/DeleteJobs", jobs_pb.DeleteJobsRequest(selector=selector))
    assert (trial.deleted, trial.refused, deleted.deleted, deleted.refused) == (2, 2, 2, 2)
    left = bob.call("JobService/ListJobs", jobs_pb.ListJobsRequest(filter=selector.filter)).jobs
    assert [(job.priority, State(job.state)) for job in left] == [(0, State.PREPROCESSED)] * 2
    everything = world.client(world.tokens[OWNER]).call(
        "JobService/DeleteJobs", jobs_pb.DeleteJobsRequest(selector=selector)
    )
    assert (everything.deleted, everything.refused) == (2, 0)


def test_a_kill_goes_through_what_belongs_to_others_and_leaves_it(world: World) -> None:
    ann, bob = world.client(world.tokens["member"]), world.client(world.strangers)
    top = new_job(ann)
    middle = new_job(bob, parents=[top], wait_for_parents=False)  # his may wait for hers
    bottom = new_job(ann, parents=[middle])
    killed = ann.call("JobService/KillJobs", jobs_pb.KillJobsRequest(selector=by_id(top), recursive=True))
    assert (killed.killed, [refusal.job_id for refusal in killed.refusals]) == (2, [middle])
    states = {
        job_id: State(ann.call("JobService/GetJob", jobs_pb.GetJobRequest(job_id=job_id)).state)
        for job_id in (top, middle, bottom)
    }
    assert states == {top: State.USER_KILLED, middle: State.PREPROCESSED, bottom: State.USER_KILLED}


def test_a_member_waits_for_a_job_of_another_and_changes_no_parents_of_theirs(world: World) -> None:
    ann = world.client(world.tokens["member"])
    mine, his = new_job(ann), new_job(world.client(world.strangers))
    request = jobs_pb.ChangeDependenciesRequest(
        add=[jobs_pb.Dependency(parent_id=his, child_id=mine), jobs_pb.Dependency(parent_id=mine, child_id=his)]
    )
    answer = ann.call("JobService/ChangeDependencies", request)
    assert (answer.added, [refusal.reason for refusal in answer.refusals]) == (1, [DENIED])


def test_a_run_changes_its_workflow_what_it_added_and_what_descends_from_both(world: World) -> None:
    ann, run = world.client(world.tokens["member"]), world.client(world.tokens[RUN])
    added = new_job(run, workflow="elsewhere")
    far = new_job(ann, workflow="elsewhere")
    below_added = new_job(ann, workflow="elsewhere", parents=[added])
    below_own = new_job(ann, workflow="elsewhere", parents=[new_job(ann, workflow="other", parents=[new_job(ann)])])
    jobs = [world.run.job.job_id, new_job(ann), added, below_added, below_own, far]
    update = jobs_pb.UpdateMatchingJobsRequest(
        selector=by_id(*jobs), values=job_pb2.Job(data="{}"), update_mask={"paths": ["data"]}
    )
    answer = run.call("JobService/UpdateMatchingJobs", update)
    assert answer.updated == 5
    assert [(refusal.job_id, refusal.reason) for refusal in answer.refusals] == [(far, DENIED)]
    assert "beyond what this run may change" in answer.refusals[0].message
    assert run.call("JobService/GetJob", jobs_pb.GetJobRequest(job_id=added)).owner == "ann"


def test_a_run_makes_no_job_wait_for_one_of_another_user(world: World) -> None:
    his = new_job(world.client(world.strangers))
    job = job_pb2.Job(job_id=str(uuid.uuid4()), parents=[his])
    run = world.client(world.tokens[RUN])
    (refusal,) = run.call("JobService/CreateJobs", jobs_pb.CreateJobsRequest(jobs=[job])).refusals
    assert (refusal.reason, "belongs to bob" in refusal.message) == (DENIED, True)


def test_a_run_sees_the_events_of_its_user_only(world: World) -> None:
    run = world.client(world.tokens[RUN])
    his, mine = new_job(world.client(world.strangers)), new_job(world.client(world.tokens["member"]))
    found: set[str] = set()
    stream = run.open("EventService/WatchEvents", event_service_pb2.WatchEventsRequest(after_sequence=0))
    for answer in stream:
        found |= {event.job_id for event in answer.events}
        if mine in found:
            break
    stream.cancel()
    assert his not in found


@pytest.mark.parametrize("user", ["owner", "ann"])
def test_a_job_has_no_application_that_a_stranger_may_change(world: World, user: str) -> None:
    """Who runs the job would run whatever the owner of the application makes of it."""
    client = world.client(world.tokens[OWNER if user == "owner" else "member"])
    his, the_owners = new_application(world.client(world.strangers)), new_application(world.client(world.tokens[OWNER]))
    job = job_pb2.Job(job_id=str(uuid.uuid4()), application=his)
    (refusal,) = client.call("JobService/CreateJobs", jobs_pb.CreateJobsRequest(jobs=[job])).refusals
    assert (refusal.reason, refusal.field) == (DENIED, "application")
    job_id = new_job(client, application=the_owners)
    change = jobs_pb.JobUpdate(job=job_pb2.Job(job_id=job_id, application=his), update_mask={"paths": ["application"]})
    (refusal,) = client.call("JobService/UpdateJobs", jobs_pb.UpdateJobsRequest(updates=[change])).refusals
    assert "belongs to bob" in refusal.message


SLOW: list[dict[str, Any]] = [
    {"stage_in_url": "/etc/hostname"},
    {"stage_out_url": "/tmp/x", "stage_out_files": "*"},
    {"input_files": "*", "parents": ["some"]},
    {"application": "scripts"},
]


@pytest.mark.parametrize("fields", SLOW, ids=lambda fields: min(fields))
def test_jobs_of_members_may_need_scripts_and_staging(world: World, fields: dict[str, Any]) -> None:
    """Their launchers do them."""
    owner, ann = world.client(world.tokens[OWNER]), world.client(world.tokens["member"])
    values = dict(fields)
    if "parents" in values:
        values["parents"] = [new_job(ann)]
    if "application" in values:
        values["application"] = new_application(owner)
        change = application_service_pb2.UpdateApplicationRequest(
            application={"name": values["application"], "preprocess": "true"}, update_mask={"paths": ["preprocess"]}
        )
        owner.call("ApplicationService/UpdateApplication", change)
    assert new_job(ann, **values)
    update = jobs_pb.JobUpdate(job=job_pb2.Job(job_id=new_job(ann), **values), update_mask={"paths": list(values)})
    assert not ann.call("JobService/UpdateJobs", jobs_pb.UpdateJobsRequest(updates=[update])).refusals


def test_a_member_opens_no_session_of_a_scheduler(world: World) -> None:
    request = opening()
    request.session.kind = session_pb2.Session.SCHEDULER
    with pytest.raises(Refusal) as caught:
        world.client(world.tokens["member"]).call("SessionService/OpenSession", request)
    assert caught.value.code == "PERMISSION_DENIED"


def test_a_launcher_trusts_users_that_there_are(world: World) -> None:
    with pytest.raises(Refusal) as caught:
        world.client(world.tokens["member"]).call("SessionService/OpenSession", opening(trusted_users=["nobody"]))
    assert (caught.value.code, caught.value.field) == ("INVALID_ARGUMENT", "trusted_users")


def test_the_history_says_who_did_what_and_through_what(world: World, tmp_path: Path) -> None:
    owner = world.client(world.tokens[OWNER])
    added = new_job(world.client(world.tokens[RUN]))
    owner.call("JobService/KillJobs", jobs_pb.KillJobsRequest(selector=by_id(added)))
    request = event_service_pb2.ListEventsRequest(filter=event_service_pb2.EventFilter(job_ids=[added]))
    events = owner.call("EventService/ListEvents", request).events
    told = [(State(event.states[-1]).name, event.user, event.run_job_id) for event in events]
    assert told[0] == ("CREATED", "ann", world.run.job.job_id)
    assert told[-1] == ("USER_KILLED", "", "")
    assert {user for _, user, _ in told[1:]} == {""}  # what followed by rule was nobody's doing


def test_the_audit_trail_holds_changes_with_and_without_events(world: World) -> None:
    owner, ann, run = (world.client(world.tokens[role]) for role in (OWNER, "member", RUN))
    mine = [new_job(ann) for _ in range(2)]
    update = jobs_pb.UpdateMatchingJobsRequest(
        selector=by_id(*mine), values=job_pb2.Job(priority=3), update_mask={"paths": ["priority"]}
    )
    run.call("JobService/UpdateMatchingJobs", update)
    ann.call("JobService/DeleteJobs", jobs_pb.DeleteJobsRequest(selector=by_id(mine[0])))
    name = new_application(ann)
    request = user_service_pb2.ListAuditEntriesRequest(page_size=4)
    entries = owner.call("UserService/ListAuditEntries", request).entries
    told = [(entry.user, entry.action, list(entry.objects), entry.count, entry.detail) for entry in entries]
    assert told == [
        ("ann", "CreateApplication", [name], 1, "true"),
        ("ann", "DELETED", [mine[0]], 1, ""),
        ("ann", "UpdateMatchingJobs", mine, 2, "priority"),
        ("ann", "CREATED", [mine[1]], 1, ""),
    ]
    assert [entry.run_job_id for entry in entries] == ["", "", world.run.job.job_id, ""]


def test_connections_are_sessions_and_open_streams(world: World) -> None:
    ann = world.client(world.tokens["member"])
    stream = ann.open("EventService/WatchEvents", event_service_pb2.WatchEventsRequest())
    next(stream)
    answer = world.client(world.tokens[OWNER]).call(
        "UserService/ListConnections", user_service_pb2.ListConnectionsRequest()
    )
    stream.cancel()
    found = {(one.user, one.through) for one in answer.connections}
    assert {("ann", "launcher"), ("ann", "SessionService/Work"), ("ann", "EventService/WatchEvents")} <= found
    assert any(one.through == "launcher" and one.peer == "here (pid 1)" for one in answer.connections)
