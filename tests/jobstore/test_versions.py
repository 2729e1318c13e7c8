"""Neighbouring versions work together, and others are told so in one line."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import pytest

from balsam import rpc
from balsam.errors import NotAllowed
from balsam.site import Site
from balsam.v1 import job_pb2, job_service_pb2, site_service_pb2
from balsam.v1.job_service_pb2_grpc import JobServiceStub
from balsam.v1.site_service_pb2_grpc import SiteServiceStub
from balsam.version import VERSION, works_with
from tests.support.sites import jobs


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("1.0.0", "1.0.0", True),
        ("1.0.0.dev1", "1.0.3", True),
        ("1.4.2", "1.5.0", True),
        ("1.4.0", "1.6.0", False),
        ("1.9.0", "2.0.0", True),
        ("1.9.0", "2.1.0", False),
        ("1.0.0", "3.0.0", False),
        ("", "1.0.0", True),
        ("of mine", "1.0.0", True),
    ],
)
def test_neighbours_work_together(one: str, other: str, together: bool) -> None:
    assert works_with(one, other) is together
    assert works_with(other, one) is together


@pytest.mark.usefixtures("services")
def test_a_client_of_another_version_is_told_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    major, minor = VERSION.split(".")[:2]
    for theirs, served in ((f"{major}.{int(minor) + 1}.0", True), (f"{int(major) + 3}.2.0", False)):
        monkeypatch.setattr(rpc, "VERSION", theirs)
        connection = rpc.Connection(site, retry_seconds=0)
        request = site_service_pb2.GetSiteRequest(version=theirs)
        if served:
            assert connection.call(SiteServiceStub, "GetSite", request).version == VERSION
        else:
            with pytest.raises(NotAllowed) as caught:
                connection.call(SiteServiceStub, "GetSite", request)
            assert caught.value.reason == "OTHER_VERSION"
            assert str(caught.value).startswith(
                f"Balsam {theirs} was asked to work with services of Balsam {VERSION}, and only neighbouring versions"
            )
        connection.close()


@pytest.mark.usefixtures("services")
def test_a_launcher_of_another_version_ends_with_one_line(site: Site) -> None:
    program = (
        "import balsam.version; balsam.version.VERSION = '7.7.0'; import sys;"
        "from balsam_launcher.__main__ import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", program, "--site", str(site.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("balsam launcher: Balsam 7.7.0 was asked to work with services of Balsam ")
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("services")
def test_fields_that_a_version_does_not_know_are_ignored(site: Site) -> None:
    later = job_pb2.Job.FromString(
        job_pb2.Job(job_id=str(uuid.uuid4()), name="a").SerializeToString() + b"\xfa\x7f\x03new"
    )
    request = job_service_pb2.CreateJobsRequest(jobs=[later])
    assert b"new" in request.SerializeToString()
    connection = rpc.Connection(site)
    answer = connection.stub(JobServiceStub).CreateJobs(iter([request]), metadata=rpc.metadata(site))
    assert (answer.created, list(answer.refusals)) == (1, [])
    assert [job.name for job in jobs(site)] == ["a"]
    connection.close()


@pytest.mark.usefixtures("services")
def test_up_says_that_services_of_another_version_run(site: Site) -> None:
    program = "import balsam.version, sys; balsam.version.VERSION = '1.1.0'; from balsam_cli.main import main"
    command = [sys.executable, "-c", f"{program}; sys.exit(main())", "up"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"BALSAM_DB_PATH": str(site.path)},
    )
    assert done.returncode == 0
    assert f"the job store runs Balsam {VERSION}, and this is 1.1.0: `balsam down` and `balsam up`" in done.stderr
