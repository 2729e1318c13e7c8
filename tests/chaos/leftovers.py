"""What must not be there after a campaign: processes, sessions, temporary files, tracebacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from balsam.site import Site
from balsam_jobstore.rules import RuleSet
from tests.chaos.checker import LOST, OTHER, OVERLAP, Finding
from tests.support.invariants import violations
from tests.support.store import RULE_SET

_SCHEDULER = 1
_TEMPORARY = ("*.tmp", "*.new", "*.part", "*~")
_STAY = (".lock", ".json", ".sock")
"""Suffixes of what a killed process leaves in the run directory, where the next of its name takes it over."""


def of_processes(remains: dict[int, str]) -> Iterator[Finding]:
    """Processes that live when everything was asked to stop."""
    for pid, command in remains.items():
        yield Finding(OVERLAP, "no_process_is_left", f"process {pid} lives after the drain: {command[:200]}")


def of_database(connection: sa.Connection) -> Iterator[Finding]:
    """What does not hold in the database, and sessions of launchers."""
    for text in violations(connection, rules=RuleSet(RULE_SET)):
        yield Finding(OTHER, "the_database_is_consistent", text)
    for host, pid in connection.execute(sa.text(f"SELECT host, pid FROM session WHERE kind <> {_SCHEDULER}")):
        yield Finding(OTHER, "no_session_is_left", f"the session of the launcher {pid} on {host} is open")


def ledgers(site: Site) -> list[Path]:
    """Results of dead launchers that nobody has reported."""
    return sorted((site.path / "ledger").glob("*"))


def of_files(site: Site) -> Iterator[Finding]:
    """Temporary files, in the site and its run directory; ledgers; tracebacks and the owner's token in logs."""
    for path in ledgers(site):
        yield Finding(LOST, "no_ledger_is_left", f"results of a dead launcher are left in {path}")
    token = site.owner_token_file.read_text().strip()
    for pattern in _TEMPORARY:
        for path in [*site.run.rglob(pattern), *site.path.rglob(pattern)]:
            yield Finding(OTHER, "no_temporary_file_is_left", f"{path} is left")
    for path in sorted(site.log.glob("*")):
        text = path.read_text(errors="replace")
        if "Traceback" in text:
            yield Finding(OTHER, "no_traceback_in_a_log", f"{path.name}: {_last_of_traceback(text)}")
        if token in text:
            yield Finding(OTHER, "no_secret_in_a_log", f"{path.name} holds the owner's token")


def _last_of_traceback(text: str) -> str:
    after = text[text.index("Traceback") :].splitlines()[1:]
    return next((line for line in after if line and not line.startswith((" ", "\t"))), "a traceback")[:300]
