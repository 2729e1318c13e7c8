"""`python -m balsam_scheduler.fsspec_copy get|put`: copies between the current directory and a URL.

A process of its own: it can be stopped at any moment, and what a storage library does or imports stays out of the
scheduler. The URL is the first line of standard input.
"""

from __future__ import annotations

import importlib
import posixpath
import sys
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from balsam_scheduler.places import hide_password

_WEB = ("http", "https")


def copy(direction: str, url: str) -> None:
    """Copies what the URL names into the current directory (`get`), or what is in that to the URL (`put`).

    Raises:
        ImportError: fsspec, or what it needs for this scheme, is not installed.
        ValueError: a URL of the web that names no file, or a name there that would lead out of this directory.
    """
    url_to_fs = importlib.import_module("fsspec.core").url_to_fs
    if url.partition(":")[0] in _WEB:
        # Asked whether it is a directory, fsspec would read all of a file and search it for links.
        system, path = url_to_fs(url, client_kwargs={"timeout": _web_timeout()})
        system.get_file(path, web_file_name(url))
        return
    system, path = url_to_fs(url)
    if direction == "put":
        system.makedirs(path, exist_ok=True)
        system.put("./", path.rstrip("/") + "/", recursive=True)
    elif system.isdir(path):
        check_names(path, system.find(path, withdirs=True))
        system.get(path.rstrip("/") + "/", "./", recursive=True)
    else:
        system.get_file(path, posixpath.basename(path))


def check_names(directory: str, names: Iterable[str]) -> None:
    """Stores of objects have no directories, and take any name: one with ``..`` in it would be a file elsewhere here.

    Raises:
        ValueError: there is such a name, or one that is not below the directory.
    """
    root = directory.rstrip("/")
    for name in names:
        below = name.removeprefix(root)
        if not name.startswith(root) or ".." in below.split("/"):
            raise ValueError(f"{name!r:.200} leads out of {directory}; such a name cannot be copied here")


def _web_timeout() -> object:
    """By default, aiohttp gives up after five minutes, also in the middle of a large file."""
    return importlib.import_module("aiohttp").ClientTimeout(total=None, sock_connect=20, sock_read=60)


def web_file_name(url: str) -> str:
    """The name that a file of the web gets here.

    Raises:
        ValueError: the URL names no file.
    """
    name = posixpath.basename(unquote(urlsplit(url).path))
    if name in ("", ".", ".."):
        raise ValueError(f"{url} names no file; directories cannot be copied from the web")
    return name


def main() -> int:
    """Exit code 0; or 1, with one line that says why."""
    direction, url = sys.argv[1], sys.stdin.readline().rstrip("\n")
    scheme = url.partition(":")[0]
    try:
        copy(direction, url)
    except ModuleNotFoundError as error:
        print(f"{scheme}: URLs need the Python package {error.name}: install it beside Balsam, with pip")
    except ImportError as error:
        print(f"{scheme}: URLs cannot be used: {error}")
    except Exception as error:
        # Whatever a storage library raises is why the copy failed.
        print(hide_password(f"{type(error).__name__}: {error}").replace("\n", " "))
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
