"""What `balsam init --group` shares: data/; log/ and qsubmit/ it may read. All else of the site stays its owner's."""

from __future__ import annotations

import grp
import os

from balsam.errors import SiteError, ValidationError
from balsam.site import Site

_SHARED = 0o2770
_SHOWN = 0o2750
"""Who could write there could put scripts in the place of those that are submitted, and links in that of outputs and
logs."""
_PASSED_THROUGH = 0o750


def find_group(name: str) -> int:
    """The number of a Unix group.

    Raises:
        ValidationError: there is none of this name, or we are not in it.
    """
    try:
        number = grp.getgrnam(name).gr_gid
    except KeyError:
        raise ValidationError(f"--group {name!r}: there is no such group on this host", field="group") from None
    if os.getuid() != 0 and number not in (os.getegid(), *os.getgroups()):
        raise ValidationError(f"--group {name!r}: you are not in this group; `groups` shows yours", field="group")
    return number


def share(site: Site, group: int) -> None:
    """Gives the shared directories to a group: what is made in them is the group's, too.

    Raises:
        SiteError: it cannot be done.
    """
    try:
        os.chown(site.path, -1, group)
        os.chmod(site.path, _PASSED_THROUGH)
        for directory, mode in ((site.data, _SHARED), (site.log, _SHOWN), (site.qsubmit, _SHOWN)):
            os.chown(directory, -1, group)
            os.chmod(directory, mode)
    except OSError as error:
        raise SiteError(f"cannot share {error.filename} with the group: {error.strerror}") from None
