"""Outputs on the disks of nodes, which neither the launcher's host nor anybody else sees."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.client import Client
from balsam.errors import NotFound
from balsam.outputs import NO_OUTPUT
from balsam.site import Site
from balsam.states import State
from tests.support.nodes import members, two_nodes
from tests.support.own_files import with_own_files
from tests.support.processes import running_launcher, services
from tests.support.scheduling import Jobs
from tests.support.sites import wait_until


@pytest.fixture
def site(tmp_path: Path, mpich: str) -> Iterator[Site]:
    """A site of two nodes, each of which has files of its own in the site's data directory."""
    on_node = tmp_path / "on-node"
    site = two_nodes(tmp_path, mpi_options=f"-launcher ssh -launcher-exec {on_node}")
    words = shlex.join(with_own_files(site.data))
    on_node.write_text(f'#!/bin/sh\nwhile [ "${{1#-}}" != "$1" ]; do shift; done\nshift\nexec {words} sh -c "$*"\n')
    on_node.chmod(0o755)
    with services(site):
        yield site


def test_the_agent_of_the_node_reads_what_its_launcher_does_not_see(site: Site, jobs: Jobs, tmp_path: Path) -> None:
    client = Client(site)
    wait = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done"
    with running_launcher(site, "--persistent") as launcher:
        ids = [jobs.add(name, args=f"sh -c 'echo {name}; {wait}; seq 50000'") for name in ("one", "two")]
        for job_id in ids:
            jobs.wait(job_id, State.RUNNING)
        assert len(members(launcher.pid)) == 2
        streams = [iter(client.outputs.read(job_id, follow=True)) for job_id in ids]
        assert [next(stream) for stream in streams] == [(b"one\n", 0), (b"two\n", 0)]
        assert not any(site.data.iterdir())
        assert list(client.outputs.read(ids[0], -3)) == [(b"ne\n", 1)]
        (tmp_path / "go").touch()
        expected = b"".join(b"%d\n" % number for number in range(1, 50_001))
        assert [b"".join(data for data, _ in stream) for stream in streams] == [expected, expected]
        for job_id in ids:
            jobs.wait(job_id, State.JOB_FINISHED)
    client.close()


def test_what_an_earlier_attempt_has_left_on_the_launcher_s_host_is_not_shown(
    site: Site, jobs: Jobs, tmp_path: Path
) -> None:
    client = Client(site)
    with running_launcher(site, "--persistent"):
        job_id = jobs.add("run", args=f"sh -c 'echo new; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done'")
        jobs.wait(job_id, State.RUNNING)
        old = Path(jobs.get(job_id).working_directory) / "run.out"
        old.parent.mkdir(parents=True)
        old.write_text("old and longer\n")
        wait_until(lambda: list(client.outputs.read(job_id)) == [(b"new\n", 0)], what="the node's output", site=site)
        (tmp_path / "go").touch()
        jobs.wait(job_id, State.JOB_FINISHED)
    client.close()


def test_a_link_on_the_node_is_not_followed(site: Site, jobs: Jobs, tmp_path: Path) -> None:
    client = Client(site)
    (tmp_path / "secret").write_text("secret")
    with running_launcher(site, "--persistent"):
        script = f"ln -sf {tmp_path}/secret run.out; touch {tmp_path}/done; sleep 600"
        job_id = jobs.add("run", args=f"sh -c '{script}'")
        wait_until((tmp_path / "done").exists)
        with pytest.raises(NotFound, match="it is a symbolic link") as caught:
            list(client.outputs.read(job_id))
        assert caught.value.reason == NO_OUTPUT
        jobs.kill(job_id)
    client.close()
