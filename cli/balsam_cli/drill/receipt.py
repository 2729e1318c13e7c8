"""The receipt of a drill: what was done, when, on what, and what was checked."""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass, field

from balsam_cli.drill.verdict import Point
from balsam_cli.output import Block, Column, Facts, Listing, Record
from balsam_cli.text import count


@dataclass
class Kill:
    """A process that the drill killed.

    Attributes:
        what: "launcher" or "job store".
        pid: its process id.
        time: when, RFC 3339 in UTC.
        finished: jobs that had finished by then.
        held: jobs that it held then; of the job store: all that were leased.
        recovery: how the site went on.
        recovery_seconds: how long that took; None: it did not.
    """

    what: str
    pid: int
    time: str
    finished: int
    held: int
    recovery: str = ""
    recovery_seconds: float | None = None


@dataclass
class Receipt:
    """What a drill did and found. Times are in seconds."""

    site: str
    workflow: str
    host: str
    version: str
    database: str
    file_systems: dict[str, str]
    lease_seconds: float
    jobs: int
    start_time: str
    seconds: float = 0.0
    finished: int = 0
    begun: int = 0
    begun_again: int = 0
    kills: list[Kill] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    kept: bool = False
    """Jobs and directories were left."""

    @property
    def passed(self) -> bool:
        """Everything was checked, and is as promised."""
        return bool(self.points) and all(point.kept for point in self.points)

    def as_record(self) -> Record:
        """As plain data for `--json`."""
        return {"passed": self.passed, **asdict(self)}

    def blocks(self) -> list[Block]:
        """How it looks to people."""
        systems = ", ".join(f"{name}/ on {kind}" for name, kind in self.file_systems.items())
        again = f"; {count(self.begun_again, 'job')} began more than once, after a kill" if self.begun_again else ""
        facts = [
            ("site", f"{self.site} on {self.host}, Balsam {self.version}"),
            ("database", f"{self.database}; {systems}"),
            ("began", f"{self.start_time}, took {self.seconds:.1f} s"),
            ("jobs", f"{self.jobs:,} in the workflow {self.workflow}; {self.finished:,} finished"),
            ("runs", f"{self.begun:,} begun by {count(self.jobs, 'job')}{again}"),
            *((f"killed {kill.what}", _kill(kill)) for kill in self.kills),
        ]
        title = "Drill passed" if self.passed else "Drill FAILED"
        return [Facts(facts, title), Listing(_COLUMNS, [asdict(point) for point in self.points])]


def _kill(kill: Kill) -> str:
    recovery = (
        f"{kill.recovery} after {kill.recovery_seconds:.1f} s" if kill.recovery_seconds is not None else "no recovery"
    )
    held = f"holding {count(kill.held, 'job')}" if kill.what == "launcher" else f"{count(kill.held, 'job')} leased"
    return f"pid {kill.pid} at {kill.time} ({kill.finished:,} finished, {held}): {recovery}"


_COLUMNS = (
    Column("CHECKED", lambda record: record["check"]),
    Column(
        "KEPT", lambda record: "yes" if record["kept"] else "NO", style=lambda r: "green" if r["kept"] else "bold red"
    ),
    Column("FOUND", lambda record: record["found"], flexible=True),
)


def now() -> str:
    """This moment, RFC 3339 in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
