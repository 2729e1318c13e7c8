"""Moves jobs to an archive: written, read back, compared, and only then deleted here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from balsam.client import Client
from balsam.v1 import archive_service_pb2
from balsam_cli import moving, terminal
from balsam_cli.outcome import reasons
from balsam_cli.output import Lines, Printer, Record
from balsam_cli.text import count

pb = archive_service_pb2

_SHOWN = 10


@dataclass
class Archived:
    """What became of the jobs that are old enough."""

    file: Path
    asked: int
    archived: int = 0
    needed: int = 0
    """Kept, since a job that stays depends on them."""
    gone: int = 0
    """In the file, and no longer here."""
    changed: int = 0
    """Kept, since they are not what the file says."""
    reasons: list[Record] = field(default_factory=list)

    def report(self, printer: Printer) -> int:
        """Prints it. Returns the exit status: 1 when something was kept that the file holds."""
        kept = self.needed + self.changed
        record = {
            "file": str(self.file.absolute()),
            "asked": self.asked,
            "archived": self.archived,
            "gone": self.gone,
            "kept": kept,
            "needed": self.needed,
            "changed": self.changed,
            "reasons": self.reasons,
        }
        parts = [f"archived {self.archived:,} of {count(self.asked, 'job')}"]
        parts += [f"{self.gone:,} had been deleted before"] if self.gone else []
        parts += [f"kept {self.needed:,} on which jobs depend that stay"] if self.needed else []
        parts += [f"kept {self.changed:,} that the file does not match"] if self.changed else []
        printer.one(record, Lines(["; ".join(parts)]))
        for reason in self.reasons[:_SHOWN]:
            terminal.note(f"balsam: {reason['message']}")
        return 1 if self.changed else 0


def archive(store: Client, path: Path, request: pb.ExportJobsRequest, age: str, yes: bool, *, quiet: bool) -> Archived:
    """Moves the jobs that a request means to a file; if there is one, deletes the jobs that it holds.

    Raises:
        NotAllowed: nobody is there to be asked; or the file is no archive of this site.
        ValidationError: the file is damaged; nothing is deleted.
    """
    if path.exists():
        terminal.must_agree(
            f"{path} exists. Delete the jobs here that it holds?", yes, f"deleting the jobs that {path} holds"
        )
        return _remove(store, Archived(path, 0), quiet)
    expected = moving.header(store, request)
    result = Archived(path, expected["asked"], needed=expected["asked"] - expected["selected"])
    if not expected["selected"]:
        return result
    jobs = count(expected["selected"], "job")
    question = f"Move {jobs} that ended more than {age} ago to {path}, and delete them here?"
    terminal.must_agree(question, yes, f"archiving {jobs}")
    account = moving.export(store, path, request, quiet=quiet)
    return _remove(store, Archived(path, account["asked"], needed=account["asked"] - account["selected"]), quiet)


def _remove(store: Client, result: Archived, quiet: bool) -> Archived:
    answer = moving.remove_archived(store, result.file, quiet=quiet)
    result.archived, result.gone, result.changed = answer.deleted, answer.gone, answer.refused
    result.asked = result.asked or answer.deleted + answer.gone + answer.refused
    result.reasons = reasons(answer.refusals)
    return result
