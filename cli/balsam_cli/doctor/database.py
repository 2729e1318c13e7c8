"""Checks of the database, by the job store's own program: the only one that may open it."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from balsam_cli.doctor.finding import Finding, note, ok, problem, quoted
from balsam_cli.doctor.patient import Patient
from balsam_cli.doctor.programs import ask

_INTEGRITY_SECONDS = 5.0
_EXTRA = "pip install '.[postgres]'    # in the directory of Balsam"
SECONDS = 30.0
"""For all of it: loading the program, connecting, and the check of integrity [s]."""


def check_database(patient: Patient) -> Iterator[Finding]:
    """It is there, can be reached, is of this version, and whole."""
    if patient.trouble:
        yield note("database", "not looked at, since the settings cannot be read")
        return
    command = [sys.executable, "-m", "balsam_jobstore.examine", "--site", str(patient.site.path)]
    answer = ask([*command, "--seconds", f"{_INTEGRITY_SECONDS:g}"], SECONDS - 2)
    if answer.late:
        yield problem("database", f"it does not answer within {SECONDS - 2:g} s", "balsam log --name postgres")
        return
    if answer.status != 0:
        yield problem("database", answer.last_line.removeprefix("balsam job store: "), "balsam log")
        return
    yield from judge(json.loads(answer.out), patient)


def judge(report: dict[str, Any], patient: Patient) -> Iterator[Finding]:
    """What the report of `balsam_jobstore.examine` means."""
    yield _database(report, patient)
    if report["database"] == "sqlite" and report["state"] == "reached":
        yield _integrity(report["integrity"], patient)
    if report["database"] == "postgres":
        yield _cluster(report)


def _database(report: dict[str, Any], patient: Patient) -> Finding:
    title = {"sqlite": "SQLite", "postgres": "PostgreSQL of the site", "url": "PostgreSQL server"}[report["database"]]
    if report["state"] == "trouble":
        return problem("database", f"{title}: {report['trouble']}", _mending(report, patient))
    if report["state"] == "none":
        return _missing(title, patient)
    if report["state"] == "stopped":
        return note("database", f"{title}: stopped", "balsam up")
    revision, newest = report["revision"], report["newest_revision"]
    if not revision and report["integrity"] not in ("ok", "unknown"):
        return problem("database", f"{title}: cannot be read", *_salvage(patient))
    if not revision:
        return note("database", f"{title}: empty; the first start makes its tables", "balsam up")
    if revision > newest:
        text = f"{title}: revision {revision} is of a newer version of Balsam than this one, which knows {newest}"
        return problem("database", text, "pip install --upgrade PATH_OF_THE_NEWER_BALSAM")
    if revision < newest:
        text = (
            f"{title}: revision {revision} of an older version; the next start makes a backup and upgrades to {newest}"
        )
        return note("database", text, "balsam down; balsam up")
    return ok("database", f"{title}, revision {revision}")


def _missing(title: str, patient: Patient) -> Finding:
    try:
        used = any(not one.name.startswith(".") for one in patient.site.data.iterdir())
    except OSError:
        used = False
    if used:
        text = f"{title}: there is none, but data/ holds directories of jobs: it was lost, or removed"
        return problem(
            "database", text, "balsam up    # makes an empty one; put a backup into database/ before, if any"
        )
    return note("database", f"{title}: not made yet; the first start makes it", "balsam up")


def _mending(report: dict[str, Any], patient: Patient) -> str:
    trouble = report["trouble"]
    if "needs the Python package" in trouble:
        return _EXTRA
    if report["database"] == "postgres":
        if "was not found" in trouble or "only " in trouble:
            return _EXTRA
        if "pgpass" in trouble:
            return f"cp BACKUP/pgpass {quoted(patient.site.database / 'postgres')}"
        return "balsam down; balsam up"
    if report["database"] == "url":
        return _question(patient.settings.database)
    return f"ls -l {quoted(patient.site.database)}"


def _question(url: str) -> str:
    """Asks the server whether it is there; without the password that an address may hold."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    where = [parts.hostname or "".join(query.get("host", ["localhost"])[:1])]
    port = str(_port(parts) or "".join(query.get("port", ["5432"])[:1]))
    return shlex.join(["pg_isready", "-h", *where, "-p", port])


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError:
        return None


def _integrity(result: str, patient: Patient) -> Finding:
    if result == "ok":
        return ok("integrity", "quick check of SQLite: ok")
    if result == "unknown":
        whole = f"sqlite3 {quoted(patient.site.database / 'balsam.db')} 'PRAGMA quick_check'"
        return note("integrity", f"not known: the quick check takes more than {_INTEGRITY_SECONDS:g} s", whole)
    return problem("integrity", f"the database file is damaged: {result}", *_salvage(patient))


def _salvage(patient: Patient) -> tuple[str, ...]:
    directory = patient.site.database
    file, recovered, damaged = (quoted(directory / name) for name in ("balsam.db", "recovered.db", "damaged"))
    return (
        "balsam down",
        f"sqlite3 {file} .recover | sqlite3 {recovered}",
        f"mkdir {damaged}; mv {file}* {damaged}",
        f"mv {recovered} {file}; balsam up",
    )


def _cluster(report: dict[str, Any]) -> Finding:
    if report["password_file_mode"] not in ("", "0600"):
        text = f"{report['password_file']} is open to others (mode {report['password_file_mode']}): libpq disregards it"
        return problem("postgresql", text, f"chmod 600 {report['password_file']}")
    if not report["programs"]:
        return problem("postgresql", report["trouble"] or "no programs found", _EXTRA)
    server = f"server pid {report['pid']}" if report["pid"] else "the server does not run"
    return ok("postgresql", f"{server}; programs in {report['programs']}; the password file is closed to others")
