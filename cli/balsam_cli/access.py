"""The site that a command works on, and the line to its job store."""

from __future__ import annotations

import os

from balsam.client import Client
from balsam.errors import Unavailable
from balsam.site import ENV_JOB_TOKEN, Site, find_site
from balsam_cli import services


def open_store(site: Site | None = None) -> Client:
    """The line to the job store of `site`, by default the one in use.

    Raises:
        SiteError: there is no site, or its services run on another host.
        Unavailable: the job store is not running.
    """
    site = site or find_site()
    must_run(site)
    return Client(site)


def must_run(site: Site) -> None:
    """Goes on if the job store of `site` runs here.

    Raises:
        SiteError: the services run on another host.
        Unavailable: the job store is not running.
    """
    # A run of a job waits for a job store that is being started again (the connection tries for a while);
    # a person is told at once.
    in_a_run = bool(os.environ.get(ENV_JOB_TOKEN))
    if not in_a_run and not services.a_job_store_runs(site):
        raise Unavailable()
