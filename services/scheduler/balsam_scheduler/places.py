"""Where files are staged from and to: the URLs of `stage_in_url` and `stage_out_url`."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass


class Carrier(enum.Enum):
    """Who copies the files."""

    LOCAL = "local"
    SCP = "scp"
    RSYNC = "rsync"
    FSSPEC = "fsspec"


@dataclass(frozen=True)
class Place:
    """One end of a copy.

    Attributes:
        carrier: who copies.
        where: an absolute path for LOCAL, what the program takes for SCP and RSYNC, the URL for FSSPEC.
    """

    carrier: Carrier
    where: str

    @property
    def base_name(self) -> str:
        """Last part of the path: the name that a copied directory gets."""
        return re.split("[/:]", self.where.rstrip("/"))[-1]


def parse(url: str) -> Place:
    """The place that a URL names.

    `/path`, `local:/path` and `file:///path` are this host's; `scp:[user@]host:path` and `rsync:[user@]host:path` are
    given to these programs, and so are `scp://...` and `rsync://...`, whole; all others are left to fsspec.

    Raises:
        ValueError: it names no place.
    """
    if url.startswith("/"):
        return Place(Carrier.LOCAL, url)
    scheme, _, rest = url.partition(":")
    if scheme in ("local", "file"):
        path = rest.removeprefix("//") if scheme == "file" else rest
        if not path.startswith("/"):
            raise ValueError(f"{hide_password(url)}: must hold an absolute path, as in {scheme}:/data/input")
        return Place(Carrier.LOCAL, path)
    if scheme in ("scp", "rsync"):
        where = url if rest.startswith("//") else rest
        if not rest.strip("/:") or where.startswith("-"):
            raise ValueError(f"{hide_password(url)}: names no place; write {scheme}:HOST:PATH")
        return Place(Carrier(scheme), where)
    return Place(Carrier.FSSPEC, url)


def hide_password(text: str) -> str:
    """The text with `***` for the password of every URL in it, for messages and logs."""
    return re.sub(r"(\w://[^/\s:@]*):[^/\s@]+@", r"\1:***@", text)
