"""Several job stores over one PostgreSQL, as real processes: to users and launchers they are one."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy

from balsam import stores
from balsam.client import Client
from balsam.completions import completions_of
from balsam.errors import Unavailable
from balsam.launcher.futures import FutureTask
from balsam.site import Site
from balsam.states import State
from balsam.v1 import event_service_pb2, job_pb2, job_service_pb2, site_service_pb2, user_service_pb2
from balsam_jobstore.postgres import Cluster, Stop
from tests.support import people, rpc_client
from tests.support.hands import Hands, Rules, SendOutputRequest
from tests.support.invariants import violations_of_site
from tests.support.processes import Services, running_launcher, services
from tests.support.rpc_client import Refusal
from tests.support.scheduling import Jobs
from tests.support.sites import make_test_site, wait_until

pytestmark = pytest.mark.postgres
S = State
STORES = ("jobstore", "jobstore-2")


@dataclass(frozen=True)
class SiteAt(Site):
    """A site of whose job stores only one is asked."""

    store: str = stores.FIRST

    def address(self, service: str) -> str:
        """gRPC target of a service."""
        return super().address(self.store if stores.is_store(service) else service)


@pytest.fixture
def shared(tmp_path: Path, postgres_url: str) -> Site:
    """A site with two job stores; its services do not run."""
    return make_test_site(tmp_path, postgres_url, job_stores=2, lease_seconds=20)


@pytest.fixture
def both(shared: Site) -> Iterator[Services]:
    """The two job stores of `shared`, running, and no scheduler."""
    with services(shared, *STORES) as running:
        yield running


@pytest.fixture
def at(shared: Site, both: Services) -> Callable[[int], SiteAt]:
    """Gives the site as one sees it who asks one of the job stores only, by its number."""
    return lambda number: SiteAt(shared.path, stores.name(number))


@pytest.fixture
def rules(at: Callable[[int], SiteAt]) -> Iterator[Rules]:
    """The scheduler's rules, registered at the first job store."""
    rules = Rules(at(1))
    yield rules
    rules.close()


@pytest.fixture
def hands(at: Callable[[int], SiteAt], rules: Rules) -> Iterator[Callable[[int], Hands]]:
    """Gives a launcher without processes, at one of the job stores."""
    with contextlib.ExitStack() as stack:

        def make(number: int) -> Hands:
            made = Hands(at(number))
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def jobs(at: Callable[[int], SiteAt]) -> Iterator[Callable[[int], Jobs]]:
    """Gives the jobs as seen, added and moved at one of the job stores; there is an application, `say`."""
    with contextlib.ExitStack() as stack:

        def make(number: int) -> Jobs:
            made = Jobs(at(number))
            stack.callback(made.close)
            return made

        make(1).add_app("say")
        yield make


# Two at work together


def test_a_job_that_is_added_at_one_is_run_at_the_other_and_waited_for_at_the_first(
    at: Callable[[int], SiteAt], jobs: Callable[[int], Jobs], hands: Callable[[int], Hands]
) -> None:
    job_id = jobs(1).add("one", application="say")
    client = Client(at(1))
    try:
        future = FutureTask(client.BalsamJob.objects.get(job_id=job_id), lambda job: job.state)
        worker = hands(2)
        grant = worker.take()
        assert grant.job.job_id == job_id
        assert worker.report(grant, S.RUNNING, S.RUN_DONE, release=True)
        assert future.result(timeout=30) == "JOB_FINISHED"
        assert jobs(1).history(job_id) == jobs(2).history(job_id)
    finally:
        completions_of(client).close()
        client.close()


def test_a_launcher_hears_at_once_of_work_that_comes_at_the_other(
    jobs: Callable[[int], Jobs], hands: Callable[[int], Hands]
) -> None:
    worker = hands(2)
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(worker.take)
        job_id = jobs(1).add("late", application="say")
        assert taken.result(timeout=30).job.job_id == job_id


def test_what_another_one_looks_at_is_not_waited_for_and_looked_at_again(
    postgres_url: str, jobs: Callable[[int], Jobs], hands: Callable[[int], Hands]
) -> None:
    locked, free = jobs(1).add("locked", application="say", priority=5), jobs(1).add("free", application="say")
    engine = sqlalchemy.create_engine(postgres_url)
    worker = hands(2)
    with engine.connect() as other, ThreadPoolExecutor(1) as pool:
        other.exec_driver_sql("SELECT 1 FROM job WHERE name = 'locked' FOR UPDATE")
        assert worker.take().job.job_id == free
        taken = pool.submit(worker.take)
        with pytest.raises(TimeoutError):
            taken.result(timeout=0.2)
        other.rollback()
        assert taken.result(timeout=30).job.job_id == locked
    engine.dispose()


def test_a_kill_through_one_stops_a_run_of_the_other(
    jobs: Callable[[int], Jobs], hands: Callable[[int], Hands]
) -> None:
    job_id = jobs(1).add("victim", application="say")
    worker = hands(2)
    grant = worker.take()
    assert worker.report(grant, S.RUNNING)
    jobs(1).kill(job_id)
    stop = worker._until(lambda response: bool(response.stops)).stops[0]
    assert (stop.handle, stop.token) == (grant.lease.handle, grant.lease.token)
    assert worker.report(grant, release=True)
    assert jobs(1).history(job_id)[-2:] == ["RUNNING", "USER_KILLED"]


def test_an_output_is_read_at_the_job_store_that_has_the_launcher(
    shared: Site, at: Callable[[int], SiteAt], rules: Rules, jobs: Callable[[int], Jobs]
) -> None:
    client, adding = Client(shared), jobs(1)
    for number in (1, 2):
        worker = Hands(at(number), sends_output=True)
        job_id = adding.add(f"job {number}", application="say")
        grant = worker.take()
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(list, client.outputs.read(job_id))
            data = SendOutputRequest(data=b"said", offset=0)
            worker.send_output(worker.wanted(), data, SendOutputRequest(complete=True))
            assert reading.result(30) == [(b"said", 0)]
        assert worker.report(grant, S.RUNNING, S.RUN_DONE, release=True)
        worker.close()
    client.close()


def test_a_parent_that_ends_at_one_releases_a_child_that_is_granted_by_the_other(
    jobs: Callable[[int], Jobs], hands: Callable[[int], Hands]
) -> None:
    parent = jobs(1).add("parent", application="say")
    child = jobs(2).add("child", application="say", parents=[parent])
    first, second = hands(1), hands(2)
    grant = first.take()
    assert grant.job.job_id == parent
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(second.take)
        assert first.report(grant, S.RUNNING, S.RUN_DONE, release=True)
        assert taken.result(timeout=30).job.job_id == child


def test_the_credential_of_a_run_is_good_at_both_and_dies_with_the_run(
    at: Callable[[int], SiteAt], jobs: Callable[[int], Jobs], hands: Callable[[int], Hands]
) -> None:
    job_id = jobs(1).add("run", application="say")
    worker = hands(1)
    grant = worker.take()
    request = job_service_pb2.GetJobRequest(job_id=job_id)
    callers = [rpc_client.Client(at(number), grant.token) for number in (1, 2)]
    for caller in callers:
        assert caller.call("JobService/GetJob", request).name == "run"
    assert worker.report(grant, S.RUNNING, S.RUN_DONE, release=True)
    for caller in callers:
        with pytest.raises(Refusal) as refusal:
            caller.call("JobService/GetJob", request)
        assert refusal.value.code == "UNAUTHENTICATED"
        caller.close()


def test_rules_are_in_force_in_both_and_void_with_their_session(
    at: Callable[[int], SiteAt], jobs: Callable[[int], Jobs]
) -> None:
    waiting = jobs(2).add("before", application="say")
    assert State(jobs(2).get(waiting).state) is S.CREATED
    rules = Rules(at(1))
    jobs(2).wait(waiting, S.PREPROCESSED)
    wait_until(lambda: State(jobs(2).get(jobs(2).add("with", application="say")).state) is S.PREPROCESSED)
    rules.close()
    wait_until(lambda: State(jobs(2).get(jobs(2).add("without", application="say")).state) is S.CREATED)


def test_subscribers_at_both_see_every_event_once_and_in_order(
    both: Services, at: Callable[[int], SiteAt], jobs: Callable[[int], Jobs]
) -> None:
    first, second = jobs(1), jobs(2)
    seen: list[list[int]] = [[], [], [], []]
    clients = [Client(at(number)) for number in (1, 1, 2, 2)]
    streams = [client.events.watch([], [], 0) for client in clients]
    with ThreadPoolExecutor(6) as pool:
        for stream, sequences in zip(streams, seen, strict=True):
            pool.submit(_follow, stream, sequences)
        added = [pool.submit(lambda jobs=jobs: [jobs.add("x") for _ in range(100)]) for jobs in (first, second)]  # type: ignore[misc]
        assert len({job_id for done in added for job_id in done.result(timeout=60)}) == 200
        try:
            wait_until(lambda: all(len(sequences) >= 200 for sequences in seen), what="200 events at each")
        finally:
            for stream in streams:
                stream.cancel()
    assert seen == [list(range(1, 201))] * 4
    resumed = clients[0].events.watch([], [], 150)  # where it was, at the other one
    again: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_follow, resumed, again)
        wait_until(lambda: len(again) >= 50)
        resumed.cancel()
    assert again == list(range(151, 201))
    for client in clients:
        client.close()


def _follow(stream: Any, sequences: list[int]) -> None:
    with contextlib.suppress(grpc.RpcError):
        for answer in stream:
            sequences += [event.sequence for event in answer.events]


# One of them dies


def test_a_session_goes_on_at_the_other_when_its_job_store_is_dead_and_at_no_other_before(
    both: Services, at: Callable[[int], SiteAt], jobs: Callable[[int], Jobs], hands: Callable[[int], Hands]
) -> None:
    job_id = jobs(2).add("long", application="say")
    worker = hands(1)
    grant = worker.take()
    assert worker.report(grant, S.RUNNING)
    renew = rpc_client.METHODS["SessionService/RenewSession"].input_type
    request = rpc_client.GetMessageClass(renew)(session_id=worker.session_id)
    other = rpc_client.Client(at(2))
    with pytest.raises(Refusal) as refusal:
        other.call("SessionService/RenewSession", request)
    assert (refusal.value.reason, refusal.value.field) == ("OTHER_STORE", "jobstore")
    both.kill("jobstore")
    other.call("SessionService/RenewSession", request)
    other.close()
    worker._site = at(2)
    worker.attach_again([grant])
    assert worker.report(grant, S.RUN_DONE, release=True)
    assert jobs(2).history(job_id)[-3:] == ["RUN_DONE", "POSTPROCESSED", "JOB_FINISHED"]
    both.start("jobstore")


def test_what_a_dead_launcher_of_a_dead_job_store_held_is_given_back_by_the_other(
    tmp_path: Path, postgres_url: str
) -> None:
    site = make_test_site(tmp_path, postgres_url, job_stores=2, lease_seconds=2)
    with services(site, "jobstore-2", "jobstore") as running:
        first, second = SiteAt(site.path, "jobstore"), SiteAt(site.path, "jobstore-2")
        rules, there = Rules(second), Jobs(second)
        there.add_app("say")
        job_id = there.add("lost", application="say")
        worker = Hands(first)
        assert worker.report(worker.take(), S.RUNNING)
        running.kill("jobstore")
        worker._hang_up()
        there.wait(job_id, S.RUN_TIMEOUT, S.RESTART_READY)  # nobody renews the session of the rules either
        with contextlib.suppress(Refusal):
            rules.close()
        there.close()


@pytest.mark.usefixtures("postgres_cluster")
def test_they_hear_of_each_other_again_when_the_database_was_away(tmp_path: Path) -> None:
    site = make_test_site(tmp_path, "postgres", job_stores=2, lease_seconds=20)
    with services(site, *STORES):
        first, second = (SiteAt(site.path, name) for name in STORES)
        rules, there = Rules(first), Jobs(first)
        there.add_app("say")
        worker = Hands(second)
        Cluster(site.database / "postgres", site.run).stop(Stop.IMMEDIATE)
        log = site.log / "jobstore-2.log"
        wait_until(lambda: "hears of other job stores again" in log.read_text(), site=site)
        job_id = wait_until(lambda: _added(there), what="the first one has its database again")
        worker.attach_again([])
        assert worker.take().job.job_id == job_id
        with ThreadPoolExecutor(1) as pool:
            taken = pool.submit(worker.take)
            job_id = there.add("after", application="say")
            assert taken.result(timeout=30).job.job_id == job_id
        worker.close()
        rules.close()
        there.close()


def _added(jobs: Jobs) -> str:
    with contextlib.suppress(Unavailable):
        return jobs.add("again", application="say")
    return ""


# Launchers and schedulers that are processes


@contextlib.contextmanager
def launchers_at_both(site: Site) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Launchers of which each of two job stores has one at least: they spread by their process ids."""
    with contextlib.ExitStack() as stack:
        launchers: list[subprocess.Popen[bytes]] = []
        while len({launcher.pid % 2 for launcher in launchers}) < 2:
            launchers.append(stack.enter_context(running_launcher(site)))
        yield launchers


@pytest.fixture
def campaign(shared: Site) -> Iterator[Services]:
    """The job stores of `shared` and its scheduler, running."""
    with services(shared, *STORES, "scheduler") as running:
        yield running


def add_jobs(site: Site, count: int, executable: str = "true") -> Client:
    """Adds jobs, half of them children of the others; gives a client, to be closed."""
    client = Client(site)
    client.ApplicationDefinition(name="short", executable=executable).save()
    new = [client.BalsamJob(name=f"job-{n}", workflow="many", application="short") for n in range(count)]
    for parent, child in zip(new[: count // 2], new[count // 2 :], strict=False):
        child.parents = [parent]
    client.BalsamJob.objects.bulk_create(new)
    return client


def all_finished(client: Client, count: int) -> Callable[[], bool]:
    return lambda: client.BalsamJob.objects.filter(state="JOB_FINISHED").count() == count


def runs(client: Client) -> Counter[int]:
    """How often jobs have been RUNNING: (times -> jobs)."""
    moves = client.events.moves(states=["RUNNING"])
    return Counter(Counter(move.job_id for move in moves).values())


def test_launchers_at_two_job_stores_drain_a_campaign_and_run_each_job_once(shared: Site, campaign: Services) -> None:
    client = add_jobs(shared, 500)
    with launchers_at_both(shared) as launchers:
        for launcher in launchers:
            assert launcher.wait(60) == 0
    assert all_finished(client, 500)()
    assert runs(client) == {1: 500}
    client.close()
    logs = [(shared.log / f"{name}.log").read_text() for name in STORES]
    assert all("opened: launcher" in log for log in logs)
    assert violations_of_site(shared) == []


def test_a_launcher_goes_on_through_the_other_when_its_job_store_is_killed(shared: Site, campaign: Services) -> None:
    client = add_jobs(shared, 200, "sleep 0.01")
    with running_launcher(shared) as launcher:
        its = STORES[launcher.pid % 2]
        wait_until(lambda: client.BalsamJob.objects.filter(state="JOB_FINISHED").count() > 20, site=shared)
        campaign.kill(its)
        assert launcher.wait(60) == 0
    assert all_finished(client, 200)()
    assert runs(client) == {1: 200}
    client.close()
    assert violations_of_site(shared) == []


def test_a_campaign_ends_well_though_its_job_stores_are_killed_in_turn(shared: Site, campaign: Services) -> None:
    client = add_jobs(shared, 300, "sleep 0.02")
    with launchers_at_both(shared):
        finished = all_finished(client, 300)
        turn = 0
        while turn < 4 or not finished():
            victim = STORES[turn % 2]
            campaign.kill(victim)
            time.sleep(0.2)  # what is asked of it meanwhile, the other is asked
            campaign.start(victim)
            turn += 1
            assert turn < 60
    assert runs(client) == {1: 300}
    client.close()
    assert violations_of_site(shared) == []


# What is refused


def test_a_job_store_that_reckons_with_others_and_one_that_does_not_refuse_each_other(
    both: Services, shared: Site
) -> None:
    both.stop("jobstore")
    settings = shared.path / "settings.toml"
    settings.write_text(settings.read_text().replace("job_stores = 2", "job_stores = 1"))
    command = ["-m", "balsam_jobstore", "--site", str(shared.path)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "job_stores was 1 when one of the two was started" in done.stderr


def test_a_number_beyond_the_setting_is_refused(shared: Site) -> None:
    command = ["-m", "balsam_jobstore", "--site", str(shared.path), "--number", "3"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the setting job_stores of" in done.stderr


# Users


def is_known(client: rpc_client.Client) -> bool:
    """Whether a job store knows who calls."""
    try:
        client.call("SiteService/GetSite", site_service_pb2.GetSiteRequest())
    except Refusal as refusal:
        if refusal.code != "UNAUTHENTICATED":
            raise
        return False
    return True


def test_a_token_that_is_revoked_at_one_is_not_good_at_the_other_within_a_second(at: Callable[[int], SiteAt]) -> None:
    owner = rpc_client.Client(at(1))
    token = people.add_user(owner, "ann")
    other = rpc_client.Client(at(2), token)
    wait_until(lambda: is_known(other), what="who was added at the first is known at the second")
    watching = other.open("EventService/WatchEvents", event_service_pb2.WatchEventsRequest())
    next(watching)
    start = time.monotonic()
    owner.call("UserService/DropUser", user_service_pb2.DropUserRequest(name="ann"))
    with pytest.raises(grpc.RpcError) as ended:
        for _ in watching:
            pass
    assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(Refusal) as refused:
        other.call("SiteService/GetSite", site_service_pb2.GetSiteRequest())
    assert "was revoked" in refused.value.details
    assert time.monotonic() - start < 1.0
    owner.close()
    other.close()


def test_the_run_of_a_member_is_known_at_the_other(at: Callable[[int], SiteAt], rules: Rules) -> None:
    owner = rpc_client.Client(at(1))
    token = people.add_user(owner, "ann")
    ann = rpc_client.Client(at(1), token)
    job = job_pb2.Job(job_id=str(uuid.uuid4()), name="a")
    ann.call("JobService/CreateJobs", job_service_pb2.CreateJobsRequest(jobs=[job]))
    worker = Hands(at(1), token=token)
    run = rpc_client.Client(at(2), worker.take().token)
    assert run.call("SiteService/GetSite", site_service_pb2.GetSiteRequest()).user == "ann"
    worker.close()
    for client in (owner, ann, run):
        client.close()
