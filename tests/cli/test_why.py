"""`balsam why` in situations that are staged: it names what holds the job, and its fix starts it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from balsam.client import Client
from balsam.query import EVERYTHING
from balsam.rpc import Connection
from balsam.settings import replaced
from balsam.site import SETTINGS_FILE, Site
from balsam.states import State
from balsam.v1 import launcher_service_pb2, session_service_pb2
from balsam.v1.launcher_service_pb2_grpc import LauncherServiceStub
from balsam.v1.session_service_pb2_grpc import SessionServiceStub
from balsam_cli.why import asking
from balsam_scheduler.batch.submitting import LaunchRequest, submit
from tests.batch.service_process import allow
from tests.cli.conftest import Balsam
from tests.support.hands import Hands
from tests.support.processes import running_launcher, services
from tests.support.queues import StandIn
from tests.support.scheduling import Jobs
from tests.support.sites import make_test_site, wait_until

S = State
BIN = os.path.dirname(sys.executable)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """A queue that the tests hold in their hands, on the PATH of all that they start."""
    stand_in = StandIn(tmp_path_factory.mktemp("queue"), "pbs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{stand_in.bin}:{os.environ['PATH']}")
        yield stand_in


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, stand_in: StandIn) -> Iterator[Site]:
    """A site whose services run, for most of these tests; one script at a time."""
    site = make_test_site(tmp_path_factory.mktemp("why"), batch_system="local", script_workers=1)
    with services(site):
        yield site


@pytest.fixture
def site(served: Site) -> Iterator[Site]:
    """That site, with nothing of the tests before."""
    yield served
    kill_launchers(served)
    client = Client(served)
    client.jobs.delete(EVERYTHING, kill=True)
    client.QueuedLaunch.objects.all().delete()
    client.close()
    shutil.rmtree(served.data, ignore_errors=True)
    (served.path / "policy.toml").unlink(missing_ok=True)


def kill_launchers(site: Site) -> None:
    """Launchers that a test has left; those that it runs itself have ended."""
    for info in site.run.glob("launcher-*.json"):
        pid = int(info.stem.partition("-")[2])
        if site.read_info(info.stem).get("pid") == pid and Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def jobs(site: Site) -> Iterator[Jobs]:
    jobs = Jobs(site)
    yield jobs
    jobs.close()


class Why:
    """`balsam why`, and what it says to type."""

    def __init__(self, balsam: Balsam, site: Site) -> None:
        self._balsam = balsam
        self._site = site

    def __call__(self, job_id: str) -> dict[str, Any]:
        """Its answer."""
        result = self._balsam("why", job_id[:12], "--json")
        assert result.status == 0, result.err
        answer: dict[str, Any] = result.json
        return answer

    def wait_for(self, job_id: str, condition: str) -> dict[str, Any]:
        """Its answer, once that is this."""
        answer: dict[str, Any] = {}

        def there() -> bool:
            answer.clear()
            answer.update(self(job_id))
            return answer["condition"] == condition

        wait_until(there, what=f"{condition}", site=self._site)
        return answer

    def do(self, fix: str) -> None:
        """Types what it says, in a shell, until that ends."""
        done = subprocess.run(
            ["bash", "-c", fix], env=self.environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{fix}: {done.stdout}{done.stderr}"

    @contextlib.contextmanager
    def doing(self, fix: str) -> Iterator[None]:
        """Types what it says, and interrupts it afterwards if it has not ended."""
        process = subprocess.Popen(
            ["bash", "-c", f"exec {fix}"], env=self.environ, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)

    @property
    def environ(self) -> dict[str, str]:
        """That of a person's shell."""
        return os.environ | {"BALSAM_DB_PATH": str(self._site.path), "PATH": f"{BIN}:{os.environ['PATH']}"}


@pytest.fixture
def why(balsam: Balsam, site: Site) -> Why:
    return Why(balsam, site)


class Gate:
    """A command that runs until it is let go."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "gate"
        self.script = directory / "gate.sh"
        self.script.write_text(f"until [ -e {self.file} ]; do sleep 0.02; done\n")

    @property
    def command(self) -> str:
        return f"bash {self.script}"

    def open(self) -> None:
        self.file.touch()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.open()


def has_run(jobs: Jobs, job_id: str) -> None:
    """Waits until the job has been started."""
    wait_until(lambda: "RUNNING" in jobs.history(job_id), what="the job starts", site=jobs.site)


# The services


def test_the_services_are_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, balsam_process: Balsam) -> None:
    site = make_test_site(tmp_path)
    with services(site):
        jobs = Jobs(site)
        job_id = jobs.add("a", args="true")
        jobs.close()
    at = {"BALSAM_DB_PATH": str(site.path)}
    answer = balsam_process("why", job_id, "--json", **at).json
    assert (answer["condition"], answer["fix"]) == ("services-down", "balsam up")
    assert "the job store and the scheduler" in answer["why"]
    text = balsam_process("why", job_id, **at)
    assert (text.status, text.err) == (0, "")
    assert text.out.endswith("fix: balsam up\n")
    try:
        assert balsam_process("up", **at).status == 0
        answer = balsam_process("why", job_id, "--json", **at).json
        assert answer["condition"] == "no-launcher"
        assert balsam_process("launcher", **at).status == 0
        assert balsam_process("why", job_id, "--json", **at).json["condition"] == "finished"
    finally:
        assert balsam_process("down", **at).status == 0


def test_the_scheduler_is_down(tmp_path: Path, balsam_process: Balsam) -> None:
    site = make_test_site(tmp_path)
    at = {"BALSAM_DB_PATH": str(site.path)}
    with services(site, "jobstore"):
        jobs = Jobs(site)
        job_id = jobs.add("a", args="true")
        answer = balsam_process("why", job_id, "--json", **at).json
        assert (answer["condition"], answer["fix"], answer["state"]) == ("services-down", "balsam up", "CREATED")
        assert balsam_process("up", **at).status == 0
        jobs.wait(job_id, S.PREPROCESSED)
        jobs.close()
        scheduler = site.read_info("scheduler")["pid"]
        os.kill(scheduler, signal.SIGTERM)
        wait_until(lambda: not Path(f"/proc/{scheduler}/exe").exists(), what="the scheduler to end")


# The job has ended


def test_a_run_that_failed_is_run_again(why: Why, jobs: Jobs, tmp_path: Path) -> None:
    job_id = jobs.add("a", args=f"sh -c 'echo no input; test -e {tmp_path}/mended'")
    why.do("balsam launcher")
    answer = why(job_id)
    assert answer["condition"] == "failed"
    assert "exit code 1" in answer["why"]
    assert "no input" in answer["details"]
    (tmp_path / "mended").touch()
    why.do(answer["fix"])
    why.do("balsam launcher")
    assert why(job_id)["condition"] == "finished"


def test_a_script_that_failed_is_run_again(why: Why, jobs: Jobs, tmp_path: Path) -> None:
    needs = f"test -e {tmp_path}/mended"
    before = jobs.add("before", application=jobs.add_app("pre", preprocess=needs))
    after = jobs.add("after", application=jobs.add_app("post", postprocess=needs))
    jobs.wait(before, S.FAILED)
    why.do("balsam launcher")
    jobs.wait(after, S.FAILED)
    (tmp_path / "mended").touch()
    for job_id in (before, after):
        answer = why(job_id)
        assert answer["condition"] == "failed"
        why.do(answer["fix"])
    why.do("balsam launcher")
    for job_id in (before, after):
        jobs.wait(job_id, S.JOB_FINISHED)
    assert jobs.history(after).count("RUNNING") == 1


def test_a_job_whose_parent_failed(why: Why, jobs: Jobs, tmp_path: Path) -> None:
    parent = jobs.add("p", args=f"test -e {tmp_path}/mended")
    child = jobs.add("c", args="true", parents=[jobs.add("q", args="true", parents=[parent])])
    why.do("balsam launcher")
    answer = why(child)
    assert answer["condition"] == "parent-failed"
    assert answer["cause"]["cause"]["condition"] == "failed"
    (tmp_path / "mended").touch()
    why.do(answer["fix"])
    why.do("balsam launcher")
    assert why(child)["condition"] == "finished"


def test_a_job_whose_parent_was_killed(why: Why, jobs: Jobs) -> None:
    parent = jobs.add("p", args="true")
    child = jobs.add("c", args="true", parents=[parent])
    jobs.wait(child, S.AWAITING_PARENTS)
    jobs.kill(parent)
    jobs.wait(child, S.FAILED)
    assert why(parent)["condition"] == "killed"
    answer = why(child)
    assert answer["condition"] == "parent-failed"
    why.do(answer["fix"])
    why.do("balsam launcher")
    assert why(child)["condition"] == "finished"


def test_restarts_that_are_used_up(why: Why, jobs: Jobs, site: Site) -> None:
    job_id = jobs.add("a", args="true", max_restarts=0)
    hands = Hands(site)
    hands.report(hands.take(), S.RUNNING)
    hands.close()
    jobs.wait(job_id, S.FAILED)
    answer = why(job_id)
    assert answer["condition"] == "restarts-used-up"
    why.do(answer["fix"])
    why.do("balsam launcher")
    assert why(job_id)["condition"] == "finished"


# It is being worked on


def test_a_job_that_runs(why: Why, jobs: Jobs, site: Site, gate: Gate) -> None:
    job_id = jobs.add("a", args=gate.command)
    with running_launcher(site) as launcher:
        answer = why.wait_for(job_id, "running")
        assert f":{launcher.pid}" in answer["why"]
        assert "since" in answer["why"]
        gate.open()
        jobs.wait(job_id, S.JOB_FINISHED)


def test_a_launcher_that_was_killed(why: Why, jobs: Jobs, site: Site, gate: Gate) -> None:
    job_id = jobs.add("a", args=gate.command)
    with running_launcher(site) as launcher:
        jobs.wait(job_id, S.RUNNING)
        launcher.kill()
        launcher.wait()
        assert why(job_id)["condition"] == "launcher-lost"
    end_sessions(site)


def end_sessions(site: Site) -> None:
    """Ends the sessions of launchers that are dead: they would seem to be at work for a lease time."""
    client = Client(site)
    for session in asking.sessions(client).launchers:
        request = session_service_pb2.CloseSessionRequest(session_id=session.session_id)
        client.call(SessionServiceStub, "CloseSession", request)
    client.close()


def test_scripts_one_at_a_time(why: Why, jobs: Jobs, gate: Gate) -> None:
    app = jobs.add_app("slow", preprocess=gate.command)
    first, second, third, fourth = (jobs.add(name, application=app) for name in "abcd")
    assert "pre-processing script runs (pid " in why.wait_for(first, "in-step")["why"]
    for job_id in (second, third, fourth):
        answer = why.wait_for(job_id, "steps-full")
        assert "script_workers" in answer["advice"]
    assert "3 jobs came before it" in why(fourth)["why"]
    gate.open()
    jobs.wait(fourth, S.PREPROCESSED)


def test_what_a_launcher_holds(why: Why, jobs: Jobs, site: Site) -> None:
    job_id = jobs.add("a", args="true")
    jobs.wait(job_id, S.PREPROCESSED)
    hands = Hands(site)
    grant = hands.take()
    assert why(job_id)["condition"] == "held"
    hands.send(grant, release=True)
    hands.close()


# It waits


def test_parents_are_followed_to_what_holds_them(why: Why, jobs: Jobs) -> None:
    first = jobs.add("first", args="true")
    last = jobs.add("last", args="true", parents=[jobs.add("second", args="true", parents=[first])])
    jobs.wait(last, S.AWAITING_PARENTS)
    jobs.wait(first, S.PREPROCESSED)
    answer = why(last)
    assert answer["condition"] == answer["cause"]["condition"] == "waits-for-parents"
    assert answer["cause"]["cause"]["condition"] == "no-launcher"
    assert answer["fix"] == "balsam launcher"
    why.do(answer["fix"])
    assert why(last)["condition"] == "finished"


def test_no_launcher_is_at_work(why: Why, jobs: Jobs) -> None:
    job_id = jobs.add("a", args="true")
    jobs.wait(job_id, S.PREPROCESSED)
    answer = why(job_id)
    assert (answer["condition"], answer["fix"]) == ("no-launcher", "balsam launcher")
    why.do(answer["fix"])
    has_run(jobs, job_id)


@pytest.mark.parametrize(
    ("options", "fields", "condition", "fix"),
    [
        (("--wf-filter", "other"), {}, "workflow-filter", "balsam launcher --wf-filter test"),
        (("--job-mode", "serial"), {"ranks_per_node": 2}, "job-mode", "balsam launcher"),
        (("--time-limit-minutes", "5"), {"wall_time_minutes": 60}, "time-left", "balsam launcher"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_launcher_that_never_takes_it(
    why: Why, jobs: Jobs, site: Site, options: tuple[str, ...], fields: dict[str, Any], condition: str, fix: str
) -> None:
    with running_launcher(site, "--persistent", *options):
        job_id = jobs.add("a", args="true", **fields)
        jobs.wait(job_id, S.PREPROCESSED)
        answer = why.wait_for(job_id, condition)
        assert answer["fix"] == fix
        why.do(fix)
        has_run(jobs, job_id)


@pytest.mark.parametrize(
    ("options", "fields", "said"),
    [
        ((), {"num_nodes": 50}, "has 1 of the 50 nodes"),
        (("--gpus-per-node", "1"), {"gpus_per_rank": 2}, "no node has 2 GPUs (at most 1)"),
        ((), {"cpu_affinity": 2, "threads_per_rank": 5000}, "no node has 5000 cores"),
    ],
    ids=["nodes", "gpus", "cores"],
)
def test_what_can_never_fit(
    why: Why, jobs: Jobs, site: Site, options: tuple[str, ...], fields: dict[str, Any], said: str
) -> None:
    with running_launcher(site, "--persistent", *options):
        job_id = jobs.add("a", args="true", **fields)
        jobs.wait(job_id, S.PREPROCESSED)
        wait_until(lambda: said in why(job_id)["why"], what=said, site=site)
        answer = why(job_id)
        assert answer["condition"] == "never-fits"
        why.do(answer["fix"])
        has_run(jobs, job_id)


def test_others_are_before_it(why: Why, jobs: Jobs, site: Site, gate: Gate) -> None:
    with running_launcher(site, "--persistent"):
        jobs.wait(jobs.add("first", args=gate.command), S.RUNNING)
        others = [jobs.add(f"other-{number}", args=gate.command, priority=3) for number in range(2)]
        mine = jobs.add("mine", args="true")
        answer = why.wait_for(mine, "launchers-full")
        assert "2 jobs start before it" in answer["why"]
        why.do(answer["fix"])
        assert jobs.get(mine).priority == 4
        assert "nothing else starts before it" in why(mine)["why"]
        gate.open()
        for job_id in (*others, mine):
            jobs.wait(job_id, S.JOB_FINISHED)


def test_a_launcher_that_drains(why: Why, jobs: Jobs, site: Site, gate: Gate) -> None:
    with running_launcher(site, "--persistent") as launcher:
        jobs.wait(jobs.add("first", args=gate.command, node_packing_count=2), S.RUNNING)
        wait_until(lambda: site.read_info(f"launcher-{launcher.pid}"), what="the launcher serves", site=site)
        connection = Connection(site, f"launcher-{launcher.pid}")
        connection.call(LauncherServiceStub, "Drain", launcher_service_pb2.DrainRequest())
        connection.close()
        mine = jobs.add("mine", args="true")
        answer = why.wait_for(mine, "launcher-closing")
        assert answer["fix"] == "balsam launcher"
        with why.doing(answer["fix"]):
            jobs.wait(mine, S.JOB_FINISHED)
        gate.open()


def test_nodes_that_are_set_aside(why: Why, jobs: Jobs, site: Site) -> None:
    hands = Hands(site, nodes=1)
    hands.say(closed_nodes=1, largest=1)
    job_id = jobs.add("a", args="true")
    answer = why.wait_for(job_id, "nodes-set-aside")
    assert "has 0 of its 1 nodes" in answer["why"]
    assert answer["fix"] == "balsam launcher"
    why.do(answer["fix"])
    has_run(jobs, job_id)
    hands.close()


# Launches


@pytest.fixture
def queue(site: Site, stand_in: StandIn) -> Iterator[StandIn]:
    """The queue, as the batch system of the site, with nothing in it."""
    settings = site.path / SETTINGS_FILE
    before = settings.read_text()
    settings.write_text(replaced(before, "batch_system", "pbs"))
    yield stand_in
    settings.write_text(before)
    for batch_id in stand_in.jobs():
        stand_in.forget(batch_id)


def test_a_launch_waits_in_the_queue(why: Why, jobs: Jobs, site: Site, queue: StandIn) -> None:
    client = Client(site)
    submit(Site(site.path), client, LaunchRequest(1, 30))
    (batch_id,) = queue.jobs()
    queue.change(batch_id, comment="Not Running: insufficient amount of resource ncpus")
    job_id = jobs.add("a", args="true")
    jobs.wait(job_id, S.PREPROCESSED)
    answer = why(job_id)
    assert answer["condition"] == "launch-queued"
    assert f"pbs job {batch_id}" in answer["why"]
    assert "insufficient amount of resource ncpus" in answer["why"]
    queue.change(batch_id, state="running")
    assert why(job_id)["condition"] == "launch-starting"
    with queue.trouble("fail", "cannot connect to server"):
        answer = why(job_id)
        assert (answer["condition"], answer["fix"]) == ("launch-unknown", "")
        assert "cannot connect to server" in answer["why"]
    queue.start(batch_id).wait(60)
    has_run(jobs, job_id)
    client.close()


def test_a_launch_of_more_nodes_is_asked_for(why: Why, jobs: Jobs, queue: StandIn) -> None:
    job_id = jobs.add("a", args="true", num_nodes=3, wall_time_minutes=20)
    jobs.wait(job_id, S.PREPROCESSED)
    answer = why(job_id)
    assert (answer["condition"], answer["fix"]) == ("no-launcher", "balsam submit-launch -n 3 -t 21")
    why.do(answer["fix"])
    assert len(queue.jobs()) == 1
    assert why(job_id)["condition"] == "launch-queued"


def test_a_job_that_is_bound_to_a_launch_that_never_comes(why: Why, jobs: Jobs, site: Site) -> None:
    launch = jobs.add_launch(nodes=1)
    job_id = jobs.add("a", args="true", queued_launch=launch)
    jobs.wait(job_id, S.PREPROCESSED)
    with running_launcher(site, "--persistent"):
        answer = why(job_id)
        assert answer["condition"] == "launch-gone"
        assert f"launch {launch}" in answer["why"]
        why.do(answer["fix"])
        has_run(jobs, job_id)


def test_a_job_that_is_bound_to_a_launch_that_is_too_small(why: Why, jobs: Jobs, site: Site, queue: StandIn) -> None:
    client = Client(site)
    launch = submit(Site(site.path), client, LaunchRequest(1, 10))
    client.close()
    job_id = jobs.add("a", args="true", queued_launch=launch.launch_id, wall_time_minutes=60)
    jobs.wait(job_id, S.PREPROCESSED)
    answer = why(job_id)
    assert answer["condition"] == "time-left"
    why.do(answer["fix"])
    why.do("balsam launcher")
    has_run(jobs, job_id)


def test_a_launcher_of_bound_jobs_only(why: Why, jobs: Jobs, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = jobs.add_launch(nodes=1, prescheduled_only=True)
    monkeypatch.setenv("BALSAM_LAUNCH_ID", str(launch))
    with running_launcher(site, "--persistent"):
        monkeypatch.delenv("BALSAM_LAUNCH_ID")
        job_id = jobs.add("a", args="true")
        answer = why.wait_for(job_id, "bound-jobs-only")
        assert f"bound to launch {launch} only" in answer["why"]
        why.do(answer["fix"])
        has_run(jobs, job_id)


def test_the_policy_would_submit_a_launch(why: Why, jobs: Jobs, site: Site) -> None:
    allow(site)
    job_id = jobs.add("a", args="true")
    jobs.wait(job_id, S.PREPROCESSED)
    answer = why(job_id)
    assert (answer["condition"], answer["fix"]) == ("no-launcher", "balsam service")
    with why.doing(answer["fix"]):
        jobs.wait(job_id, S.JOB_FINISHED)


def test_the_submitter_waits(why: Why, jobs: Jobs, site: Site) -> None:
    allow(site)
    policy = site.path / "policy.toml"
    policy.write_text(f"least_node_minutes = 1000.0\n{policy.read_text()}")
    job_id = jobs.add("a", args="true")
    jobs.wait(job_id, S.PREPROCESSED)
    with why.doing("balsam service"):
        answer = why.wait_for(job_id, "service-waits")
        assert "least_node_minutes" in answer["why"]


def test_the_policy_allows_none_for_it(why: Why, jobs: Jobs, site: Site) -> None:
    allow(site)
    job_id = jobs.add("a", args="true", wall_time_minutes=600)
    jobs.wait(job_id, S.PREPROCESSED)
    answer = why(job_id)
    assert (answer["condition"], answer["fix"]) == ("policy", "balsam launcher")
    assert "600 minutes" in answer["why"]
    why.do(answer["fix"])
    has_run(jobs, job_id)


# The warning when a job is added, by the same rules


def test_a_job_that_no_node_can_hold_is_warned_about(balsam: Balsam, site: Site) -> None:
    asks = ("job", "--name", "a", "--gpus-per-rank", "2", "--", "true")
    assert "nothing that exists can ever run this: a launcher here has no node with 2 GPUs" in balsam(*asks).err
    assert "a launcher here has 1 of the 500 nodes" in balsam("job", "--num-nodes", "500", "--", "true").err
    assert "no launcher is at work" in balsam("job", "--", "true").err
    assert "this can never run: the job has no application and no args" in balsam("job", "--name", "empty").err
    with running_launcher(site, "--persistent", "--gpus-per-node", "1", "--time-limit-minutes", "30"):
        wait_until(lambda: "at most 1" in balsam(*asks).err, what="the launcher tells of its GPUs", site=site)
        assert "note: no node has 2 GPUs: nothing at work can run this" in balsam(*asks).err
        bound = ("job", "--cpu-affinity", "depth", "--threads-per-rank", "5000", "--", "true")
        assert "no node has 5000 cores to be bound to" in balsam(*bound).err
        assert "of the 60 minutes" in balsam("job", "--wall-time-minutes", "60", "--", "true").err
        assert balsam("job", "--gpus-per-rank", "1", "--", "true").err == ""


def test_without_a_launcher_the_settings_say_what_a_node_has(balsam: Balsam, site: Site) -> None:
    settings = site.path / SETTINGS_FILE
    before = settings.read_text()
    settings.write_text(before.replace("gpus_per_node = 0", "gpus_per_node = 1"))
    try:
        said = balsam("job", "--gpus-per-rank", "2", "--", "true").err
    finally:
        settings.write_text(before)
    assert said == "note: no node has 2 GPUs: by settings.toml (gpus_per_node) each has 1\n"


# What is asked


def test_wrong_ids(balsam: Balsam, jobs: Jobs) -> None:
    first = jobs.add("a")
    unknown = "6a2f41a3-c54c-4ce8-92ab-7ddc2a4de5ee"
    for word, said in (("xyz", "not a job id"), ("00000000", "no job has an id"), (unknown, "there is no job")):
        result = balsam("why", word)
        assert (result.status, result.out) == (1, "")
        assert said in result.err
        assert len(result.err.splitlines()) == 1
    assert balsam("why").status == balsam("why", first, first).status == 2


def test_an_ambiguous_prefix_lists_the_matches(balsam: Balsam, jobs: Jobs) -> None:
    ids = [jobs.add("a") for _ in range(17)]  # of which two begin with the same digit
    digit = next(one[0] for number, one in enumerate(ids) if one[0] in [other[0] for other in ids[:number]])
    result = balsam("why", digit)
    assert result.status == 1
    assert "give more digits" in result.err


def test_what_people_see(balsam: Balsam, jobs: Jobs) -> None:
    job_id = jobs.add("a", args="true")
    jobs.wait(job_id, S.PREPROCESSED)
    out = balsam("why", job_id).out
    assert out == f"a ({job_id[:8]}) is PREPROCESSED: no launcher is at work\nfix: balsam launcher\n"
