"""Why a job is not running: the first condition that holds it, and what would start it."""

from __future__ import annotations

import datetime
import socket
from dataclasses import replace
from typing import Any

import pytest

from balsam.errors import Unavailable
from balsam.fields import JOB_FIELDS
from balsam.site import Site
from balsam.states import State
from balsam.v1 import session_pb2
from balsam_cli.takers import NodeKind, Taker, need_of
from balsam_cli.why import asking, collecting
from balsam_cli.why.chain import judge
from balsam_cli.why.scene import Launch, Launcher, Moment, Place, Policy, Relative, Scene, Scheduler
from balsam_cli.why.verdict import Verdict

S = State
NOW = datetime.datetime(2026, 11, 30, 12, 0, tzinfo=datetime.UTC)
JOB_ID = "3fa81b2c-0000-4000-8000-000000000000"
ME = "balsam modify jobs 3fa81b2c --attr"
IDLE = Scheduler(0, 2)
BUSY = Scheduler(2, 2)
HERE = Place(Taker(1, "auto", "", kinds=(NodeKind(1, 8, 0),)))
CLUSTER = Place(HERE.here, batch_system="slurm", spare_minutes=2)


def scene(*history: tuple[State, str] | State, fields: dict[str, Any] | None = None, **more: Any) -> Scene:
    """A job with this history, whose last state is the one that it is in."""
    moments = [entry if isinstance(entry, tuple) else (entry, "") for entry in history]
    state, message = moments[-1]
    job = {name: field.default for name, field in JOB_FIELDS.items()}
    job |= {
        "job_id": JOB_ID,
        "name": "a",
        "workflow": "w",
        "args": "true",
        "state": state.name,
        "message": message,
        **(fields or {}),
    }
    found = Scene(
        job,
        need_of(job),
        NOW,
        history=tuple(Moment(one, NOW - datetime.timedelta(minutes=5), text) for one, text in moments),
        scheduler=IDLE,
        place=HERE,
    )
    return replace(found, **more)


def runnable(fields: dict[str, Any] | None = None, **more: Any) -> Scene:
    return scene(S.CREATED, S.PREPROCESSED, fields=fields, **more)


def launcher(nodes: int = 1, mode: str = "auto", workflow: str = "", **more: Any) -> Launcher:
    taken = {
        name: more.pop(name) for name in ("launch", "bound_only", "minutes", "kinds", "users", "quick") if name in more
    }
    known = {"free_nodes": float(nodes), "free_jobs": 100, "largest": nodes} | more
    return Launcher(f"launcher h:{nodes}", Taker(nodes, mode, workflow, **taken), **known)


def launch(nodes: int = 1, state: str = "QUEUED", **more: Any) -> Launch:
    taken = {name: more.pop(name) for name in ("bound_only", "minutes") if name in more}
    return Launch(
        7, Taker(nodes, "auto", "", 7, label="launch 7", **taken), **{"batch": "slurm job 12", "state": state} | more
    )


def check(found: Scene, condition: str, fix: str = "", *said: str) -> Verdict:
    """The verdict on a scene is this."""
    verdict = judge(found)
    assert (verdict.condition, verdict.fix) == (condition, fix), verdict
    text = "\n".join([verdict.why, verdict.advice, *verdict.details, *verdict.notes])
    assert [part for part in said if part not in text] == [], text
    return verdict


# It has ended


def test_it_has_finished() -> None:
    check(scene(S.RUN_DONE, S.JOB_FINISHED), "finished", "", "--value RESTART_READY")


def test_it_was_killed() -> None:
    check(scene(S.RUNNING, (S.USER_KILLED, "by me")), "killed", "", "by me", "stays killed")


@pytest.mark.parametrize(
    ("history", "target"),
    [
        ((S.RUNNING, S.RUN_ERROR), "RESTART_READY"),
        ((S.RUNNING, S.RUN_TIMEOUT), "RESTART_READY"),
        ((S.READY,), "CREATED"),
        ((S.STAGED_IN,), "CREATED"),
        ((S.RUNNING, S.RUN_DONE), "RUN_DONE"),
        ((S.RUN_DONE, S.POSTPROCESSED), "POSTPROCESSED"),
    ],
)
def test_what_failed_is_done_again_from_where_it_failed(history: tuple[State, ...], target: str) -> None:
    found = scene(*history, (S.FAILED, "it broke\nlast words"), fields={"exit_code": 3})
    check(found, "failed", f"{ME} state --value {target}", "it broke", "exit code 3", "last words")


def test_restarts_are_used_up() -> None:
    message = "launcher lost; max_restarts is used up"
    found = scene(S.RUN_TIMEOUT, (S.FAILED, message), fields={"restarts": 4})
    check(found, "restarts-used-up", f"{ME} state --value RESTART_READY", "lost 4 times", "max_restarts = 3")


def test_a_parent_failed() -> None:
    parents = (Relative("11111111-x", "p", S.FAILED), Relative("2", "q", S.RUNNING))
    found = scene(S.AWAITING_PARENTS, (S.FAILED, "parent p (11111111) ended without finishing"), parents=parents)
    verdict = check(found, "parent-failed", "balsam modify jobs 11111111 --attr state --value RESTART_READY")
    assert verdict.follow == "11111111-x"


def test_a_parent_was_killed_or_deleted() -> None:
    message = "parent p (11111111) ended without finishing"
    killed = Relative("11111111-x", "p", S.USER_KILLED)
    alone = f"{ME} wait_for_parents --value false && {ME} state --value CREATED"
    failed = scene(S.AWAITING_PARENTS, (S.FAILED, message))
    check(replace(failed, parents=(killed,)), "parent-failed", alone)
    check(replace(failed, parents=(killed, Relative("2", "q", S.RUNNING))), "parent-failed", "")
    check(failed, "parent-failed", f"{ME} state --value CREATED")


# It runs


def test_it_runs_and_where_and_since_when() -> None:
    found = scene(S.PREPROCESSED, S.RUNNING, holder=launcher(runs_on=("n1", "n2")))
    check(found, "running", "", "under launcher h:1", "on n1, n2", "(5m)", "balsam logs 3fa81b2c -f")


def test_its_launcher_is_gone() -> None:
    check(scene(S.PREPROCESSED, S.RUNNING, holder=launcher(is_alive=False)), "launcher-lost", "", "lease_seconds")


# The scheduler has it, or is to have it


def test_the_scheduler_is_away() -> None:
    for state in (S.CREATED, S.AWAITING_PARENTS, S.READY, S.RUN_DONE):
        check(scene(state, scheduler=None), "services-down", "balsam up", "scheduler")
    assert "post-processing and stage-out after the run wait for it" in judge(runnable(scheduler=None)).notes[0]


def test_a_script_runs() -> None:
    found = scene(S.READY, S.STAGED_IN, in_step=True, script_pid=77, scheduler=BUSY)
    check(found, "in-step", "", "pre-processing script runs (pid 77)", "(5m)", "preprocess.log")


def test_files_are_copied() -> None:
    check(scene(S.READY, in_step=True, scheduler=BUSY), "in-step", "", "its stage-in runs", "staging_timeout_seconds")


@pytest.mark.parametrize("in_step", [True, False])
def test_a_script_waits_for_a_worker(in_step: bool) -> None:
    found = scene(S.RUN_DONE, in_step=in_step, scheduler=BUSY, steps_ahead=3)
    check(
        found, "steps-full", "", "post-processing script waits", "its 2 workers", "3 jobs came before", "script_workers"
    )


def test_a_script_of_a_member_waits_for_their_launcher() -> None:
    his = {"fields": {"owner": "bob"}, "scheduler_serves": False, "scheduler": BUSY}
    waits = scene(S.STAGED_IN, me="ann", **his)
    check(waits, "steps-wait-for-launcher", "", "in the account of bob", "bob starts a launcher")
    check(replace(waits, me="bob"), "steps-wait-for-launcher", "balsam launcher")
    check(replace(waits, step_workers=1), "moving", "", "a launcher of bob is about to")
    check(replace(waits, scheduler_serves=True), "steps-full")


def test_a_job_of_somebody_else_is_not_for_one_s_own_launchers() -> None:
    place = replace(HERE, users=frozenset({"ann"}))
    his = runnable({"owner": "bob"}, place=place, me="ann")
    check(his, "no-launcher", "", "no launcher is at work", "bob starts a launcher")
    taken = launcher(users=frozenset({"ann"}))
    said = ("takes the jobs of ann, and not those of bob", "(--trust)")
    check(replace(his, launchers=(taken,)), "other-users", "", *said)
    check(replace(his, launchers=(taken, launcher(users=frozenset({"ann", "bob"})))), "starting")
    check(runnable({"owner": "ann"}, place=place, me="ann"), "no-launcher", "balsam launcher")


def test_it_waits_for_parents() -> None:
    parents = (Relative("11111111-x", "p", S.RUNNING), Relative("22222222-x", "q", S.FAILED))
    verdict = check(
        scene(S.AWAITING_PARENTS, parents=parents),
        "waits-for-parents",
        "",
        "q (22222222), which is FAILED",
        "`balsam why 22222222` says what holds that one",
    )
    assert verdict.details == ("q (22222222) is FAILED", "p (11111111) is RUNNING")
    cause = Verdict("no-launcher", "no launcher is at work", "balsam launcher")
    assert verdict.because("q", cause).fix == "balsam launcher"
    runs = Verdict("running", "it runs", advice="`balsam logs -f` follows it")
    assert verdict.because("q", runs).advice == "`balsam logs -f` follows it"
    assert verdict.because("q", runs).fix == ""
    assert verdict.because("q", cause).record()["cause"]["condition"] == "no-launcher"


def test_of_many_parents_a_few_are_shown() -> None:
    parents = tuple(Relative(f"{number:08d}", "", S.RUNNING) for number in range(9))
    verdict = judge(scene(S.AWAITING_PARENTS, parents=parents))
    assert len(verdict.details) == 6
    assert verdict.details[-1] == "... 4 more"


def test_the_scheduler_moves_it_on() -> None:
    check(scene(S.CREATED), "moving")
    check(scene(S.AWAITING_PARENTS), "moving")


def test_without_a_command_no_launcher_helps() -> None:
    change = "balsam modify jobs 3fa81b2c --attr args --value COMMAND"
    check(runnable({"args": " "}), "no-command", "", "there is no command to run", change)
    check(runnable({"args": "", "application": "sim"}), "no-launcher", "balsam launcher")


# Launchers that could run it


def test_a_launcher_has_it() -> None:
    check(runnable(holder=launcher()), "held", "", "launcher h:1 has taken it")


def test_it_is_about_to_start() -> None:
    check(runnable(launchers=(launcher(),)), "starting", "", "about to start it")


def test_launchers_are_full() -> None:
    full = launcher(free_nodes=0.5)
    check(runnable(launchers=(full,)), "launchers-full", "", "is full")
    waiting = runnable(launchers=(full,), ahead=12, first_ahead={"priority": 4})
    check(waiting, "launchers-full", f"{ME} priority --value 5", "12 jobs start before it")
    assert "up to 12 jobs" in judge(replace(waiting, ahead_at_most=True)).why
    half = runnable({"node_packing_count": 2}, launchers=(full,))
    check(half, "starting")


def test_a_larger_job_is_first() -> None:
    first = {"job_id": "99999999-x", "name": "big", "num_nodes": 3, "priority": 0}
    found = runnable(launchers=(launcher(4),), ahead=1, first_ahead=first)
    check(found, "behind-others", f"{ME} priority --value 1", "1 job starts before it", "big (99999999), needs 3 nodes")


def test_the_launcher_is_draining() -> None:
    check(runnable(launchers=(launcher(closing=True),)), "launcher-closing", "balsam launcher", "draining")
    both = runnable(launchers=(launcher(closing=True), launcher(2)))
    assert len(check(both, "starting").details) == 2


def test_nodes_are_set_aside() -> None:
    partly = launcher(4, closed_nodes=2, largest=2, set_aside={"n3": "no scratch"})
    found = runnable({"num_nodes": 3}, launchers=(partly,), place=CLUSTER)
    check(found, "nodes-set-aside", "balsam submit-launch -n 3 -t 3", "has 2 of its 4 nodes", "n3: no scratch")
    check(runnable(launchers=(partly,)), "starting")
    check(runnable(launchers=(launcher(closed_nodes=1, largest=1),)), "nodes-set-aside", "balsam launcher")


def test_a_dead_launcher_does_not_count() -> None:
    check(runnable(launchers=(launcher(is_alive=False),)), "no-launcher", "balsam launcher")


# Launchers that never can


@pytest.mark.parametrize(
    ("fields", "at_work", "condition", "fix"),
    [
        ({}, launcher(workflow="v"), "workflow-filter", "balsam launcher --wf-filter w"),
        ({"ranks_per_node": 2}, launcher(mode="serial"), "job-mode", "balsam launcher"),
        ({"wall_time_minutes": 60}, launcher(minutes=10), "time-left", "balsam launcher"),
        ({}, launcher(launch=7, bound_only=True), "bound-jobs-only", "balsam launcher"),
        (
            {"threads_per_rank": 8, "cpu_affinity": "depth"},
            launcher(kinds=(NodeKind(1, 4, 0),)),
            "cores",
            "balsam launcher",
        ),
    ],
)
def test_a_launcher_never_takes_it(fields: dict[str, Any], at_work: Launcher, condition: str, fix: str) -> None:
    check(runnable(fields, launchers=(at_work,)), condition, fix, "launcher h:1")


def test_of_several_launchers_the_one_that_comes_nearest_is_named() -> None:
    found = runnable({"wall_time_minutes": 60}, launchers=(launcher(workflow="v"), launcher(2, minutes=10)))
    verdict = check(found, "time-left", "balsam launcher --wf-filter w", "launcher h:2 has 10 of the 60 minutes")
    assert verdict.details == ("launcher h:1 takes workflow 'v' only", "launcher h:2 has 10 of the 60 minutes")


@pytest.mark.parametrize(
    ("fields", "fix", "said"),
    [
        ({"num_nodes": 9}, "num_nodes --value 2", "has 2 of the 9 nodes"),
        ({"gpus_per_rank": 2}, "gpus_per_rank --value 1", "no node has 2 GPUs (at most 1)"),
        ({"gpus_per_rank": 1, "ranks_per_node": 2}, "gpus_per_rank --value 0.5", "no node has 2 GPUs"),
        (
            {"threads_per_rank": 99, "cpu_affinity": "depth"},
            "threads_per_rank --value 8",
            "99 cores to be bound to (at most 8)",
        ),
        ({"ranks_per_node": 99, "cpu_affinity": "depth"}, "cpu_affinity --value none", "no node has 99 cores"),
        ({"gpus_per_rank": 1, "num_nodes": 2}, "num_nodes --value 1", "has 1 of the 2 nodes with 1 GPU"),
    ],
)
def test_what_can_never_fit_is_made_smaller(fields: dict[str, Any], fix: str, said: str) -> None:
    kinds = (NodeKind(1, 8, 0), NodeKind(1, 8, 1))
    found = runnable(fields, launchers=(launcher(2, kinds=kinds),))
    check(found, "never-fits", f"{ME} {fix}", said, "nothing that exists")


def test_on_a_cluster_more_nodes_can_be_asked_for() -> None:
    found = runnable({"num_nodes": 9, "wall_time_minutes": 30}, launchers=(launcher(2),), place=CLUSTER)
    check(found, "nodes", "balsam submit-launch -n 9 -t 32", "has 2 of the 9 nodes")


def test_the_settings_say_what_no_node_of_the_cluster_has() -> None:
    place = replace(CLUSTER, node=NodeKind(1, gpus=2))
    check(
        runnable({"gpus_per_rank": 4}, place=place), "never-fits", f"{ME} gpus_per_rank --value 2", "no node has 4 GPUs"
    )
    fits = runnable({"gpus_per_rank": 2}, place=place)
    check(fits, "no-launcher", "balsam submit-launch -n 1 -t 3")


# Nobody, or launches to come


def test_no_launcher_is_at_work() -> None:
    check(runnable(), "no-launcher", "balsam launcher", "no launcher is at work")
    check(scene(S.RUN_TIMEOUT, S.RESTART_READY), "no-launcher", "balsam launcher")


@pytest.mark.parametrize(
    ("state", "condition"),
    [
        ("PENDING_SUBMISSION", "launch-queued"),
        ("QUEUED", "launch-queued"),
        ("RUNNING", "launch-starting"),
        ("UNKNOWN", "launch-unknown"),
    ],
)
def test_a_launch_is_to_come(state: str, condition: str) -> None:
    found = runnable(launches=(launch(state=state, message="Resources"),), launchers=(launcher(workflow="v"),))
    check(found, condition, "", "launch 7 (slurm job 12)", "Resources", "takes workflow 'v' only", "ls launches")


def test_a_launch_that_waits_in_vain_is_to_be_cancelled() -> None:
    stuck = launch(message="PartitionTimeLimit: it does not start by itself", in_vain=True)
    said = ("launch 7 (slurm job 12) is QUEUED: PartitionTimeLimit: it does not start", "submit one that may have")
    check(runnable(launches=(stuck,)), "launch-in-vain", "balsam cancel 7", *said)
    check(runnable(launches=(stuck, launch(message="Priority"))), "launch-queued", "", "Priority")
    check(runnable(launches=(stuck,), policy=Policy(at_work=True)), "service-waits")
    bound = runnable({"queued_launch": 7}, bound_to=stuck)
    check(bound, "launch-in-vain", f"{ME} queued_launch --value ''", "it is bound to launch 7", "PartitionTimeLimit")


def test_a_launch_that_is_too_small_does_not_count() -> None:
    found = runnable({"wall_time_minutes": 60}, launches=(launch(minutes=10),))
    check(found, "time-left", "balsam launcher", "launch 7 has 10 of the 60 minutes")
    nobodys = runnable(launches=(launch(batch=""),))
    check(nobodys, "no-launcher", "balsam launcher")


def test_launchers_that_go_by_the_history_take_what_is_quick_by_experience() -> None:
    asks = {"wall_time_minutes": 600, "application": "simulate"}
    known = replace(runnable(asks).need, expected=8)
    check(runnable(asks, launchers=(launcher(minutes=10, quick=frozenset({"simulate"})),)), "starting")
    other = launcher(minutes=10, quick=frozenset({"analyse"}))
    check(runnable(asks, launchers=(other,)), "time-left", "balsam launcher", "has 10 of the 600 minutes")
    check(runnable(asks, need=known, launches=(launch(minutes=10),)), "launch-queued")
    too_large = replace(known, nodes=2)
    check(runnable(asks, need=too_large, place=CLUSTER), "no-launcher", "balsam submit-launch -n 2 -t 10")


def test_a_launcher_at_work_tells_what_is_quick() -> None:
    session = session_pb2.Session(nodes=1, job_mode="auto")
    taker = asking.taker_at_work(session, asking.Credit(minutes=5, quick_applications=["simulate"]))
    assert (taker.minutes, taker.quick) == (5, {"simulate"})


def test_it_is_bound_to_a_launch() -> None:
    free = f"{ME} queued_launch --value ''"
    fields = {"queued_launch": 7}
    check(runnable(fields), "launch-gone", free)
    check(runnable(fields, bound_to=launch(batch="", state="PENDING_SUBMISSION")), "launch-gone", free)
    waits = runnable(fields, bound_to=launch(message="Priority"))
    check(waits, "launch-queued", "", "bound to launch 7", "Priority")
    small = runnable(fields | {"num_nodes": 2}, bound_to=launch())
    check(small, "nodes", free, "which has 1 of the 2 nodes")
    late = runnable(fields | {"wall_time_minutes": 9}, launchers=(launcher(launch=7, minutes=5),))
    check(late, "time-left", free, "launcher h:1, which is of that, has 5 of the 9 minutes")
    others = runnable(fields, bound_to=launch(), launchers=(launcher(),))
    check(others, "launch-queued")


def test_the_automatic_submitter_looks_after_it() -> None:
    check(runnable(policy=Policy(at_work=True)), "service-waits", "", "about to submit")
    check(runnable(policy=Policy(at_work=True, verdict="max_launches")), "service-waits", "", "now: max_launches")
    check(runnable(policy=Policy()), "no-launcher", "balsam service")
    check(runnable(policy=Policy(trouble="policy.toml is not valid")), "no-launcher", "balsam launcher", "not valid")
    never = Policy(never="needs 9 nodes")
    check(runnable(policy=never), "policy", "balsam launcher", "needs 9 nodes")


# What else is said


def test_time_outs_in_a_row_are_noted() -> None:
    verdict = judge(scene(S.RUN_TIMEOUT, S.RESTART_READY, fields={"timeouts": 3}))
    assert "cut off 3 times in a row" in verdict.notes[0]


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("busy", [IDLE, BUSY, Scheduler(), None])
def test_there_is_a_reason_in_every_state(state: State, busy: Scheduler | None) -> None:
    for place in (HERE, CLUSTER, Place()):
        assert judge(scene(state, scheduler=busy, place=place)).why


def test_only_one_s_own_launchers_are_asked_and_where_they_must_be(site: Site) -> None:
    """Whoever is asked gets the token of who asks, and anybody who may open a session says what address they like."""
    asked: list[str] = []

    def ask(**fields: Any) -> None:
        session = session_pb2.Session(**({"host": socket.gethostname(), "pid": 7, "user": "ann"} | fields))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("balsam.rpc.Connection.__init__", lambda *_, address, **__: asked.append(address))
            patch.setattr("balsam.rpc.Connection.close", lambda _: None)
            patch.setattr("balsam.rpc.Connection.call", refuse)
            collecting._asked_itself(site, "ann", session, launcher(), JOB_ID)

    ask(address="unix:/tmp/theirs.sock")
    ask(address=site.address("launcher-7"), user="bob")
    ask(address=site.address("launcher-7"), host="elsewhere")
    assert asked == []
    ask(address=site.address("launcher-7"))
    assert asked == [site.address("launcher-7")]


def refuse(*_: object, **__: object) -> None:
    raise Unavailable("nobody is there")
