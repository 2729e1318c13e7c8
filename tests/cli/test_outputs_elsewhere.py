"""`balsam logs` of jobs that run where their files cannot be seen from here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.site import Site
from tests.cli.conftest import Balsam, start
from tests.support.own_files import with_own_files
from tests.support.processes import Services, running_launcher
from tests.support.sites import wait_for_states


@pytest.fixture
def elsewhere(site: Site, services: Services) -> Iterator[None]:
    """A launcher with files of its own."""
    with running_launcher(site, "--persistent", words=with_own_files(site.data)):
        yield


def add(balsam: Balsam, go: Path) -> str:
    """A job that says something, and something more when it is let go."""
    script = f"echo first; until [ -e {go} ]; do sleep 0.05; done; printf last"
    (job_id,) = balsam("job", "--name", "far", "--", "sh", "-c", script).ids
    return job_id


@pytest.mark.usefixtures("elsewhere")
def test_logs_are_followed_to_the_end_and_shown_as_they_are(balsam: Balsam, site: Site, tmp_path: Path) -> None:
    job_id = add(balsam, tmp_path / "go")
    with start(site, "logs", "-f", job_id) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        now, told = balsam("logs", job_id), balsam("logs", job_id, "--json").json
        assert (now.status, now.out, told["output"], told["bytes"]) == (0, "first\n", "first\n", 6)
        (tmp_path / "go").touch()
        assert process.stdout.read() == "last"
        assert process.wait(30) == 0
    after = balsam("logs", job_id)
    assert (after.status, after.out) == (1, "")
    assert "far_" in after.err
    assert "does not exist on this host" in after.err


@pytest.mark.usefixtures("elsewhere")
def test_a_job_store_that_is_killed_meanwhile_is_noted_and_nothing_is_missed_or_doubled(
    balsam: Balsam, site: Site, services: Services, tmp_path: Path
) -> None:
    script = f"until [ -e {tmp_path}/$0 ]; do sleep 0.05; done; echo $0"
    loop = f"for word in one two three; do sh -c '{script}' $word; done"
    (job_id,) = balsam("job", "--name", "far", "--", "sh", "-c", loop).ids
    with start(site, "logs", "-f", job_id) as process:
        assert process.stdout is not None
        (tmp_path / "one").touch()
        assert process.stdout.readline() == "one\n"
        services.kill("jobstore")
        services.start("jobstore")
        (tmp_path / "two").touch()
        assert process.stdout.readline() == "two\n"
        (tmp_path / "three").touch()
        assert process.stdout.read() == "three\n"
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert "going on as soon as it can be read again" in process.stderr.read()


def test_what_was_not_read_before_the_launcher_died_is_noted(
    balsam: Balsam, site: Site, services: Services, tmp_path: Path
) -> None:
    with running_launcher(site, "--persistent", words=with_own_files(site.data)) as launcher:
        job_id = add(balsam, tmp_path / "go")
        with start(site, "logs", "-f", job_id) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "first\n"
            launcher.kill()
            assert balsam("kill", job_id).status == 0
            assert process.wait(30) == 1
            assert process.stderr is not None
            assert "the rest of the output was not read before the job ended" in process.stderr.read()


@pytest.mark.usefixtures("services")
def test_a_link_in_the_place_of_an_output_is_not_followed(balsam: Balsam, site: Site, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    script = f"ln -sf {tmp_path}/secret near.out"
    (job_id,) = balsam("job", "--name", "near", "--", "sh", "-c", script).ids
    with running_launcher(site):
        wait_for_states(site, {"near": "JOB_FINISHED"})
    for options in ((), ("-f",), ("--json",)):
        shown = balsam("logs", job_id, *options)
        assert shown.status == 1
        assert "secret\n" not in shown.out + os.linesep
    assert "near.out: it is a symbolic link" in balsam("logs", job_id).err
