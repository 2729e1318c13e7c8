"""The commands of the start and the guides do what the pages say, over real services."""

from __future__ import annotations

import grp
import os
from pathlib import Path

import pytest

from balsam.errors import SiteError
from balsam_jobstore.postgres_programs import find_programs
from tests.support.components import missing
from tests.support.pages import blocks, run
from tests.support.queues import StandIn
from tests.support.slurm import Slurm
from tests.support.ssh import SshServer
from tests.support.tls import free_port

DOCS = Path(__file__).parents[2] / "docs"

A_SITE = "balsam init ~/site > /dev/null\nexport BALSAM_DB_PATH=~/site\nbalsam up > /dev/null\n"
"""What guides take for granted."""
_ADDRESS = "sed -i 's/^launcher_address = .*/launcher_address = \"127.0.0.1\"/' ~/site/settings.toml"
ON_SLURM = A_SITE.replace("balsam up", f"{_ADDRESS}\nbalsam up")
"""Its nodes are this host."""
_PBS = "sed -i 's/^batch_system = .*/batch_system = \"pbs\"/' ~/site/settings.toml"
ON_PBS = A_SITE.replace("balsam up", f"{_PBS}\nbalsam up")

ALONE = ("start.md", "guides/teams.md")
WITH_A_SITE = ("guides/ensembles.md", "guides/dags.md", "guides/dynamic.md", "guides/from-0.x.md")
LONG = ("guides/ensembles.md", "guides/dynamic.md")
"""Whose examples take a while."""
OTHERS = ("guides/mpi.md", "guides/slurm.md", "guides/postgresql.md", "guides/other-languages.md")


def test_every_guide_is_run() -> None:
    guides = {path.relative_to(DOCS).as_posix() for path in DOCS.glob("guides/*.md")}
    assert guides | {"start.md"} == {*ALONE, *WITH_A_SITE, *OTHERS}


@pytest.mark.parametrize("page", ALONE)
def test_a_page_that_begins_with_nothing(short_directory: Path, page: str) -> None:
    run(DOCS / page, short_directory, replaced={"7443": str(free_port())})


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=pytest.mark.slow if page in LONG else []) for page in WITH_A_SITE]
)
def test_a_guide_that_begins_with_a_site(short_directory: Path, page: str) -> None:
    run(DOCS / page, short_directory, A_SITE)


@pytest.mark.mpi
def test_mpi(short_directory: Path) -> None:
    run(DOCS / "guides/mpi.md", short_directory, A_SITE)


@pytest.mark.mpi
def test_slurm(short_directory: Path, slurm: Slurm) -> None:
    run(DOCS / "guides/slurm.md", short_directory, ON_SLURM)


@pytest.mark.postgres
def test_postgresql(short_directory: Path) -> None:
    try:
        find_programs()
    except SiteError as error:
        missing("PostgreSQL", str(error))
    run(DOCS / "guides/postgresql.md", short_directory)


# Pages of reference that have commands


def test_staging(short_directory: Path, ssh: SshServer) -> None:
    start = short_directory / "archive" / "start" / "cell-7"
    start.mkdir(parents=True)
    (start / "cell.xyz").write_text("1\n")
    hosts = {"me@data.example.org": "box", "data.example.org": "box", "/archive": str(short_directory / "archive")}
    run(DOCS / "staging.md", short_directory, A_SITE, replaced=hosts)
    assert (short_directory / "archive/relaxed/cell-7/cell.traj").read_text() == "1\n"


def test_a_team(short_directory: Path) -> None:
    """Its other users are played by tokens; a launcher with `--trust` has nothing to run, and ends."""
    group = grp.getgrgid(os.getgid()).gr_name
    run(DOCS / "team.md", short_directory, A_SITE, replaced={"--group physics": f"--group {group}"})


def test_batch_systems(short_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the commands of PBS: queues and projects are whatever one says."""
    queue = StandIn(short_directory / "queue", "pbs")
    monkeypatch.setenv("PATH", f"{queue.bin}:{os.environ['PATH']}")
    run(DOCS / "batch.md", short_directory, ON_PBS)
    (job,) = queue.jobs().values()
    script = Path(job["script"]).read_text()
    assert {"#PBS -q debug", "#PBS -A climate"} <= set(script.splitlines())


def test_the_guide_to_other_languages_has_nothing_to_run() -> None:
    """Its example is run by `test_clients.py`."""
    assert [*blocks((DOCS / "guides/other-languages.md").read_text())] == []
