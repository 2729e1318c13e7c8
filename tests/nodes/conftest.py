"""Two nodes on one machine, on which Hydra starts agents and ranks by fork."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.site import Site
from balsam_launcher import mpi
from tests.support.components import missing
from tests.support.nodes import two_nodes
from tests.support.processes import services
from tests.support.scheduling import Jobs


@pytest.fixture(scope="session")
def mpich() -> str:
    """The path of MPICH's mpiexec."""
    found = mpi.find("mpich", "")
    if isinstance(found, mpi.NoMpi):
        missing("MPICH", found.reason)
    return found.program


@pytest.fixture
def site(tmp_path: Path, mpich: str) -> Iterator[Site]:
    """A site of two nodes, nodeA and nodeB, with services."""
    site = two_nodes(tmp_path)
    with services(site):
        yield site


@pytest.fixture
def jobs(site: Site) -> Iterator[Jobs]:
    """Its jobs."""
    jobs = Jobs(site)
    yield jobs
    jobs.close()
