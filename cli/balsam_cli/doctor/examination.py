"""Runs checks beside each other, each with a time limit, whatever they do."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from balsam_cli.doctor.finding import Finding, problem
from balsam_cli.text import one_line


@dataclass(frozen=True)
class Check:
    """A check: its name, what it does, and how long it may take [s]. It may find several things, in order."""

    name: str
    look: Callable[[], Iterable[Finding]]
    seconds: float = 20.0


@dataclass
class _Run:
    check: Check
    began: float = field(default_factory=time.monotonic)
    findings: list[Finding] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> None:
        try:
            self.findings = list(self.check.look())
        except Exception as error:  # a damaged site may surprise a check, which must not hide what the others found
            if os.environ.get("BALSAM_DEBUG", "0") != "0":
                import traceback

                traceback.print_exception(error)
            text = one_line(f"{type(error).__name__}: {error}")
            self.findings = [
                problem(self.check.name, f"the check itself failed: {text}", "BALSAM_DEBUG=1 balsam doctor")
            ]
        self.done.set()


def examine(checks: Sequence[Check]) -> Iterator[Finding]:
    """What the checks find, in their order, each as soon as it and those before it are done."""
    runs = [_Run(check) for check in checks]
    for run in runs:
        # What hangs, for example on a dead file server, is left behind when the process ends.
        threading.Thread(target=run, name=run.check.name, daemon=True).start()
    for run in runs:
        left = run.began + run.check.seconds - time.monotonic()
        if run.done.wait(max(0.0, left)):
            yield from run.findings
        else:
            yield problem(run.check.name, f"no result after {run.check.seconds:g} s: something hangs", "balsam doctor")
