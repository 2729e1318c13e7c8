"""The site under examination, whole or not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from balsam.addresses import looks_like_address
from balsam.errors import SiteError
from balsam.settings import Settings
from balsam.site import ENV_SITE, SETTINGS_FILE, Site, find_site


@dataclass(frozen=True)
class Patient:
    """A directory that is, or should be, a site.

    Attributes:
        site: the site.
        settings: its settings; the defaults where they cannot be read.
        trouble: why they cannot be read; empty: they can.
    """

    site: Site
    settings: Settings
    trouble: str = ""

    @property
    def is_half_made(self) -> bool:
        """It has no settings, which `balsam init` writes last."""
        return not (self.site.path / SETTINGS_FILE).exists()


def find_patient() -> Patient:
    """The site in use, also where it is damaged.

    Raises:
        SiteError: there is nothing that could be one.
    """
    named = os.environ.get(ENV_SITE)
    if named and looks_like_address(named) and not os.path.exists(named):
        raise SiteError(f"{named} is somebody else's site, or out of reach: it is examined where its files are")
    site = Site(Path(named).expanduser().absolute()) if named else find_site()
    if not site.path.is_dir():
        raise SiteError(f"{site.path} is not there; make a site with `balsam init {site.path}`")
    try:
        return Patient(site, site.settings)
    except SiteError as error:
        return Patient(site, Settings(), str(error))
