"""What a command that changes many things asked for, did, and skipped, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from balsam.errors import BalsamError
from balsam.v1 import job_service_pb2
from balsam_cli.output import Lines, Printer, Record
from balsam_cli.terminal import note
from balsam_cli.text import count

_SHOWN = 10


@dataclass
class Outcome:
    """The result of a change of many things."""

    asked: int
    done: int = 0
    skipped: int = 0
    reasons: list[Record] = field(default_factory=list)
    """Why, for the first of what was skipped."""
    extra: dict[str, Any] = field(default_factory=dict)

    def skip(self, one: str, error: BalsamError) -> None:
        """Counts one that was refused."""
        self.skipped += 1
        self.reasons.append({"id": one, "reason": error.reason, "message": str(error), "field": error.field})

    def report(self, printer: Printer, verb: str, noun: str, remark: str = "") -> int:
        """Prints it; `noun` is a singular. Returns the exit status: 1 when something was skipped."""
        record = {"asked": self.asked, "done": self.done, "skipped": self.skipped, "reasons": self.reasons}
        printer.one(record | self.extra, Lines([self._line(verb, noun) + remark]))
        for reason in self.reasons[:_SHOWN]:
            note(f"balsam: {reason['message']}")
        if self.skipped > _SHOWN:
            note(f"... {self.skipped - _SHOWN:,} more were skipped")
        return 1 if self.skipped else 0

    def _line(self, verb: str, noun: str) -> str:
        if self.done == self.asked:
            return f"{verb} {count(self.done, noun)}"
        skipped = f", skipped {self.skipped:,}" if self.skipped else ""
        return f"{verb} {self.done:,} of {count(self.asked, noun)}{skipped}"


def reasons(refusals: Iterable[job_service_pb2.Refusal]) -> list[Record]:
    """The refusals of a call, as records."""
    return [
        {"id": refusal.job_id, "reason": refusal.reason, "message": refusal.message, "field": refusal.field}
        for refusal in refusals
    ]


def of_call(asked: int, done: int, refusals: Sequence[job_service_pb2.Refusal], refused: int = 0) -> Outcome:
    """The outcome that a bulk call answers with."""
    return Outcome(asked, done, max(refused, len(refusals)), reasons(refusals))
