"""Where files are staged from and to: the URLs of `stage_in_url` and `stage_out_url`."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from urllib.parse import unquote

from balsam.urls import complaint, split_remote


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

    @property
    def is_daemon(self) -> bool:
        """It is a module of an rsync server, which is not reached by ssh."""
        return self.carrier is Carrier.RSYNC and ("://" in self.where or split_remote(self.where)[1].startswith(":"))

    @property
    def sftp(self) -> tuple[str, str]:
        """SCP: the host as sftp takes it, and the path there; relative paths begin in the user's home directory."""
        if self.where.startswith("scp://"):
            host, _, path = self.where.removeprefix("scp://").partition("/")
            return f"sftp://{host}", unquote(path)
        return split_remote(self.where)


def parse(url: str) -> Place:
    """The place that a URL names.

    `/path`, `local:/path` and `file:///path` are this host's; `scp:[user@]host:path` and `rsync:[user@]host:path` are
    given to these programs, and so are `scp://...` and `rsync://...`, whole; all others are left to fsspec.

    Raises:
        ValueError: it names no place.
    """
    wrong = complaint(url, target=False)
    if wrong:
        raise ValueError(f"{hide_password(url)}: {wrong}")
    if url.startswith("/"):
        return Place(Carrier.LOCAL, url)
    scheme, _, rest = url.partition(":")
    if scheme in ("local", "file"):
        return Place(Carrier.LOCAL, rest.removeprefix("//") if scheme == "file" else rest)
    if scheme not in ("scp", "rsync"):
        return Place(Carrier.FSSPEC, url)
    if rest.startswith("//"):
        return Place(Carrier(scheme), url)
    if rest.startswith("/"):
        return Place(Carrier.LOCAL, rest)
    host, path = split_remote(rest)
    # That is where relative paths begin anyway, and not all versions of the programs know the tilde.
    path = "" if path == "~" else path.removeprefix("~/")
    return Place(Carrier(scheme), f"{host}:{path}")


def hide_password(text: str) -> str:
    """The text with `***` for the password of every URL in it, for messages and logs."""
    return re.sub(r"(\w://[^/\s:@]*):[^/\s@]+@", r"\1:***@", text)
