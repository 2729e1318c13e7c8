"""`python -m balsam_scheduler.fsspec_copy get|put`: copies between the current directory and a URL.

A process of its own: it can be stopped at any moment, and what a storage library does or imports stays out of the
scheduler. The URL is the first line of standard input.
"""

from __future__ import annotations

import importlib
import sys

from balsam_scheduler.places import hide_password


def copy(direction: str, url: str) -> None:
    """Copies what the URL names into the current directory (`get`), or what is in that to the URL (`put`).

    Raises:
        ImportError: fsspec, or what it needs for this scheme, is not installed.
    """
    system, path = importlib.import_module("fsspec.core").url_to_fs(url)
    if direction == "put":
        system.makedirs(path, exist_ok=True)
        system.put("./", path.rstrip("/") + "/", recursive=True)
    else:
        system.get(path, "./", recursive=True)


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
