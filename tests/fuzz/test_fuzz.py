"""Nonsense from the descriptors: whatever is sent, callers can understand the answer, and the services live.

Sizes and seed are those of CI, with the slow tests; `python -m tests.fuzz --help` is for more.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from balsam.serving import _lenient, _Malformed
from balsam.site import Site
from tests.fuzz.campaign import METHODS, Plan
from tests.fuzz.report import render
from tests.fuzz.sites import fuzz_job_store, fuzz_launcher_and_scheduler
from tests.support.rpc_client import empty
from tests.support.sites import make_test_site

FEW, INPUTS = 2_000, 10_000
"""For each database, the second with the slow tests."""
MOST_GROWTH = 40_000_000
"""Bytes; how much memory a short run may take after its warm-up is mostly chance."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("inputs", [FEW, pytest.param(INPUTS, marks=pytest.mark.slow)])
def test_nonsense_is_answered_in_terms_of_the_caller_and_the_job_store_lives(
    tmp_path: Path, any_database: str, inputs: int
) -> None:
    site = make_test_site(tmp_path, any_database, lease_seconds=10.0)
    findings = fuzz_job_store(site, Plan(inputs, connections=100))
    report = render(any_database.partition(":")[0], findings)
    print(report)
    assert not findings.problems, report
    assert findings.growth < MOST_GROWTH, report
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS"} <= {code for _, code in findings.tally.calls}
    assert METHODS["jobstore"].keys() <= {name for name, code in findings.tally.calls}


def test_nonsense_is_answered_by_a_launcher_and_a_scheduler(site: Site) -> None:
    for title, findings in fuzz_launcher_and_scheduler(site, Plan(1000, connections=20, processes=1)):
        report = render(title, findings)
        print(report)
        assert not findings.problems, report


@pytest.mark.parametrize("method", METHODS["jobstore"])
def test_random_bytes_are_answered_in_terms_of_the_caller(method: str) -> None:
    """Of the parsing alone: what a service does with a message that is none is tested once for each method."""
    parse = _lenient(type(empty(method)).FromString)
    generator = random.Random(method)
    for _ in range(300):
        data = bytes(generator.getrandbits(8) for _ in range(generator.randint(0, 30)))
        assert isinstance(parse(data), (_Malformed, type(empty(method))))
