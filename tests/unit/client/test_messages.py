"""Jobs and applications as messages, and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from balsam.convert import (
    application_message,
    application_values,
    job_message,
    job_values,
    launch_message,
    launch_values,
    plain,
    rfc3339,
    time_of,
    timestamp,
)
from balsam.fields import JOB_FIELDS, LAUNCH_FIELDS
from balsam.ids import new_id
from balsam.job import BalsamJob
from balsam.job_calls import BYTES_IN_MESSAGE, JOBS_IN_MESSAGE, create_requests
from balsam.v1 import job_pb2, launch_pb2

_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
_INTEGERS = st.integers(1, 2**31 - 1)
JOBS = st.fixed_dictionaries(
    {"job_id": st.builds(new_id)},
    optional={
        "description": _TEXTS,
        "environ_vars": st.dictionaries(_TEXTS, _TEXTS, max_size=3),
        "data": st.dictionaries(_TEXTS, st.none() | st.booleans() | st.integers() | _TEXTS, max_size=3),
        "parents": st.lists(st.builds(new_id), max_size=3),
        "wait_for_parents": st.booleans(),
        "wall_time_minutes": st.integers(0, 2**31 - 1),
        "num_nodes": _INTEGERS,
        "cpu_affinity": st.sampled_from(["none", "depth"]),
        "gpus_per_rank": st.floats(0, 1024),
        "priority": st.integers(-(2**31) + 1, 2**31 - 1),
        "max_restarts": st.integers(0, 2**31 - 1),
        "auto_timeout_retry": st.booleans(),
        "exit_code": st.integers(0, 255),
        "state": st.sampled_from(["CREATED", "RUNNING", "USER_KILLED"]),
        "create_time": st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    },
)


@given(JOBS)
def test_every_field_survives_the_way_through_a_message(values: dict[str, Any]) -> None:
    back = job_values(job_pb2.Job.FromString(job_message(values).SerializeToString()))
    assert plain(back, JOB_FIELDS) == plain(values, JOB_FIELDS)


def test_defaults_are_not_sent() -> None:
    values = {name: field.default for name, field in JOB_FIELDS.items()}
    assert job_message(values) == job_pb2.Job()
    assert job_values(job_pb2.Job()) == {}


def test_a_zero_where_the_default_is_another_number_is_sent() -> None:
    message = job_message({"wall_time_minutes": 0, "max_restarts": 0})
    assert message.HasField("wall_time_minutes")
    assert job_values(message) == {"wall_time_minutes": 0, "max_restarts": 0}


def test_data_stays_text_until_somebody_looks() -> None:
    text = '{"x":  1}'
    assert job_values(job_pb2.Job(data=text)) == {"data": text}
    assert job_message({"data": text}).data == text
    assert job_message({"data": {"x": "ä"}}).data == '{"x":"ä"}'


def test_applications() -> None:
    values = {"name": "a", "executable": "/bin/a -x", "python": "/usr/bin/python3"}
    assert application_values(application_message(values)) == values


def test_launches() -> None:
    values = {"launch_id": 3, "state": "RUNNING", "from_balsam": False, "job_mode": "mpi"}
    message = launch_message(values)
    assert message.state == launch_pb2.Launch.RUNNING
    assert launch_values(message) == values
    assert launch_message({name: field.default for name, field in LAUNCH_FIELDS.items()}) == launch_pb2.Launch()


def test_times() -> None:
    time = datetime(2030, 12, 31, 23, 59, 59, 999999, UTC)
    assert time_of(timestamp(time)) == time
    assert rfc3339(time) == "2030-12-31T23:59:59.999999Z"


def test_many_jobs_go_in_messages_of_moderate_size() -> None:
    jobs = [{"job_id": new_id(), "name": str(number)} for number in range(2 * JOBS_IN_MESSAGE + 1)]
    messages = list(create_requests(jobs))
    assert [len(message.jobs) for message in messages] == [JOBS_IN_MESSAGE, JOBS_IN_MESSAGE, 1]
    assert [job.name for message in messages for job in message.jobs] == [job["name"] for job in jobs]
    assert all(message.atomic for message in messages)


def test_large_jobs_go_in_more_messages() -> None:
    data = json.dumps({"x": "y" * 300_000})
    sizes = [message.ByteSize() for message in create_requests({"job_id": new_id(), "data": data} for _ in range(10))]
    assert len(sizes) == 3
    assert max(sizes) < BYTES_IN_MESSAGE + 400_000


def test_no_jobs_are_one_empty_message() -> None:
    assert [len(message.jobs) for message in create_requests([])] == [0]


def test_what_a_new_job_is_sent_as() -> None:
    job = BalsamJob(name="hello", ranks_per_node="2", num_nodes=1, data={"x": 1})
    assert job_message(job._creation_values()) == job_pb2.Job(
        job_id=str(job.job_id), name="hello", ranks_per_node=2, data='{"x":1}'
    )
