"""What users, jobs and programs have said steers no terminal, whichever command shows it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from balsam.logs import formatter
from balsam.site import Site
from balsam.v1 import application_pb2, application_service_pb2, job_pb2, job_service_pb2, launch_pb2, launch_service_pb2
from tests.cli.conftest import Balsam
from tests.cli.conftest import balsam as balsam
from tests.support.processes import services
from tests.support.rpc_client import Client

EVIL = "evil \x1b[2J\x1b]0;title\x07 \x9b31m \r\x08\x7f \u202egnp.exe \u2028 end"
COMMANDS = [
    *(("ls",), ("ls", "-v"), ("ls", "--history"), ("ls", "--tree"), ("ls", "apps"), ("ls", "apps", "-v")),
    *(("ls", "launches"), ("ls", "launches", "-v"), ("ls", "--by-states"), ("show", "@JOB"), ("show", "@CHILD")),
    *(("status",), ("which",), ("log",), ("ls", "--name", EVIL), ("show", EVIL), ("ls", "--wf", EVIL)),
    *(("kill", "@JOB", "--yes"), ("rm", "jobs", "--name", EVIL, "--yes"), ("app", "--name", EVIL, "--executable", "x")),
    *(("job", "--name", EVIL, "--yes", "--", "true"), ("dep", EVIL, "@JOB"), (EVIL,), ("ls", f"--{EVIL}")),
    *(
        ("logs", "@JOB"),
        ("modify", "jobs", "@JOB", "--attr", "name", "--value", EVIL),
        ("import", EVIL),
        ("cancel", "1"),
    ),
]


@pytest.fixture
def jobs(site: Site) -> Iterator[dict[str, str]]:
    """A job whose every text is evil, as far as it is taken, and a child of it."""
    with services(site, "jobstore"):
        client = Client(site, patient=True)
        name = "app \u202e\u2028x"
        application = application_pb2.Application(
            name=name, executable=f"echo {EVIL}", description=EVIL, preprocess=EVIL, postprocess=EVIL, envscript=EVIL
        )
        _call(
            client,
            "ApplicationService/CreateApplication",
            application_service_pb2.CreateApplicationRequest(application=application),
        )
        launch = launch_pb2.Launch(sched_flags=EVIL, command=EVIL, message=EVIL)
        _call(
            client,
            "LaunchService/CreateLaunch",
            launch_service_pb2.CreateLaunchRequest(launch=launch, request_id=str(uuid.uuid4())),
        )
        job, child = str(uuid.uuid4()), str(uuid.uuid4())
        message = job_pb2.Job(
            job_id=job,
            name="job \u202e\u2028x",
            workflow="w\u202e\u2028x",
            application=name,
            args=EVIL,
            description=EVIL,
            environ_vars={"A": EVIL},
            data='{"key": "\\u001b[2J"}',
            mpi_flags=EVIL,
        )
        children = job_pb2.Job(job_id=child, name="child \u202ex", parents=[job])
        _call(client, "JobService/CreateJobs", job_service_pb2.CreateJobsRequest(jobs=[message, children]))
        state = job_service_pb2.SetJobStateRequest(state=job_pb2.Job.FAILED, message=f"failed\n{EVIL}")
        state.selector.ids.job_ids.append(job)
        assert _call(client, "JobService/SetJobState", state).updated == 1
        client.close()
        yield {"@JOB": job, "@CHILD": child}


def _call(client: Client, method: str, request: Any) -> Any:
    return client.call(method, request)


def test_no_command_shows_what_could_steer_a_terminal(balsam: Balsam, jobs: dict[str, str]) -> None:
    shown = 0
    for command in COMMANDS:
        words = [jobs.get(word, word) for word in command]
        result = balsam(*words)
        text = result.out + result.err
        assert [c for c in text if not (c == "\n" or c.isprintable())] == [], command
        assert "Traceback" not in text
        shown += "evil" in text
    assert shown > 10, "the evil texts were not shown at all"


def test_a_line_of_a_log_cannot_be_forged(site: Site) -> None:
    import logging

    record = logging.LogRecord("balsam", logging.INFO, "", 0, "job %s", (f"x\n2030-01-01T00:00:00 INFO {EVIL}",), None)
    lines = formatter().format(record).split("\n")
    assert len(lines) == 2
    assert lines[1].startswith("    2030-01-01")
    assert all(line.replace("\t", "").isprintable() or "\u202e" in line for line in lines)
    assert not {"\x1b", "\x9b", "\r", "\x07", "\x08", "\x7f"} & set("".join(lines))
