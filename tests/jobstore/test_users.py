"""Users: tokens that are given, replaced, revoked and expire, and whose jobs launchers take."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from balsam.serving import Caller
from balsam.site import Site
from balsam.states import Actor, State
from balsam.v1 import (
    event_service_pb2,
    job_pb2,
    job_service_pb2,
    session_service_pb2,
    site_service_pb2,
    user_pb2,
    user_service_pb2,
)
from balsam_jobstore import auditing, creation
from balsam_jobstore.access import MEMBER, OWNER
from balsam_jobstore.auditing import AuditAge
from balsam_jobstore.rights import Rights
from balsam_jobstore.sessions import STEP_WORKER
from balsam_scheduler.rules import SLOW_STATES
from tests.support import people
from tests.support.hands import Hands, Rules
from tests.support.processes import Services, services
from tests.support.rpc_client import Client, Refusal
from tests.support.sites import make_test_site, wait_until
from tests.support.store import Bench, Worker, job

pb = user_service_pb2
A_SECOND = 1.0


@pytest.fixture
def any_services(any_site: Site) -> Iterator[Services]:
    with services(any_site, "jobstore") as running:
        yield running


@pytest.fixture
def owner(any_services: Services) -> Iterator[Client]:
    client = Client(any_services.site)
    yield client
    client.close()


def ask(site: Site, token: str) -> str:
    """The name that a token stands for, or why it is not good."""
    client = Client(site, token)
    try:
        return str(client.call("SiteService/GetSite", site_service_pb2.GetSiteRequest()).user)
    except Refusal as refusal:
        return refusal.details if refusal.code == "UNAUTHENTICATED" else refusal.code
    finally:
        client.close()


def test_a_token_that_was_revoked_or_replaced_is_not_good_from_then_on(any_services: Services, owner: Client) -> None:
    site = any_services.site
    first = people.add_user(owner, "ann")
    assert ask(site, first) == "ann"
    second = people.add_user(owner, "ann", people.VIEWER)
    assert "wrong, or was replaced" in ask(site, first)
    assert ask(site, second) == "ann"
    owner.call("UserService/DropUser", pb.DropUserRequest(name="ann"))
    assert "was revoked" in ask(site, second)
    any_services.kill("jobstore")
    any_services.start("jobstore")
    assert "was revoked" in ask(site, second)
    third = people.add_user(owner, "ann")
    assert (ask(site, second)[:14], ask(site, third)) == ("no valid token", "ann")


def test_a_token_expires(any_services: Services, owner: Client) -> None:
    token = people.add_user(owner, "ann", seconds=2)
    stream = watching(any_services.site, token)
    assert ask(any_services.site, token) == "ann"
    wait_until(lambda: "has expired" in ask(any_services.site, token), 10)
    assert ended_with(stream) == "UNAUTHENTICATED"


def watching(site: Site, token: str) -> Any:
    stream = Client(site, token).open("EventService/WatchEvents", event_service_pb2.WatchEventsRequest())
    next(stream)
    return stream


def ended_with(stream: Any) -> str:
    """The status with which a stream ends."""
    with pytest.raises(grpc.RpcError) as caught:
        for _ in stream:
            pass
    return str(caught.value.code().name)  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", ["dropped", "replaced"])
def test_open_streams_of_a_revoked_token_end_within_a_second(any_services: Services, owner: Client, how: str) -> None:
    token, other = people.add_user(owner, "ann"), people.add_user(owner, "bob")
    streams = [watching(any_services.site, token), watching(any_services.site, token)]
    his = watching(any_services.site, other)
    start = time.monotonic()
    if how == "dropped":
        owner.call("UserService/DropUser", pb.DropUserRequest(name="ann"))
    else:
        people.add_user(owner, "ann")
    assert [ended_with(stream) for stream in streams] == ["UNAUTHENTICATED"] * 2
    assert time.monotonic() - start < A_SECOND
    assert his.is_active()
    his.cancel()


def test_streams_that_a_run_has_opened_end_with_it(any_services: Services, owner: Client) -> None:
    site = any_services.site
    rules = Rules(site)
    token = people.add_user(owner, "ann")
    add(site, token, "a")
    hands = Hands(site, token=token)
    run = hands.take()
    stream = watching(site, run.token)
    assert hands.report(run, State.RUNNING)
    assert stream.is_active()
    assert hands.report(run, State.RUN_DONE, release=True)
    assert ended_with(stream) == "UNAUTHENTICATED"
    assert "has ended" in stream.details()
    rules.close()


def test_a_half_sent_call_of_a_revoked_token_ends_and_adds_nothing(any_services: Services, owner: Client) -> None:
    token = people.add_user(owner, "ann")
    import threading

    revoked = threading.Event()

    def messages() -> Iterator[Any]:
        yield job_service_pb2.CreateJobsRequest(jobs=[job_pb2.Job(job_id=str(uuid.uuid4()))], atomic=True)
        revoked.wait(10)

    call = Client(any_services.site, token)
    future = call._channel.stream_unary(  # type: ignore[attr-defined]
        "/balsam.v1.JobService/CreateJobs", job_service_pb2.CreateJobsRequest.SerializeToString
    ).future(messages(), metadata=[("authorization", f"Bearer {token}")])
    connections = pb.ListConnectionsRequest()
    wait_until(lambda: any(c.user == "ann" for c in owner.call("UserService/ListConnections", connections).connections))
    owner.call("UserService/DropUser", pb.DropUserRequest(name="ann"))
    assert future.exception(timeout=10).code() is grpc.StatusCode.UNAUTHENTICATED
    revoked.set()
    assert owner.call("SiteService/GetSite", site_service_pb2.GetSiteRequest()).jobs == 0


def test_the_token_itself_is_nowhere(any_services: Services, owner: Client, tmp_path: Path) -> None:
    """In no log, row, answer or file: neither a user's nor the owner's, nor what a caller guesses."""
    site = any_services.site
    tokens = [people.add_user(owner, "ann"), people.new_token(), owner.token]
    for token in tokens[:2]:
        ask(site, token)
    shown = owner.call("UserService/ListUsers", pb.ListUsersRequest())
    audit = owner.call("UserService/ListAuditEntries", pb.ListAuditEntriesRequest())
    any_services.stop("jobstore")
    contents = [str(shown).encode(), str(audit).encode()]
    files = [path for path in site.path.rglob("*") if path.is_file() and path.parent != site.credentials]
    contents += [path.read_bytes() for path in files]
    for token in tokens:
        secret = token.partition(".")[2].encode()
        assert not [content for content in contents if secret in content]
    any_services.start("jobstore")


BAD: list[tuple[dict[str, Any], str]] = [
    ({"user": user_pb2.User(name="", role=1)}, "name"),
    ({"user": user_pb2.User(name="-x", role=1)}, "name"),
    ({"user": user_pb2.User(name="a b", role=1)}, "name"),
    ({"user": user_pb2.User(name="x" * 65, role=1)}, "name"),
    ({"user": user_pb2.User(name="a\0", role=1)}, "name"),
    ({"user": user_pb2.User(name="é", role=1)}, "name"),
    ({"user": user_pb2.User(name="ann", role=0)}, "role"),
    ({"user": user_pb2.User(name="ann", role=7)}, "role"),  # type: ignore[arg-type]
    ({"user": user_pb2.User(name="ann", role=1), "token_digest": b"short"}, "token_digest"),
    ({"user": user_pb2.User(name="ann", role=1), "expire_seconds": -1}, "expire_seconds"),
    ({"user": user_pb2.User(name="ann", role=1), "expire_seconds": 2**62}, "expire_seconds"),
]


def test_what_makes_no_user_is_refused(any_services: Services, owner: Client) -> None:
    for values, field in BAD:
        with pytest.raises(Refusal) as caught:
            owner.call("UserService/AddUser", pb.AddUserRequest(**({"token_digest": b"x" * 32} | values)))
        assert (caught.value.code, caught.value.field) == ("INVALID_ARGUMENT", field), values
    me = owner.call("SiteService/GetSite", site_service_pb2.GetSiteRequest()).user
    with pytest.raises(Refusal) as caught:
        people.add_user(owner, me)
    assert "is the owner of the site" in caught.value.details
    with pytest.raises(Refusal) as caught:
        owner.call("UserService/DropUser", pb.DropUserRequest(name="nobody"))
    assert caught.value.code == "NOT_FOUND"
    assert owner.call("UserService/ListUsers", pb.ListUsersRequest()).users == []


def test_a_member_s_session_is_renewed_by_nobody_else_and_not_after_the_end_of_the_token(
    any_services: Services, owner: Client
) -> None:
    site = any_services.site
    tokens = {name: people.add_user(owner, name) for name in ("ann", "bob")}
    hands = Hands(site, token=tokens["ann"])
    request = session_service_pb2.RenewSessionRequest(session_id=hands.session_id)

    def renew(token: str) -> str:
        with grpc.insecure_channel(site.address("renewals")) as channel:
            call = channel.unary_unary(
                "/balsam.v1.SessionService/RenewSession", session_service_pb2.RenewSessionRequest.SerializeToString
            )
            try:
                call(request, metadata=[("authorization", f"Bearer {token}")], timeout=10)
            except grpc.RpcError as error:
                return str(error.code().name)  # type: ignore[attr-defined]
        return "OK"

    assert [renew(token) for token in (tokens["ann"], tokens["bob"], owner.token)] == ["OK", "PERMISSION_DENIED", "OK"]
    owner.call("UserService/DropUser", pb.DropUserRequest(name="ann"))
    assert renew(tokens["ann"]) == "UNAUTHENTICATED"


# Whose jobs a launcher takes


def add(site: Site, token: str, name: str, **fields: Any) -> str:
    client = Client(site, token)
    new = job_pb2.Job(job_id=str(uuid.uuid4()), name=name, **fields)
    answer = client.call("JobService/CreateJobs", job_service_pb2.CreateJobsRequest(jobs=[new]))
    assert not answer.refusals, answer
    client.close()
    return new.job_id


def test_launchers_take_the_jobs_of_their_user_and_of_whom_the_owner_lists(
    any_services: Services, owner: Client
) -> None:
    site = any_services.site
    tokens = {name: people.add_user(owner, name) for name in ("ann", "bob", "cid")}
    rules = Rules(site)
    add(site, owner.token, "the owner's", priority=9)
    for name, token in tokens.items():
        add(site, token, f"{name}'s", priority=5 if name == "bob" else 0)
    ann = Hands(site, token=tokens["ann"])
    assert ann.take().job.name == "ann's"
    mine = Hands(site, trusted_users=["bob"])
    assert [mine.take().job.name, mine.take().job.name] == ["the owner's", "bob's"]
    add(site, owner.token, "more")
    assert mine.take().job.name == "more"  # and not cid's, which nobody takes
    cid = Hands(site, token=tokens["cid"])
    assert cid.take().job.name == "cid's"
    for hands in (ann, mine, cid):
        hands.close()
    rules.close()


def test_a_member_runs_the_jobs_of_others_only_where_the_owner_allows_it(tmp_path: Path) -> None:
    """The token of a run adds jobs for its job's user: with one of the owner's, a member would have their account."""
    site = make_test_site(tmp_path, shared_owners="bob")
    with services(site, "jobstore"):
        client = Client(site)
        ann, bob, cid = (people.add_user(client, name) for name in ("ann", "bob", "cid"))
        rules = Rules(site)
        for token, name in ((client.token, "the owner's"), (bob, "bob's"), (cid, "cid's")):
            add(site, token, name)
        me = client.call("SiteService/GetSite", site_service_pb2.GetSiteRequest()).user
        for name in ("cid", me):
            with pytest.raises(Refusal) as caught:
                Hands(site, token=ann, trusted_users=["bob", name])
            assert (caught.value.code, caught.value.field) == ("PERMISSION_DENIED", "trusted_users")
            assert f"may not run the jobs of {name}" in caught.value.details
        hands = Hands(site, token=ann, trusted_users=["bob", "ann"])
        assert hands.take().job.name == "bob's"
        hands.close()
        rules.close()
        client.close()


def test_the_owner_lists_users_in_a_setting(tmp_path: Path) -> None:
    site = make_test_site(tmp_path, trusted_owners="ann nobody")
    with services(site, "jobstore"):
        client = Client(site)
        token = people.add_user(client, "ann")
        rules = Rules(site)
        add(site, token, "ann's", stage_in_url="")
        add(site, token, "staged", stage_in_url="/etc/hostname")  # the scheduler does it, in the owner's account
        hands = Hands(site)
        assert hands.take().job.name == "ann's"
        hands.close()
        rules.close()
        client.close()


def test_a_revoked_user_s_run_has_no_token_any_more(any_services: Services, owner: Client) -> None:
    site = any_services.site
    token = people.add_user(owner, "ann")
    rules = Rules(site)
    add(site, token, "a")
    hands = Hands(site, token=token)
    run = hands.take()
    assert ask(site, run.token) == "ann"
    owner.call("UserService/DropUser", pb.DropUserRequest(name="ann"))
    assert "may not use the site any more" in ask(site, run.token)
    rules.close()


def test_the_streams_of_a_run_end_with_it(any_services: Services, owner: Client) -> None:
    """Whoever has its token could else add jobs by one for as long as they like."""
    site = any_services.site
    rules, hands = Rules(site), Hands(site)
    add(site, owner.token, "a")
    run = hands.take()
    stream, others = watching(site, run.token), watching(site, owner.token)
    hands.report(run, State.RUNNING)
    assert stream.is_active()
    hands.report(run, State.RUN_DONE, release=True)
    assert ended_with(stream) == "UNAUTHENTICATED"
    assert others.is_active()
    others.cancel()
    hands.close()
    rules.close()


def rights(key: int) -> Rights:
    from balsam_jobstore.users import Users

    return Rights(Caller("ann", MEMBER if key > 1 else OWNER, user_key=key), Users("me"))


def create_for(bench: Bench, key: int, *names: str, **fields: Any) -> None:
    new = [job(name, **fields) for name in names]
    bench.do(lambda tx: creation.create(tx, new, owner=f"user{key}", actor=Actor.USER, atomic=True, rights=rights(key)))


def test_jobs_of_several_users_come_in_one_order(bench: Bench) -> None:
    for key, names in ((1, ["a1", "b1"]), (2, ["a2", "b2"]), (3, ["a3"])):
        create_for(bench, key, names[0], priority=key)
        create_for(bench, key, *names[1:], priority=10 * key)
    worker = bench.launcher(owner_key=2, trusted="1", nodes=100.0, jobs=3)
    assert worker.names == ["b2", "b1", "a2"]
    worker.give()
    assert worker.names == ["b2", "b1", "a2", "a1"]


def test_a_launcher_is_done_when_nothing_of_its_users_is_left(bench: Bench) -> None:
    create_for(bench, 3, "somebody else's")
    mine = bench.launcher(owner_key=2, nodes=0.0, jobs=0)
    assert mine.ask_drained()
    both = bench.launcher(owner_key=2, trusted="3", nodes=0.0, jobs=0)
    assert not both.ask_drained()


def test_a_bound_job_is_taken_by_a_launcher_of_its_user_and_launch_only(bench: Bench) -> None:
    launch = bench.add_launch()
    create_for(bench, 2, "bound")
    bench.do(lambda tx: tx.sql.run("UPDATE job SET launch = :launch", launch=launch))
    others = bench.launcher(owner_key=1, launch=launch, jobs=5)
    mine = bench.launcher(owner_key=2, jobs=5)
    assert others.names == mine.names == []
    assert bench.launcher(owner_key=2, launch=launch, jobs=5).names == ["bound"]


# Scripts and staging of users' jobs


def step_worker(bench: Bench, key: int) -> Worker:
    worker = bench.worker(STEP_WORKER, states=SLOW_STATES, owner_key=key)
    worker.give(nodes=1e9, jobs=9)
    return worker


def test_scripts_and_staging_go_to_the_step_workers_of_the_job_s_user(bench: Bench) -> None:
    bench.add_app("app", preprocess="pre")
    hers, his = step_worker(bench, 2), step_worker(bench, 3)
    for key in (1, 2, 3):
        create_for(bench, key, f"of {key}", application="app", stage_in_url="/tmp/x")
    scheduler = bench.schedule(jobs=9)
    assert (scheduler.names, hers.names, his.names) == (["of 1"], ["of 2"], ["of 3"])
    launcher = bench.launcher(owner_key=2, jobs=9)
    assert hers.report(hers.grant("of 2"), State.STAGED_IN, release=True)
    assert hers.report(hers.grant("of 2"), State.PREPROCESSED, release=True)
    assert launcher.names == ["of 2"]
    events = bench.events_of(launcher.grants[0].job_id)
    assert [event.actor for event in events[-2:]] == [Actor.SCHEDULER] * 2
    bench.end(hers)
    bench.end(his)
    assert bench.state(his.grants[0].job_id) is State.READY  # it waits for his next launcher


def test_a_step_worker_gets_nothing_while_nobody_says_what_is_to_be_done(plain_bench: Bench) -> None:
    """Without rules nothing moves by itself: a job that needs no script stands where others need one."""
    bench = plain_bench
    scheduler, hers = bench.schedule(), step_worker(bench, 2)
    create_for(bench, 2, "a")
    launcher = bench.launcher(owner_key=2, jobs=9)
    bench.end(scheduler)
    launcher.finish(launcher.grant("a"), State.RUN_DONE)
    assert bench.state(launcher.grants[0].job_id) is State.RUN_DONE
    bench.schedule()
    assert bench.state(launcher.grants[0].job_id) is State.JOB_FINISHED
    assert hers.names == []


def test_what_the_audit_trail_has_kept_long_enough_is_dropped(bench: Bench) -> None:
    def note(*days: int) -> None:
        rows = [(day * DAY_US, 1, None, "x", "", 1, str(day)) for day in days]
        bench.do(lambda tx: tx.sql.insert("audit", AUDIT, rows))

    def kept() -> list[str]:
        return [detail for (detail,) in bench.sql("SELECT detail FROM audit ORDER BY key")]

    note(1, 2, 3, 4)
    assert bench.do(lambda tx: auditing.drop_before(tx, 3 * DAY_US)) == 2
    assert bench.do(lambda tx: auditing.drop_before(tx, 3 * DAY_US)) == 0
    assert kept() == ["3", "4"]
    bench.run(AuditAge(bench.writer.do, days=0).drop_old())
    assert kept() == ["3", "4"]
    bench.run(AuditAge(bench.writer.do, days=365).drop_old())  # 1970 is longer ago
    assert kept() == []


AUDIT = ("time_us", "user_key", "run_id", "action", "objects", "count", "detail")
DAY_US = 86_400_000_000
