"""What may notice a bug: parts of the tests, and the chaos runner."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

_PYTEST = (sys.executable, "-m", "pytest", "-x", "-q", "-rf", "-p", "no:cacheprovider")
_CHAOS = (
    sys.executable,
    "-m",
    "tests.chaos",
    "--jobs",
    "200",
    "--faults",
    "10",
    "--database",
    "sqlite",
    "--seed",
    "17",
)


@dataclass(frozen=True)
class Detector:
    """A command that ends with 1 where it finds something, and with 0 where it finds nothing."""

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    """Files and directories without which it does not exist."""
    limit_seconds: float = 300.0
    """What takes longer hangs, which is a finding too."""

    def exists(self, root: Path) -> bool:
        """Whether these sources have it."""
        return all((root / name).exists() for name in self.needs)


def _tests(name: str, *arguments: str) -> Detector:
    files = tuple(argument for argument in arguments if argument.startswith("tests/"))
    return Detector(name, (*_PYTEST, *arguments), files)


DETECTORS = {
    detector.name: detector
    for detector in (
        # The job store without processes.
        _tests("walks", "tests/jobstore/test_random_walks.py", "-k", "sqlite"),
        _tests("leases", "tests/jobstore/test_leases.py", "-k", "sqlite"),
        _tests("late-results", "tests/jobstore/test_leases.py", "-k", "sqlite and (late_result or ledger)"),
        _tests("moves", "tests/jobstore/test_moves.py", "tests/jobstore/test_edges.py", "-k", "sqlite"),
        _tests("creation", "tests/jobstore/test_creation.py", "-k", "sqlite"),
        _tests("writer", "tests/jobstore/test_writer.py", "-k", "sqlite"),
        _tests("events", "tests/jobstore/test_events.py", "-k", "sqlite"),
        _tests("store", "tests/jobstore/test_store.py", "-k", "sqlite"),
        _tests("durability", "tests/jobstore/test_durability.py"),
        # Parts of launchers.
        _tests("renewal", "tests/unit/client/test_renewal.py"),
        _tests("ledger", "tests/unit/client/test_ledger.py"),
        _tests("agent", "tests/launcher/test_agent.py"),
        # Real services.
        _tests("restarts", "tests/jobstore/test_service.py", "-k", "sqlite and kill"),
        _tests("scheduler-session", "tests/scheduler/test_session.py"),
        _tests("scripts", "tests/scheduler/test_service.py", "-k", "script or scheduler"),
        _tests("kills", "tests/launcher/test_kills.py"),
        _tests("orphans", "tests/faults/test_orphans.py"),
        _tests("outage", "tests/faults/test_outage.py"),
        _tests("faults", "tests/launcher/test_faults.py"),
        _tests("requests", "tests/jobstore/test_requests.py", "-k", "not postgres"),
        _tests("failpoints", "tests/failpoints"),
        Detector("chaos", _CHAOS, ("tests/chaos/__main__.py",), limit_seconds=600.0),
    )
}
