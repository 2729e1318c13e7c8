"""Components that tests need and a machine may lack: skipped with one loud line at home, failed in CI."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

MARK = "MISSING"


def missing(component: str, why: str) -> NoReturn:
    """Skips the test, or fails it where ``CI`` says that everything must be there."""
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(f"{component} must be there in CI: {why}", pytrace=False)
    pytest.skip(f"{MARK} {component}: {why}")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each component that was missing, with how many tests it cost."""
    reasons = [report.longrepr[2] for report in terminalreporter.getreports("skipped") if _is_reason(report.longrepr)]
    ours = [reason.removeprefix("Skipped: ") for reason in reasons if MARK in reason]
    for reason in sorted(set(ours)):
        line = f"{ours.count(reason)} tests SKIPPED, {reason}"
        terminalreporter.write_line(line, yellow=True, bold=True)


def _is_reason(longrepr: object) -> bool:
    return isinstance(longrepr, tuple) and len(longrepr) == 3
