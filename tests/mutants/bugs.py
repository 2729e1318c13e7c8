"""All seeded bugs."""

from __future__ import annotations

from tests.mutants.store_bugs import STORE_BUGS
from tests.mutants.worker_bugs import WORKER_BUGS

BUGS = (*STORE_BUGS, *WORKER_BUGS)

QUICK = ("late-result-of-any-attempt", "stale-sweep", "grants-not-taken-back", "refusal-brings-back-a-window")
"""Bugs that every run of the tests looks for: each is found within seconds."""
