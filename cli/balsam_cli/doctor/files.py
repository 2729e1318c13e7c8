"""Checks of a site's files: settings, permissions, directories, and locks."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from balsam.closed import open_to_writers
from balsam.site import SETTINGS_FILE, owner_name
from balsam_cli.doctor.finding import Finding, note, ok, problem, quoted
from balsam_cli.doctor.patient import Patient
from balsam_cli.doctor.programs import ask

_LOCK_SECONDS = 15.0
_SKEW_SECONDS = 2.0
"""More than file systems round, and than a busy host takes to write a file."""


def check_settings(patient: Patient) -> Iterator[Finding]:
    """The settings can be read, and every key and value is valid."""
    file = patient.site.path / SETTINGS_FILE
    if patient.is_half_made:
        again = f"balsam init {quoted(patient.site.path)}"
        if (patient.site.database / "postgres").exists():
            again += " --db postgres"
        yield problem("settings", f"{file} is not there: the site is half made, or damaged", again)
    elif patient.trouble:
        fix = f"{os.environ.get('EDITOR', 'vi')} {quoted(file)}"
        yield problem("settings", patient.trouble, fix if os.access(file, os.R_OK) else f"chmod 600 {quoted(file)}")
    else:
        # The value may be a URL that holds a password.
        name = patient.settings.database if patient.settings.database in ("sqlite", "postgres") else "a URL"
        keys = len(dataclasses.fields(patient.settings))
        yield ok("settings", f"{keys} keys, all valid; database = {name}")


def check_permissions(patient: Patient) -> Iterator[Finding]:
    """What holds secrets is its owner's, and closed to everyone else."""
    site = patient.site
    wrong, fixes = [], []
    for path, who in open_to_writers(site):
        wrong.append(f"{who} may write to {path}")
        fixes.append(f"chmod go-w {quoted(path)}")
    for path, mode in (
        (site.credentials, 0o700),
        (site.owner_token_file, 0o600),
        (site.credentials / "site.key", 0o600),
        (site.path / SETTINGS_FILE, 0o600),
        (site.database, 0o700),
        (site.run, 0o700),
    ):
        try:
            info = path.lstat()
        except FileNotFoundError:
            if path not in (
                site.run,
                site.path / SETTINGS_FILE,
            ):  # the first `up` makes one, check_settings sees the other
                wrong.append(f"{path} is not there")
                fixes += _made(path, mode)
            continue
        except OSError as error:
            wrong.append(f"{path}: {error.strerror}")
            fixes.append(f"ls -ld {quoted(path.parent)}")
            continue
        if info.st_uid != os.getuid():
            wrong.append(f"{path} belongs to {owner_name(path)}")
            # A run directory holds nothing that is to be kept, and of a stranger's nothing is to be used.
            aside = f"sudo mv {quoted(path)} {quoted(path.with_name(path.name + '.not-mine'))}"
            fixes.append(aside if path == site.run else f"sudo chown -R $(id -un) {quoted(path)}")
        elif stat.S_IMODE(info.st_mode) & ~mode & 0o777:
            wrong.append(f"{path} is open to others (mode {stat.S_IMODE(info.st_mode):04o})")
            fixes.append(f"chmod {mode:o} {quoted(path)}")
    if wrong:
        yield problem("permissions", "; ".join(wrong), *fixes)
    else:
        yield ok("permissions", "credentials, database and run/ are closed to everyone else")


def _made(path: Path, mode: int) -> list[str]:
    """Commands that make what is missing."""
    if path.suffix not in (".token", ".key"):
        return [f"mkdir -m {mode:o} {quoted(path)}"]
    secret = "'owner.' + secrets.token_urlsafe(32)" if path.suffix == ".token" else "secrets.token_hex(32)"
    write = f'python3 -c "import secrets; print({secret})" > {quoted(path)}'
    return [f"(umask 077; {write})", "balsam down; balsam up"]


def check_directories(patient: Patient) -> Iterator[Finding]:
    """data/ and log/ take files, and data/ of a group gives them to the group."""
    site = patient.site
    wrong, fixes = [], []
    for path in (site.data, site.log, site.qsubmit):
        if not path.is_dir():
            wrong.append(f"{path} is not there")
            fixes.append(f"mkdir {quoted(path)}")
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        try:
            with tempfile.TemporaryFile(dir=path, prefix=".doctor-"):
                pass
        except OSError as error:
            wrong.append(f"nothing can be written to {path}: {error.strerror} (mode {mode:04o})")
            fixes.append(f"chmod u+rwx {quoted(path)}")
        if mode & stat.S_IWGRP and not mode & stat.S_ISGID:
            wrong.append(f"{path} is its group's, and what is made there would not be (mode {mode:04o})")
            fixes.append(f"chmod g+s {quoted(path)}")
    if wrong:
        yield problem("directories", "; ".join(wrong), *fixes)
    else:
        yield ok("directories", "data/, log/ and qsubmit/ can be written; on other hosts this is not seen from here")


def check_file_locks(patient: Patient) -> Iterator[Finding]:
    """Two processes: while one holds a lock on a file, the other does not get it."""
    site = patient.site
    code = (
        "import fcntl,sys\nwith open(sys.argv[1], 'r+') as file:\n"
        " try: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n except OSError: print('held')\n else: print('free')"
    )
    for directory in (site.data, site.database):
        try:
            held, free = _ask_twice(directory, code)
        except OSError as error:
            yield problem("file locks", f"no lock on a file in {directory}: {error.strerror}", _MOVE)
            return
        if (held, free) != ("held", "free"):
            yield problem(
                "file locks", f"a lock in {directory} keeps nobody out: another process saw {held}, then {free}", _MOVE
            )
            return
    yield ok("file locks", "flock keeps a second process of this host out, in data/ and database/")


_MOVE = "balsam init PATH    # on a local disk, or a file system that is mounted with locks (NFS: local_lock=none)"


def _ask_twice(directory: Path, code: str) -> tuple[str, str]:
    import fcntl

    with tempfile.NamedTemporaryFile(dir=directory, prefix=".doctor-") as file:
        command = [sys.executable, "-I", "-S", "-c", code, file.name]
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = ask(command, _LOCK_SECONDS)
        fcntl.flock(file, fcntl.LOCK_UN)
        return held.last_line, ask(command, _LOCK_SECONDS).last_line


def check_file_times(patient: Patient) -> Iterator[Finding]:
    """A file that is written now bears the time of this host, which a file server's clock may not."""
    for directory in (patient.site.data, patient.site.path):
        with contextlib.suppress(OSError), tempfile.NamedTemporaryFile(dir=directory, prefix=".doctor-") as file:
            before = time.time()
            os.utime(file.fileno())
            skew = judged_skew(before, os.fstat(file.fileno()).st_mtime, time.time())
            if abs(skew) > _SKEW_SECONDS:
                text = f"files in {directory} are stamped {skew:+.1f} s from this host's clock"
                yield problem("file times", text, "chronyc tracking    # here and on the file server")
            else:
                yield ok("file times", f"files are stamped by this host's clock, within {_SKEW_SECONDS:g} s")
            return
    yield note("file times", f"not seen: nothing can be written to {patient.site.path}")


def judged_skew(before: float, stamp: float, after: float) -> float:
    """How far a stamp lies outside the time in which it was made [s]; negative: before it."""
    return stamp - after if stamp > after else min(0.0, stamp - before)
