"""Adding jobs: once, item by item or all or nothing, with parents, and in a directory of their own."""

from __future__ import annotations

import itertools
import uuid

import pytest

from balsam.errors import ValidationError
from balsam.fields import JOB_FIELDS, MAX_DATA_DEPTH
from balsam.states import Actor, State
from balsam_jobstore.creation import NotAllCreated
from balsam_jobstore.database import Database
from balsam_jobstore.query import Test as Compare
from tests.support.store import Bench, job

S = State


def cousin(digits: str) -> str:
    """A job id that starts with eight given digits."""
    return digits + str(uuid.uuid4())[8:]


def test_a_job_is_created_once_however_often_it_is_sent(bench: Bench) -> None:
    new = job("a", args="1")
    assert bench.create(new).created == 1

    again = job("b", job_id=new.job_id, args="2")
    outcome = bench.create(again, again)
    assert (outcome.created, outcome.existing) == (0, 2)
    assert bench.get(new.job_id)["args"] == "1"
    assert len(bench.events_of(new.job_id)) == 2


def test_a_job_twice_in_one_batch_is_created_once(bench: Bench) -> None:
    new = job("a")
    outcome = bench.create(new, job("x"), new)
    assert (outcome.created, outcome.existing) == (2, 1)


def test_two_commands_of_one_transaction_create_a_job_once(bench: Bench) -> None:
    from balsam_jobstore import creation

    new = job("a")
    made = bench.writer.do_together(
        *[lambda tx: creation.create(tx, [new], owner="me", actor=Actor.USER, atomic=False)] * 2
    )
    assert [outcome.created for outcome in made] == [1, 0]


def test_a_job_is_created_once_over_a_restart(store_url: str) -> None:
    new = job("a")
    for created in (1, 0):
        database = Database(store_url)
        bench = Bench(database)
        assert bench.create(new).created == created
        bench.close()
        database.close()


def test_what_is_wrong_with_one_job_does_not_hold_up_the_others(bench: Bench) -> None:
    nobody = str(uuid.uuid4())
    own = str(uuid.uuid4())
    late = job("late")
    outcome = bench.create(
        job("a", index=0),
        job("b", index=1, application="nosuch"),
        job("c", index=2, parents=[nobody]),
        job("d", index=3, job_id=own, parents=[own]),
        job("e", index=4, parents=[late.job_id]),
        late,
    )
    assert outcome.created == 2
    assert [(item.index, item.field) for item in outcome.refusals] == [
        (1, "application"),
        (2, "parents"),
        (3, "parents"),
        (4, "parents"),
    ]
    messages = [item.message for item in outcome.refusals]
    assert "'nosuch'" in messages[0]
    assert nobody in messages[1]
    assert "the job itself" in messages[2]
    assert "before its children" in messages[3]


def test_children_of_a_refused_job_are_refused(bench: Bench) -> None:
    parent = job("parent", application="nosuch")
    outcome = bench.create(parent, job("child", parents=[parent.job_id]))
    assert (outcome.created, len(outcome.refusals)) == (0, 2)


def test_all_or_nothing_adds_nothing_where_one_is_refused(bench: Bench) -> None:
    with pytest.raises(NotAllCreated) as caught:
        bench.create(job("a"), job("b", index=1, application="nosuch"), atomic=True)
    assert [item.index for item in caught.value.outcome.refusals] == [1]
    assert bench.sql("SELECT count(*) FROM job") == [(0,)]

    assert bench.create(job("a"), job("b"), atomic=True).created == 2


def test_values_that_were_not_given_are_the_defaults(bench: Bench) -> None:
    from balsam.fields import JOB_FIELDS, Phase

    found = bench.get(bench.add("a"))
    encoded = {"environ_vars": "", "cpu_affinity": 1}
    for name, field in JOB_FIELDS.items():
        if field.phase not in (Phase.NEVER, Phase.CREATION) and name not in ("name", "state", "data"):
            assert found[name] == encoded.get(name, field.default), name
    assert (found["owner"], found["attempt"], found["exit_code"], found["revision"]) == ("me", 0, None, 1)


def test_values_come_back_as_they_were_given(bench: Bench) -> None:
    text = "tab\t newline\n backslash \\ \\N \\. quote ' \" percent % :name {keys} é 漢 😀"
    data = {"text": text, "list": [1, 2.5, None, True], "deep": {"a": {"b": "\\"}}, "": 0, "big": 10**30}
    fields = {
        "description": text,
        "args": "--text 'a b' \\$HOME",
        "environ_vars": {"A": "1:2=3", "TEXT": text},
        "gpus_per_rank": 0.1,
        "priority": -(2**31) + 1,
    }
    many = [job(f"j{i}", data=data, **fields) for i in range(70)]  # as many as are copied, and one insert more
    assert bench.create(*many).created == 70
    for new in (many[0], many[69]):
        found = bench.get(new.job_id)
        import json

        stored = found["data"] if isinstance(found["data"], dict) else json.loads(found["data"])
        assert stored == data
        assert json.loads(found["environ_vars"]) == fields["environ_vars"]
        assert {name: found[name] for name in ("description", "args", "gpus_per_rank", "priority")} == {
            name: fields[name] for name in ("description", "args", "gpus_per_rank", "priority")
        }


def test_data_may_be_nested_but_not_without_end(bench: Bench) -> None:
    def nested(depth: int) -> str:
        return '{"x":' + "[" * (depth - 1) + "]" * (depth - 1) + "}"

    job_id = bench.add("deep", data=nested(MAX_DATA_DEPTH))
    wide = bench.add("wide", data={"x": [[] for _ in range(1000)]})
    found, _ = bench.list(Compare("data", "isnull", (False,), ("x", "0", "0")))
    assert [str(row["job_id"]) for row in found] == [job_id]
    for depth in (MAX_DATA_DEPTH + 1, 900, 950, 980, 10_000):
        with pytest.raises(ValidationError, match="nested too deeply"):
            bench.update(wide, data=JOB_FIELDS["data"].check(nested(depth)))


def test_working_directories_are_unique_where_eight_digits_collide(bench: Bench) -> None:
    ids = [cousin("0123abcd") for _ in range(4)]
    bench.create(job("x", job_id=ids[0], workflow="wf"))
    bench.create(job("x", job_id=ids[1], workflow="wf"), job("x", job_id=ids[2], workflow="wf"))
    bench.create(job("x", job_id=ids[3], workflow="other"))
    assert [bench.get(i)["working_directory"] for i in ids] == [
        "wf/x_0123abcd",
        f"wf/x_{ids[1]}",
        f"wf/x_{ids[2]}",
        "other/x_0123abcd",
    ]


def test_a_working_directory_stays_taken_when_its_job_is_renamed(bench: Bench) -> None:
    first, second = cousin("0123abcd"), cousin("0123abcd")
    bench.create(job("x", job_id=first))
    bench.update(first, name="y", workflow="z")
    bench.create(job("x", job_id=second))
    assert bench.get(first)["working_directory"] == "x_0123abcd"
    assert bench.get(second)["working_directory"] == f"x_{second}"


@pytest.mark.parametrize(
    ("name", "workflow", "directory"),
    [
        ("a b", "w", "w/a_b_{}"),
        ("", "w", "w/job_{}"),
        ("", "", "job_{}"),
        ("a", "deep/er", "deep/er/a_{}"),
        ("é %s", "", "é_%s_{}"),
    ],
)
def test_the_working_directory_is_made_of_workflow_name_and_id(
    bench: Bench, name: str, workflow: str, directory: str
) -> None:
    job_id = bench.add(name, workflow=workflow)
    assert bench.get(job_id)["working_directory"] == directory.format(job_id[:8])


def test_names_that_differ_by_blanks_only_get_directories_of_their_own(bench: Bench) -> None:
    ids = [cousin("0123abcd") for _ in range(3)]
    for job_id, name in zip(ids, ("a b", "a_b", "a  b"), strict=True):
        bench.create(job(name, job_id=job_id))
    assert len({bench.get(job_id)["working_directory"] for job_id in ids}) == 3


def test_a_user_s_working_directory_is_taken_as_it_is(bench: Bench) -> None:
    ids = [bench.add("a", user_workdir="/scratch/x") for _ in range(2)]
    assert [bench.get(i)["working_directory"] for i in ids] == ["/scratch/x"] * 2
    bench.update(ids[0], user_workdir="/scratch/y")
    assert bench.get(ids[0])["working_directory"] == "/scratch/y"


def test_a_child_waits_for_its_parents_and_for_them_only(bench: Bench) -> None:
    parent = bench.add("parent")
    assert bench.state(bench.add("child", parents=[parent])) is S.AWAITING_PARENTS
    assert bench.state(bench.add("free")) is S.PREPROCESSED


def test_a_child_of_a_finished_parent_does_not_wait(bench: Bench) -> None:
    parent = bench.add("parent")
    bench.set_state(parent, S.JOB_FINISHED)
    child = bench.add("child", parents=[parent])
    assert bench.history(child) == [S.CREATED, S.READY, S.STAGED_IN, S.PREPROCESSED]


@pytest.mark.parametrize("end", [S.FAILED, S.USER_KILLED])
def test_a_child_of_a_parent_that_did_not_finish_fails_and_names_it(bench: Bench, end: State) -> None:
    parent = bench.add("parent")
    bench.set_state(parent, end)
    child = bench.add("child", parents=[parent])
    assert bench.history(child) == [S.CREATED, S.FAILED]
    assert f"parent ({parent[:8]}), {end.name}," in bench.message(child)


def test_failure_passes_down_a_chain_that_is_added_at_once(bench: Bench) -> None:
    parent = bench.add("top")
    bench.set_state(parent, S.FAILED)
    chain = [job("j0", parents=[parent])]
    for i in range(1, 4):
        chain.append(job(f"j{i}", parents=[chain[-1].job_id]))
    bench.create(*chain)
    assert bench.states(*[new.job_id for new in chain]) == [S.FAILED] * 4
    for before, new in itertools.pairwise(chain):
        assert f"{before.values['name']} ({before.job_id[:8]}), FAILED," in bench.message(new.job_id)


def test_a_job_that_does_not_wait_goes_on_whatever_its_parents_do(bench: Bench) -> None:
    pending, failed = bench.add("pending"), bench.add("failed")
    bench.set_state(failed, S.FAILED)
    child = bench.add("child", parents=[pending, failed], wait_for_parents=False)
    assert bench.state(child) is S.PREPROCESSED
    bench.set_state(pending, S.FAILED)
    assert bench.state(child) is S.PREPROCESSED


def test_a_diamond_is_added_at_once(bench: Bench) -> None:
    top = job("top")
    sides = [job(f"side{i}", parents=[top.job_id]) for i in range(2)]
    bottom = job("bottom", parents=[side.job_id for side in sides])
    bench.create(top, *sides, bottom)
    assert bench.get(bottom.job_id)["parents"] == [side.job_id for side in sides]
    for step, state in ((top, S.AWAITING_PARENTS), (sides[0], S.AWAITING_PARENTS), (sides[1], S.PREPROCESSED)):
        bench.set_state(step.job_id, S.JOB_FINISHED)
        assert bench.state(bottom.job_id) is state


def test_a_creation_by_a_script_names_the_script(bench: Bench) -> None:
    new = job("a")
    bench.create(new, actor=Actor.SCRIPT)
    assert [Actor(event.actor) for event in bench.events_of(new.job_id)] == [Actor.SCRIPT, Actor.SCHEDULER]


def test_without_rules_a_job_stays_created_until_a_scheduler_comes(plain_bench: Bench) -> None:
    bench = plain_bench
    parent = bench.add("parent")
    child = bench.add("child", parents=[parent])
    assert bench.states(parent, child) == [S.CREATED, S.CREATED]
    bench.schedule()
    assert bench.states(parent, child) == [S.PREPROCESSED, S.AWAITING_PARENTS]


def test_a_scheduler_that_comes_late_finds_every_job_that_waits_for_it(
    plain_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("balsam_jobstore.store._CATCH_UP", 3)
    ids = [plain_bench.add(f"j{i}") for i in range(10)]
    plain_bench.schedule()
    assert set(plain_bench.states(*ids)) == {S.PREPROCESSED}
