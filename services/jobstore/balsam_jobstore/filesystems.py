"""Which kind of file system a path is on: those that hosts share promise little about locks, and no common memory."""

from __future__ import annotations

import os
import re
from pathlib import Path

_CLUSTER = {"lustre", "gpfs", "beegfs", "fhgfs", "pvfs2", "orangefs", "ceph", "glusterfs", "panfs", "wekafs", "dvs"}
_OF_HOSTS = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ocfs2", "gfs2"}
_FUSE = {f"fuse.{name}" for name in ("sshfs", "glusterfs", "ceph", "ceph-fuse", "quobyte", "juicefs", "beegfs")}
NETWORK = frozenset(_CLUSTER | _OF_HOSTS | _FUSE)
"""Names, as the kernel gives them, of file systems that other hosts may see as well."""

_OCTAL = re.compile(r"\\([0-7]{3})")


def kind(path: Path, mounts: str | None = None) -> str:
    """Name of the file system that a path is on, as the kernel gives it; ``""`` if it cannot be told.

    Args:
        mounts: text of ``/proc/self/mounts``, which is read if it is not given.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text(errors="replace")
        except OSError:
            return ""
    wanted = Path(os.path.realpath(path))
    found, depth = "", -1
    for line in mounts.splitlines():
        _, where, name, *_ = line.split(" ")
        place = Path(_OCTAL.sub(lambda match: chr(int(match[1], 8)), where))
        # What was mounted later hides what was mounted before in the same place.
        if wanted.is_relative_to(place) and len(place.parts) >= depth:
            found, depth = name, len(place.parts)
    return found


def is_network(path: Path) -> bool:
    """Whether other hosts may see the same file."""
    return kind(path) in NETWORK
