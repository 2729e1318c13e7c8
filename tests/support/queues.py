"""Stand-ins for the commands of PBS, LSF, Cobalt and Flux: scripts on PATH that keep their jobs in a directory.

They take the options, print the texts and end with the codes of the real ones, as their manuals and recorded outputs
have them. Nothing starts by itself: the test moves jobs, and has their scripts run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMANDS = {
    "pbs": ("qsub", "qstat", "qselect", "qdel"),
    "lsf": ("bsub", "bjobs", "bkill"),
    "cobalt": ("qsub", "qstat", "qdel", "cqstat"),
    "flux": ("flux",),
}
_SOURCE = Path(__file__).with_name("queue_commands.py")


class StandIn:
    """A batch system. `bin` is to be first on PATH."""

    def __init__(self, directory: Path, kind: str) -> None:
        self.kind = kind
        self.bin = directory / "bin"
        self._jobs = directory / "jobs"
        self._calls = directory / "calls"
        self._trouble = directory / "trouble"
        for path in (self.bin, self._jobs):
            path.mkdir(parents=True)
        (directory / "kind").write_text(kind)
        script = directory / "queue_commands.py"
        script.write_text(f"#!{sys.executable} -IS\n{_SOURCE.read_text()}")
        script.chmod(0o755)
        for name in COMMANDS[kind]:
            (self.bin / name).symlink_to(script)

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Id -> what is known of a job, in order of submission: name, state, script, output."""
        found = sorted(self._jobs.glob("*.json"), key=lambda path: int(path.stem))
        return {job["id"]: job for job in (json.loads(path.read_text()) for path in found)}

    def change(self, job_id: str, **values: Any) -> None:
        """Changes a job: ``state="running"``, ``state="ended"``, ``name="somebody else's"``; PBS: ``comment="..."``."""
        job = self.jobs()[job_id] | values
        (self._jobs / f"{job['number']}.json").write_text(json.dumps(job))

    def forget(self, job_id: str) -> None:
        """The batch system has never heard of a job, or has forgotten it."""
        (self._jobs / f"{self.jobs()[job_id]['number']}.json").unlink()

    def start(self, job_id: str) -> subprocess.Popen[bytes]:
        """Runs the script of a job as on a node: in another directory, with its output in its file."""
        job = self.jobs()[job_id]
        self.change(job_id, state="running")
        with open(job["output"], "ab") as output:
            return subprocess.Popen(
                ["bash", job["script"]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
                start_new_session=True,
            )

    def calls(self) -> list[str]:
        """The commands that were run, as they were typed."""
        return self._calls.read_text().splitlines() if self._calls.exists() else []

    @contextmanager
    def trouble(self, what: str, text: str = "") -> Iterator[None]:
        """``fail``: every command fails, and says `text`; ``hang``: none ends; ``lost-answer``: submissions are
        accepted, and whoever submits is told `text`; ``refuse``: submissions are refused with `text`."""
        self._trouble.write_text(f"{what}\n{text}")
        yield
        self._trouble.unlink()
