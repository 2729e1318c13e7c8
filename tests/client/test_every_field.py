"""Every field of a job and an application: its default, a value that comes back, and one that is refused by name.

A field without a case here fails the test: what it means to the store has to be said when it is added.
"""

from __future__ import annotations

import dataclasses
import json
import uuid
from typing import Any

import pytest

from balsam import errors
from balsam.application import ApplicationDefinition
from balsam.fields import APPLICATION_FIELDS, JOB_FIELDS
from balsam.job import BalsamJob
from balsam.launch import QueuedLaunch
from balsam.launcher import dag

pytestmark = pytest.mark.usefixtures("store")

ID = "1f4a09c2-0000-4000-8000-000000000001"
SAME = object()


@dataclasses.dataclass(frozen=True)
class Case:
    """One field: its default, a value that is given and what is then seen, and a value that is refused."""

    default: Any
    good: Any
    bad: Any
    seen: Any = SAME
    """Of `good`, when it is read again."""

    @property
    def expected(self) -> Any:
        return self.good if self.seen is SAME else self.seen


JOBS: dict[str, Case] = {
    "name": Case("", "energy of Al", "a/b"),
    "workflow": Case("", "metals/Al", "/metals"),
    "description": Case("", "two\nlines, é", 7),
    "application": Case("", "app", ["app"]),
    "args": Case("", "--x 'a b'", "it's"),
    "environ_vars": Case("", {"PATH": "/a:/b", "N": 1}, "A", seen={"PATH": "/a:/b", "N": "1"}),
    "data": Case({}, {"x": [1, {"y": None}]}, {"x": float("nan")}),
    "parents": Case([], json.dumps([ID]), ["first"], seen=[ID]),
    "wait_for_parents": Case(True, False, "perhaps"),
    "input_files": Case("", "*.dat [ab]?", "it's"),
    "stage_in_url": Case("", "local:/data/in", "gsiftp://host/in"),
    "stage_out_url": Case("", "scp:host:/out", "relative"),
    "stage_out_files": Case("", "*.out result.*", "it's"),
    "user_workdir": Case("", "/scratch/x", "scratch/x"),
    "wall_time_minutes": Case(1, 0, -1),
    "num_nodes": Case(1, "4", 0, seen=4),
    "coschedule_num_nodes": Case(0, 2, -1),
    "ranks_per_node": Case(1, 2.0, 1.5, seen=2),
    "threads_per_rank": Case(1, 8, 0),
    "threads_per_core": Case(1, 2, True),
    "cpu_affinity": Case("none", "depth", "scatter"),
    "mpi_flags": Case("", "-genv A 'b c'", "it's"),
    "node_packing_count": Case(1, 16, 0),
    "gpus_per_rank": Case(0.0, 0.25, -1),
    "priority": Case(0, -3, "high"),
    "post_error_handler": Case(False, True, 2),
    "post_timeout_handler": Case(False, "yes", None, seen=True),
    "auto_timeout_retry": Case(True, False, "later"),
    "max_restarts": Case(3, 0, 2**31),
}
JOB_IDENTITY = {"job_id", "state", "queued_launch"}
"""Each has a test of its own."""
JOB_OUTPUT = {
    "owner", "create_time", "attempt", "exit_code", "working_directory", "message", "revision", "restarts", "leased",
    "timeouts", "node",
}  # fmt: skip

APPLICATIONS: dict[str, Case] = {
    "name": Case("", "other", 7),
    "executable": Case("", "/bin/sim --fast", "it's"),
    "description": Case("", "simulates", None),
    "preprocess": Case("", "/bin/prepare 'a b'", "it's"),
    "postprocess": Case("", "/bin/finish", "it's"),
    "envscript": Case("", "/etc/sim env.sh", b"x"),
}
APPLICATION_OUTPUT = {"python", "owner", "create_time", "revision"}


@pytest.fixture(autouse=True)
def _what_jobs_refer_to(store: object) -> None:
    dag.add_app("app", "/bin/true")
    BalsamJob(job_id=ID, name="parent").save()


def test_every_field_has_a_case() -> None:
    assert JOBS.keys() | JOB_IDENTITY | JOB_OUTPUT == JOB_FIELDS.keys()
    assert APPLICATIONS.keys() | APPLICATION_OUTPUT == APPLICATION_FIELDS.keys()


@pytest.mark.parametrize("field", JOBS)
def test_a_field_of_a_job(field: str) -> None:
    case = JOBS[field]
    plain, given = BalsamJob(), BalsamJob(**{field: case.good})
    BalsamJob.objects.bulk_create([plain, given])
    assert getattr(BalsamJob(), field) == getattr(_read(plain), field) == case.default
    assert getattr(given, field) == getattr(_read(given), field) == case.expected

    setattr(plain, field, case.good)
    plain.save()
    assert getattr(_read(plain), field) == case.expected
    setattr(plain, field, case.default)
    plain.save()
    assert getattr(_read(plain), field) == case.default

    with pytest.raises(errors.ValidationError, match=f"^{field} = ") as refused:
        BalsamJob(**{field: case.bad})
    assert refused.value.field == field
    with pytest.raises(errors.ValidationError, match=f"^{field} = "):
        setattr(given, field, case.bad)
    assert getattr(given, field) == case.expected


@pytest.mark.parametrize("field", APPLICATIONS)
def test_a_field_of_an_application(field: str) -> None:
    case = APPLICATIONS[field]
    given = {"name": "sim", "executable": "/bin/x", field: case.good}
    ApplicationDefinition(**given).save()
    assert getattr(ApplicationDefinition.objects.get(name=given["name"]), field) == case.expected
    assert getattr(ApplicationDefinition(), field) == case.default
    with pytest.raises(errors.ValidationError, match=f"^{field} = ") as refused:
        ApplicationDefinition(**{field: case.bad})
    assert refused.value.field == field


@pytest.mark.parametrize("field", sorted(JOB_OUTPUT))
def test_what_the_store_says_of_a_job_cannot_be_set(field: str) -> None:
    value = getattr(BalsamJob.objects.get(pk=ID), field)
    with pytest.raises(errors.ValidationError, match=f"^{field} = .*: is read-only"):
        BalsamJob(**{field: value})


@pytest.mark.parametrize("field", sorted(APPLICATION_OUTPUT))
def test_what_the_store_says_of_an_application_cannot_be_set(field: str) -> None:
    value = getattr(ApplicationDefinition.objects.get(name="app"), field)
    with pytest.raises(errors.ValidationError, match=f"^{field} = .*: is read-only"):
        ApplicationDefinition(name="other", **{field: value})


def test_the_identity_of_a_job_is_made_by_the_client_and_stays() -> None:
    job = BalsamJob(job_id=str(uuid.UUID(int=7)))
    job.save()
    assert _read(job).job_id == uuid.UUID(int=7)
    assert BalsamJob().job_id != BalsamJob().job_id
    with pytest.raises(errors.ValidationError, match=r"^job_id = .*: is fixed at creation"):
        job.job_id = ID
    with pytest.raises(errors.ValidationError, match=r"^job_id = '7': is not a job id"):
        BalsamJob(job_id="7")


def test_the_state_of_a_job() -> None:
    job = BalsamJob()
    job.save()
    assert _read(job).state == "CREATED"
    job.state = "FAILED"
    job.save()
    assert _read(job).state == "FAILED"
    with pytest.raises(errors.ValidationError, match=r"^state = 'DONE': must be one of"):
        job.state = "DONE"


def test_the_launch_of_a_job() -> None:
    launch = QueuedLaunch.objects.create()
    plain, bound = BalsamJob(), BalsamJob(queued_launch=launch)
    BalsamJob.objects.bulk_create([plain, bound])
    assert (_read(plain).queued_launch, _read(bound).queued_launch) == (None, launch.pk)
    bound.queued_launch = None
    bound.save()
    assert _read(bound).queued_launch is None
    launch.delete()
    with pytest.raises(errors.NotFound, match=f"^queued_launch = {launch.pk}"):
        BalsamJob(queued_launch=launch.pk).save()
    with pytest.raises(errors.ValidationError, match=r"^queued_launch = 'first'"):
        BalsamJob(queued_launch="first")


def _read(job: BalsamJob) -> BalsamJob:
    return BalsamJob.objects.get(pk=job.pk)
