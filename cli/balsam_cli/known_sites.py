"""The sites that this user has made, a list in the user's data directory, and those that they have logged in to."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from balsam.addresses import looks_like_address
from balsam.errors import SiteError
from balsam.site import SETTINGS_FILE, Site, open_site
from balsam_cli.terminal import note


def user_directory() -> Path:
    """This user's data directory for Balsam; not made by asking for it."""
    import platformdirs

    return Path(platformdirs.user_data_dir("balsam", appauthor=False))


def known() -> list[Site]:
    """The sites of the list, oldest first, also those that are gone."""
    try:
        paths = json.loads(_list_file().read_text())["sites"]
        return [Site(Path(path)) for path in paths]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def logged_in() -> list[Site]:
    """The sites of others for which there is a login."""
    from balsam import logins

    return [logins.MemberSite(Path(login.site), login) for login in logins.stored()]


def exists(site: Site) -> bool:
    """Whether it is still there."""
    return (site.path / SETTINGS_FILE).is_file()


def remember(site: Site) -> None:
    """Adds a site to the list, and drops those that are gone. A list that cannot be written is no failure."""
    try:
        with locked():
            _write(site)
    except OSError as error:
        note(f"note: {_list_file()} cannot be written, so this site is not in the list: {error.strerror}")


def _write(site: Site) -> None:
    paths = [str(other.path) for other in known() if exists(other) and other.path != site.path]
    target = _list_file()
    draft = target.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(json.dumps({"sites": [*paths, str(site.path)]}, indent=1) + "\n")
    draft.replace(target)


def named(name: str) -> Site:
    """The known site with this name or path, or the site at that path.

    Raises:
        SiteError: there is none, or several have that name.
    """
    sites = [site for site in known() if exists(site) and name == site.name]
    sites += [site for site in logged_in() if name == site.name]
    if len(sites) > 1:
        raise SiteError(f"several sites are called {name!r}: {', '.join(str(s.path) for s in sites)}; give a path")
    if sites:
        return sites[0]
    if (Path(name).expanduser() / SETTINGS_FILE).is_file():
        return open_site(Path(name).expanduser().resolve())
    if looks_like_address(name):
        return open_site(name)
    names = ", ".join(site.name for site in known() if exists(site)) or "none"
    raise SiteError(f"no site {name!r}: neither a path of one nor a known name (known: {names})")


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """One process at a time makes sites in the user's data directory, or writes the list."""
    directory = user_directory()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(directory / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _list_file() -> Path:
    return user_directory() / "sites.json"
