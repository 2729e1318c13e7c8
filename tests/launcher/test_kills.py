"""Kills of one job and of a whole subtree, wherever the job stands: at once, for ever, and with all its processes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from balsam import client as clients
from balsam.job import BalsamJob
from balsam.launcher import dag
from balsam.site import Site
from tests.support.agents import alive, wait_gone
from tests.support.databases import mostly_sqlite
from tests.support.invariants import violations_of_site
from tests.support.processes import running_launcher, services
from tests.support.sites import states, wait_for_states, wait_until

pytestmark = mostly_sqlite

NEVER = 1000
"""More nodes than there are: such a job stays PREPROCESSED."""

PLACES = {
    "preprocessing": ("STAGED_IN", 1),
    "running": ("RUNNING", 1),
    "running with MPI": ("RUNNING", 2),
    "postprocessing": ("RUN_DONE", 1),
    "waiting for parents": ("AWAITING_PARENTS", 0),
}
"""Where a job is when it is killed -> its state, and how many processes of ours it has with a child each."""


@pytest.fixture
def site(any_site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The site of the plain names, with services and a launcher that stays; afterwards its database is in order."""
    monkeypatch.setenv("BALSAM_DB_PATH", str(any_site.path))
    clients.reset()
    with services(any_site):
        with running_launcher(any_site, "--persistent"):
            yield any_site
        clients.reset()
    assert violations_of_site(any_site) == []


class Tree:
    """A job that goes on until it is killed, and what depends on it. Names start with the tree's own.

    ``target -> below -> last``, and ``target -> ended -> beyond`` where `ended` finishes before `target` does anything.
    """

    def __init__(self, name: str, place: str, directory: Path) -> None:
        self.name = name
        self._state, self._processes = PLACES[place]
        self._pids = directory / f"{name}.pids"
        script = directory / f"{name}.sh"
        # It ends well when it is told to stop, as if it had finished: a kill is a kill all the same.
        script.write_text(f"trap 'exit 0' TERM\nsetsid sleep 300 &\necho $$ $! >> {self._pids}\nwait\n")
        command = f"bash {script}"
        scripts = {"preprocessing": {"preprocess": command}, "postprocessing": {"postprocess": command}}.get(place, {})
        dag.add_app(name, command if place.startswith("running") else "true", **scripts)

        parents = []
        if place == "waiting for parents":
            parents = [dag.add_job(f"{name} parent", "kills", args="true", num_nodes=NEVER)]
        ranks = 2 if place == "running with MPI" else 1
        self.target = self._job("target", application=name, parents=parents, ranks_per_node=ranks)
        below = self._job("below", parents=[self.target])
        last = self._job("last", parents=[below])
        ended = self._job("ended", parents=[self.target], wait_for_parents=False, priority=1)
        beyond = self._job("beyond", parents=[ended], num_nodes=NEVER)
        BalsamJob.objects.bulk_create([self.target, below, last, ended, beyond])

    def _job(self, role: str, **fields: Any) -> BalsamJob:
        args = "" if fields.get("application") else "true"
        return BalsamJob(name=f"{self.name} {role}", workflow="kills", args=args, **fields)

    def pids(self) -> list[int]:
        """The processes of the target, without mpiexec."""
        text = self._pids.read_text() if self._pids.exists() else ""
        return [int(pid) for pid in text.split()]

    def wait_until_there(self, site: Site) -> None:
        """Waits until the target is where it will be killed, and everything else has gone as far as it can."""
        self.expect_soon(
            site, target=self._state, below="AWAITING_PARENTS", last="AWAITING_PARENTS", ended="JOB_FINISHED",
            beyond="PREPROCESSED",
        )  # fmt: skip
        wait_until(lambda: len(self.pids()) == 2 * self._processes, what="its processes", site=site)

    def expect_soon(self, site: Site, **expected: str) -> None:
        """Waits until the jobs of these roles are in these states."""
        wait_for_states(site, {f"{self.name} {role}": state for role, state in expected.items()})

    def expect_killed(self, site: Site) -> None:
        """The target is recorded as killed now, its processes are gone in a moment, and nothing more becomes of it."""
        assert states(site)[self.target.name] == "USER_KILLED"
        pids = self.pids()
        assert wait_gone(*pids) < 5  # about 0.1 s on a machine that does nothing else
        wait_until(lambda: not BalsamJob.objects.get(pk=self.target.pk).leased, what="the lease ends", site=site)
        assert re.findall(r" (\w+)\]", self.target.state_history)[-2:] == [self._state, "USER_KILLED"]
        assert not any(alive(pid) for pid in pids)
        assert self.pids() == pids


def kill_command(site: Site, job: BalsamJob, *options: str) -> Any:
    """What ``balsam kill`` says, as JSON."""
    command = [sys.executable, "-m", "balsam_cli", "kill", str(job.pk), "--json", "--yes", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "place", [pytest.param(place, marks=pytest.mark.mpi) if "MPI" in place else place for place in PLACES]
)
def test_a_job_is_killed_alone_or_with_all_that_depend_on_it(site: Site, tmp_path: Path, place: str) -> None:
    alone = Tree("alone", place, tmp_path)
    alone.wait_until_there(site)
    assert dag.kill(alone.target, recursive=False) == 1
    alone.expect_killed(site)
    alone.expect_soon(site, below="FAILED", last="FAILED")
    assert alone.target.name in BalsamJob.objects.get(name="alone below").message
    assert (states(site)["alone ended"], states(site)["alone beyond"]) == ("JOB_FINISHED", "PREPROCESSED")

    whole = Tree("whole", place, tmp_path)
    whole.wait_until_there(site)
    said = kill_command(site, whole.target, "--recursive")
    whole.expect_killed(site)
    now = {name.removeprefix("whole "): state for name, state in states(site).items() if name.startswith("whole ")}
    now.pop("parent", None)
    assert now == dict.fromkeys(["target", "below", "last", "beyond"], "USER_KILLED") | {"ended": "JOB_FINISHED"}
    assert (said["asked"], said["done"], said["already_ended"]) == (5, 4, 1)


def test_a_kill_of_what_has_ended_changes_nothing_and_says_so(site: Site) -> None:
    job = dag.add_job("done", "kills", args="true")
    wait_for_states(site, {"done": "JOB_FINISHED"})
    assert dag.kill(job) == 0
    said = kill_command(site, job)
    assert (said["done"], said["already_ended"], said["skipped"]) == (0, 1, 0)
    assert states(site) == {"done": "JOB_FINISHED"}


def test_a_killed_job_stays_killed(site: Site) -> None:
    job = dag.add_job("job", "kills", args="true", num_nodes=NEVER)
    dag.kill(job)
    for state in ("RESTART_READY", "CREATED", "JOB_FINISHED"):
        with pytest.raises(ValueError, match="USER_KILLED"):
            job.update_state(state)
    assert states(site) == {"job": "USER_KILLED"}
