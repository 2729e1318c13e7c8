"""One site for all tests of a module, whose services go on from test to test: each begins with nothing in it.

For modules whose tests change jobs and neither settings nor credentials. They import the three fixtures, which then
take the place of those of ``tests.support.sites``::

    from tests.support.shared import module_services as module_services
    from tests.support.shared import services as services
    from tests.support.shared import site as site
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from balsam.client import Client
from balsam.query import EVERYTHING
from balsam.site import Site
from tests.support.processes import Services
from tests.support.processes import services as run_services
from tests.support.sites import make_test_site


@pytest.fixture(scope="module")
def module_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Services of a site over SQLite, until the last test of the module has ended."""
    with run_services(make_test_site(tmp_path_factory.mktemp("shared"))) as running:
        yield running


@pytest.fixture
def site(module_services: Services) -> Site:
    """The site of the module, with nothing in it; its services run."""
    _empty(module_services.site)
    return module_services.site


@pytest.fixture
def services(site: Site, module_services: Services) -> Services:
    """The services of the site; a test that ends one starts it again."""
    return module_services


def _empty(site: Site) -> None:
    """Deletes jobs, what they have written, applications and launches; users stay."""
    client = Client(site)
    client.jobs.delete(EVERYTHING, kill=True)
    client.ApplicationDefinition.objects.all().delete()
    client.QueuedLaunch.objects.all().delete()
    client.close()
    for path in site.data.iterdir():
        shutil.rmtree(path)
