"""Jobs as objects, before anything is contacted."""

from __future__ import annotations

import json
import pickle
import uuid
from typing import Any

import pytest

from balsam.errors import InvalidParentsError, ValidationError
from balsam.fields import JOB_FIELDS, Phase
from balsam.ids import new_id, new_job_id
from balsam.job import BalsamJob

PARENT = "1f4a09c2-0000-4000-8000-000000000001"


def stored(**values: Any) -> BalsamJob:
    """A job as the store gives it."""
    return BalsamJob._from_values({"job_id": new_id(), "revision": 3, **values})


def test_every_field_is_there_with_its_default() -> None:
    job = BalsamJob()
    for name, field in JOB_FIELDS.items():
        expected = "" if name == "environ_vars" else field.default
        if name != "job_id":
            assert getattr(job, name) == expected, name


def test_every_field_that_can_be_set_is_taken_by_the_constructor() -> None:
    values = {"user_workdir": "/tmp/x", "stage_in_url": "/a", "stage_out_url": "scp:h:/b", "cpu_affinity": "depth"}
    for name, field in JOB_FIELDS.items():
        if field.phase is not Phase.NEVER and name not in ("job_id", "state"):
            value = values.get(name, field.default)
            BalsamJob(**{name: value})
            BalsamJob().__setattr__(name, value)


def test_values_are_converted_where_that_is_exact() -> None:
    job = BalsamJob(ranks_per_node="2", gpus_per_rank=1, wait_for_parents="no", parents=json.dumps([PARENT]))
    assert (job.ranks_per_node, job.gpus_per_rank, job.wait_for_parents, job.parents) == (2, 1.0, False, [PARENT])
    job.num_nodes = 3.0  # type: ignore[assignment]
    assert job.num_nodes == 3


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rank_per_node": 2}, "'rank_per_node' is not a field of BalsamJob; did you mean 'ranks_per_node'?"),
        ({"num_nodes": 0}, "num_nodes = 0: must be at least 1"),
        ({"num_nodes": 1.5}, "num_nodes = 1.5: must be a whole number"),
        ({"name": "a/b"}, "name = 'a/b'"),
        ({"args": "'"}, 'args = "\'": does not split into words'),
        ({"data": {"x": float("nan")}}, "cannot be stored as JSON"),
        ({"data": [1]}, "must be a JSON object"),
        ({"parents": ["x"]}, "parents = 'x': is not a job id"),
        ({"environ_vars": "A"}, "is no NAME=VALUE"),
        ({"owner": "me"}, "owner = 'me': is read-only"),
        ({"state": "RUNNING"}, "a new job is CREATED"),
        ({"job_id": "7"}, "job_id = '7': is not a job id"),
    ],
)
def test_what_is_wrong_is_refused_at_once(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        BalsamJob(**fields)
    assert said in str(refused.value)
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("nmae", "x", "'nmae' is not a field"),
        ("num_nodes", -1, "num_nodes = -1"),
        ("owner", "me", "is read-only"),
        ("num_ranks", 3, "num_ranks of BalsamJob is read-only"),
        ("job_id", PARENT, "is fixed at creation"),
    ],
)
def test_attributes_are_checked_too(name: str, value: Any, said: str) -> None:
    job = stored(num_nodes=2)
    with pytest.raises(ValidationError, match=said):
        setattr(job, name, value)
    assert job.changed_fields() == []


def test_the_id_is_a_uuid() -> None:
    job = BalsamJob()
    assert isinstance(job.job_id, uuid.UUID)
    assert job.job_id.version == 4
    assert job.pk == job.job_id
    assert BalsamJob(job_id=PARENT).job_id == BalsamJob(pk=uuid.UUID(PARENT)).job_id
    assert len({new_id() for _ in range(1000)}) == 1000
    assert str(uuid.UUID(new_id())) != new_id()


def test_ids_of_jobs_made_together_lie_together_and_are_told_apart_when_cut() -> None:
    ids = [new_job_id() for _ in range(5000)]
    assert len(set(ids)) == 5000
    assert {uuid.UUID(job_id).version for job_id in ids} == {4}
    assert len({job_id[:2] for job_id in ids[-3000:]}) <= 4
    assert len({job_id[:8] for job_id in ids}) > 4990


def test_jobs_are_equal_by_id() -> None:
    job = BalsamJob(job_id=PARENT, name="a")
    same = BalsamJob(job_id=PARENT, name="b")
    assert job == same
    assert len({job, same, BalsamJob()}) == 2
    assert job != PARENT


def test_nothing_is_shared_between_jobs() -> None:
    BalsamJob().data["x"] = 1
    BalsamJob().parents.append(PARENT)
    assert BalsamJob().data == {}
    assert BalsamJob().parents == []
    assert JOB_FIELDS["data"].default == {}


class TestChanges:
    """What a save would send."""

    def test_nothing_after_loading(self) -> None:
        job = stored(name="a", data='{"x": 1}', environ_vars={"A": "1"}, parents=[PARENT])
        assert job.changed_fields() == []
        assert (job.data, job.environ_vars, job.parents) == ({"x": 1}, "A=1", [PARENT])
        assert job.changed_fields() == []

    def test_what_was_set(self) -> None:
        job = stored(name="a", priority=2)
        job.name, job.priority = "b", 2
        assert job.changed_fields() == ["name"]

    def test_what_was_set_back_is_no_change(self) -> None:
        job = stored(name="a")
        job.name = "b"
        job.name = "a"
        assert job.changed_fields() == []

    @pytest.mark.parametrize("after", [{"x": 2}, {"x": 1, "y": {}}, {}, {"x": 1.0}, {"x": True}, {"x": "1"}])
    def test_data_that_was_changed_in_place(self, after: dict[str, Any]) -> None:
        job = stored(data='{"x": 1}')
        job.data.clear()
        job.data.update(after)
        assert job.changed_fields() == ["data"]

    def test_data_that_was_changed_deep_inside(self) -> None:
        job = stored(data='{"a": {"b": [1, 2]}}')
        job.data["a"]["b"].append(3)
        assert job.changed_fields() == ["data"]

    def test_data_that_cannot_be_stored_is_a_change_and_refused(self) -> None:
        job = stored()
        job.data["x"] = object()
        assert job.changed_fields() == ["data"]
        with pytest.raises(ValidationError, match="cannot be stored as JSON"):
            job.save()
        new = BalsamJob()
        new.data["x"] = {1, 2}
        with pytest.raises(ValidationError, match="cannot be stored as JSON"):
            new.save()

    def test_variables_that_need_the_dict_form_can_be_changed_in_place(self) -> None:
        job = stored(environ_vars={"PATH": "/a:/b"})
        variables = job.environ_vars
        assert isinstance(variables, dict)
        variables["B"] = "2"
        assert job.changed_fields() == ["environ_vars"]

    def test_parents_in_another_order_are_the_same(self) -> None:
        other = new_id()
        job = stored(parents=[PARENT, other])
        job.parents.reverse()
        assert job.changed_fields() == []
        job.parents.append(BalsamJob())  # type: ignore[arg-type]
        assert job.changed_fields() == ["parents"]

    def test_parents_that_were_never_read_and_are_set_to_none_are_a_change(self) -> None:
        job = stored()
        job.parents = []
        assert job.changed_fields() == ["parents"]


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("", ""),
        ("A=1:B=2", "A=1:B=2"),
        ({"A": 1, "B": "x=y"}, "A=1:B=x=y"),
        ({"URL": "http://x"}, {"URL": "http://x"}),
        ({"A": ""}, "A="),
    ],
)
def test_variables_are_text_where_text_says_them_exactly(given: Any, seen: Any) -> None:
    assert BalsamJob(environ_vars=given).environ_vars == seen


def test_a_state_may_not_be_set_before_the_job_is_stored() -> None:
    job = BalsamJob()
    job.state = "PREPROCESSED"
    with pytest.raises(ValidationError, match="a new job is CREATED; save it, then call update_state"):
        job.save()
    with pytest.raises(ValidationError, match="is not stored yet"):
        BalsamJob().update_state("FAILED")
    with pytest.raises(ValidationError, match="is not stored yet"):
        BalsamJob().save(update_fields=["name"])


def test_what_a_save_may_name() -> None:
    with pytest.raises(ValidationError, match="must be a list of names"):
        stored().save(update_fields="name")
    with pytest.raises(ValidationError, match="not a field"):
        stored().save(update_fields=["nmae"])
    with pytest.raises(ValidationError, match="owner cannot be changed: it is read-only"):
        stored().save(update_fields=["owner"])


def test_parents_of_a_new_job_are_set_in_many_forms() -> None:
    job, parent = BalsamJob(), BalsamJob(job_id=PARENT)
    for form in ([parent], [PARENT], [uuid.UUID(PARENT)], parent, json.dumps([PARENT]), (p for p in [parent])):
        job.set_parents(form)
        assert job.parents == [PARENT]
    with pytest.raises(InvalidParentsError, match="is not a job id"):
        job.set_parents(["x"])
    assert job.parents == [PARENT]


def test_derived_members() -> None:
    job = BalsamJob(name="hello", num_nodes=2, ranks_per_node=3, threads_per_rank=3, threads_per_core=2)
    assert job.num_ranks == 6
    assert job.required_num_cores == 10
    assert job.cute_id == f"[hello | {str(job.pk)[:8]}]"
    assert BalsamJob(job_id=PARENT).cute_id == "[1f4a09c2]"
    assert BalsamJob(args="echo 'a  b' ~").app_cmd.startswith("echo 'a  b' /")
    assert (job.preprocess, job.postprocess, job.envscript, job.state_history) == ("", "", "", "")


def test_plain_data_and_back() -> None:
    job = stored(
        name="a",
        data='{"x": [1]}',
        environ_vars={"A": "b:c"},
        parents=[PARENT],
        state="FAILED",
        create_time=BalsamJob.from_dict({"create_time": "2030-01-02T03:04:05.000006Z", "revision": 1}).create_time,
    )
    plain = json.loads(json.dumps(job.to_dict()))
    assert plain["create_time"] == "2030-01-02T03:04:05.000006Z"
    assert set(plain) == set(JOB_FIELDS)
    back = BalsamJob.from_dict(plain)
    assert back == job
    assert back.to_dict() == plain
    assert back.changed_fields() == []


def test_plain_data_is_not_shared() -> None:
    job = BalsamJob(data={"a": {"b": 1}})
    job.to_dict()["data"]["a"]["b"] = 2
    assert job.data == {"a": {"b": 1}}


def test_a_job_can_be_pickled_with_its_changes() -> None:
    job = stored(name="a", data='{"x": 1}')
    job.data["x"] = 2
    back = pickle.loads(pickle.dumps(job))
    assert back == job
    assert back.changed_fields() == ["data"]
    back.data["x"] = 1
    assert back.changed_fields() == []
    assert job.data == {"x": 2}
