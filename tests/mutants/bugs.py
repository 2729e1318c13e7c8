"""All seeded bugs."""

from __future__ import annotations

from tests.mutants.store_bugs import STORE_BUGS
from tests.mutants.worker_bugs import WORKER_BUGS

BUGS = (*STORE_BUGS, *WORKER_BUGS)

QUICK = ("late-result-of-any-attempt", "refusal-brings-back-a-window")
"""Bugs that every run of the tests looks for: each is found within seconds."""
LONGER = ("stale-sweep", "grants-not-taken-back")
"""Those that it looks for with the slow tests."""
