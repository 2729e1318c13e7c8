"""The client in another language is installed, and works with a site."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from balsam.site import Site
from tests.support.components import missing
from tests.support.processes import running_launcher, services
from tests.support.sites import states

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "examples" / "clients" / "node"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example, with the packages that its lock file names."""
    if not shutil.which("node") or not shutil.which("npm"):
        missing("Node", "there is no node or no npm; `make system` as root installs them")
    directory = tmp_path_factory.mktemp("client") / "node"
    shutil.copytree(SOURCE, directory, ignore=shutil.ignore_patterns("node_modules"))
    done = run(["npm", "ci", "--no-progress"], directory, os.environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


def run(
    words: Sequence[str], directory: Path, environ: os._Environ[str] | dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=directory, env=environ, capture_output=True, text=True, timeout=100, check=False)


def node(client: Path, site: Site, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the client. It is a copy, so that it is told where the protos are; the path of the site is a long one."""
    environ = os.environ | {
        "BALSAM_DB_PATH": str(site.path),
        "BALSAM_ADDRESS": site.address("jobstore"),
        "BALSAM_PROTOS": str(ROOT / "protos"),
        **variables,
    }
    return run(["node", "campaign.mjs", "5"], client, environ)


@pytest.fixture
def running(site: Site) -> Iterator[Site]:
    """A site with services and a launcher that stays."""
    with services(site), running_launcher(site, "--persistent"):
        yield site


def test_its_jobs_are_added_and_watched_to_their_end(client: Path, running: Site) -> None:
    done = node(client, running)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["added 5 jobs", "JOB_FINISHED 5"]
    assert states(running) == {f"node-{n}": "JOB_FINISHED" for n in range(5)}


def test_who_has_no_valid_token_is_told_so(client: Path, running: Site) -> None:
    done = node(client, running, BALSAM_JOB_TOKEN="wrong")
    assert done.returncode == 1
    assert "no valid token for this site" in done.stderr
    assert states(running) == {}
