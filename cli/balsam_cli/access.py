"""The site that a command works on, and the line to its job store."""

from __future__ import annotations

import os

from balsam.client import Client
from balsam.errors import SiteError, Unavailable
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
    """Goes on if the job store of `site` runs here, or can be reached.

    Raises:
        SiteError: the services run on another host, and do not listen.
        NotAllowed: what answers there is not the site.
        Unavailable: the job store is not running, or out of reach.
    """
    # A run of a job waits for a job store that is being started again (the connection tries for a while);
    # a person is told at once.
    if os.environ.get(ENV_JOB_TOKEN):
        return
    if (endpoint := site.endpoint()) is not None:
        problems = [endpoint.examine(service) for service in endpoint.services]
        if None not in problems:
            raise next(filter(None, problems))
    elif not services.a_job_store_runs(site):
        raise Unavailable()


def must_own(site: Site, what: str) -> None:
    """Goes on if `site` is the user's own; `what` is what only its owner may do.

    Raises:
        SiteError: it is somebody else's.
    """
    if not site.is_own:
        raise SiteError(f"{site.path} is somebody else's site: only its owner may {what}")
