"""What tests of faults share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from balsam.site import Site
from tests.support.scheduling import Jobs


@pytest.fixture
def jobs(site: Site) -> Iterator[Jobs]:
    """The jobs of the fixture `site`."""
    jobs = Jobs(site)
    yield jobs
    jobs.close()
