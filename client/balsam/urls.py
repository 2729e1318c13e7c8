"""URLs that files are staged from and to: which are valid, and what is wrong with the others."""

from __future__ import annotations

import re
from urllib.parse import unquote

SCHEMES = ("local", "file", "scp", "rsync", "http", "https", "ftp", "sftp", "s3", "gs", "abfs")
READ_ONLY = ("http", "https")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_REMOTE = re.compile(r"((?:[^/:@]+@)?(?:\[[^]/]+\]|[^/:@\[]+)):(.*)")


def complaint(url: str, *, target: bool) -> str:
    """What is wrong with a URL, to follow its text in a message; empty if nothing is.

    Args:
        url: the URL, or an absolute path of this host.
        target: files are to be written there.
    """
    if _CONTROL.search(url):
        return "holds a control character"
    if url.startswith("/"):
        return ""
    scheme, colon, rest = url.partition(":")
    if not colon or scheme not in SCHEMES:
        return f"must be an absolute path or a URL of {', '.join(SCHEMES)}"
    if target and scheme in READ_ONLY:
        return f"cannot be written to: {scheme}: is for stage-in only"
    return _COMPLAINTS.get(scheme, _about_storage)(scheme, rest)


def _about_path(scheme: str, rest: str) -> str:
    if not rest.strip("/"):
        return "names no place"
    path = rest.removeprefix("//") if scheme == "file" else rest
    return "" if path.startswith("/") else f"must hold an absolute path, as in {scheme}:/data/input"


def _about_program(scheme: str, rest: str) -> str:
    place = f"names no place; write {scheme}:HOST:PATH"
    if not rest.strip("/:"):
        return place
    if rest.startswith("//"):
        host = rest.removeprefix("//").partition("/")[0]
    elif rest.startswith("/"):
        return ""
    else:
        # Without a colon before the first slash the programs would take it for a path here.
        host = split_remote(rest)[0]
    if not host:
        return place
    # A program would take such a name for an option, also where it stands in brackets or is written in percent.
    if any(part.lstrip("[").startswith("-") for part in unquote(host).split("@")):
        return "names a host or user that begins with '-'"
    return ""


def _about_storage(scheme: str, rest: str) -> str:
    # Without the slashes fsspec takes it for a file here.
    if rest.startswith("//") and rest.strip("/"):
        return ""
    return f"names no place; write {scheme}://PLACE/PATH"


_COMPLAINTS = {"local": _about_path, "file": _about_path, "scp": _about_program, "rsync": _about_program}


def split_remote(text: str) -> tuple[str, str]:
    """(`[user@]host`, path) of ``[user@]host:path``; empty texts where it does not have that form."""
    match = _REMOTE.fullmatch(text)
    return (match[1], match[2]) if match else ("", "")
