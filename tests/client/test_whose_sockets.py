"""The token goes to sockets that nobody else could have put there, and to no address that somebody only names."""

from __future__ import annotations

import os
from pathlib import Path

import grpc
import pytest

from balsam.client import Client
from balsam.errors import SiteError
from balsam.query import EVERYTHING
from balsam.site import Site, run_of_this_host
from tests.support.components import missing
from tests.support.sites import make_test_site

NOBODY = 65_534


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site whose own directory is too long for sockets: these are in one that all users can make."""
    shared = tmp_path / "tmp"
    shared.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(shared))
    site = make_test_site(tmp_path / ("long" * 25))
    assert site.run == run_of_this_host(site.path)
    return site


def plant(site: Site, how: str) -> None:
    """What another user makes before the owner does."""
    if how == "a link":
        (site.run.parent / "theirs").mkdir()
        site.run.symlink_to("theirs")
        return
    site.run.mkdir(mode=0o700)
    if how == "open to others":
        site.run.chmod(0o777)
    elif os.getuid() != 0:
        missing("root", "only root can be another Unix user")
    else:
        os.chown(site.run, NOBODY, NOBODY)


@pytest.mark.parametrize("how", ["another's", "open to others", "a link"])
def test_a_directory_that_others_may_have_made_gets_no_call(
    site: Site, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(site, how)
    monkeypatch.setattr(grpc, "insecure_channel", lambda *args, **kwargs: pytest.fail("it was called"))
    with pytest.raises(SiteError, match="is not yours alone"):
        Client(site, retry_seconds=0).jobs.count(EVERYTHING)
