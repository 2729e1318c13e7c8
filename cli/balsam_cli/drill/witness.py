"""What each run of a drill says of itself, in a file that only runs write: the evidence that no service has a hand in.

A run holds a lock on the file while it runs, so that two at the same time show without any clock.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

NAME = "witness"
PROGRAM = """\
import fcntl, os, time
file = os.open("witness", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
says = " ".join((os.environ["BALSAM_ATTEMPT"], str(os.getpid()))) + "\\n"
try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    os.write(file, b"overlap " + says.encode())
    fcntl.flock(file, fcntl.LOCK_EX)
os.write(file, b"begin " + says.encode())
time.sleep(0.05)  # so that a kill finds some at work
os.write(file, b"end " + says.encode())
"""


def command(directory: Path) -> str:
    """The command line of a job, once `PROGRAM` lies in a directory."""
    return shlex.join([sys.executable, "-I", "-S", str(directory / "witness.py")])


@dataclass(frozen=True)
class Witness:
    """What the runs of one job have said: the attempts that began, that ended, and that met another one at work."""

    begun: tuple[int, ...] = ()
    ended: tuple[int, ...] = ()
    overlapping: tuple[int, ...] = ()


def parse(text: str) -> Witness:
    """The words of a witness file; a line that was cut off by a kill is none."""
    said: dict[str, list[int]] = {"begin": [], "end": [], "overlap": []}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[0] in said and words[1].isdecimal():
            said[words[0]].append(int(words[1]))
    return Witness(tuple(said["begin"]), tuple(said["end"]), tuple(said["overlap"]))


def read(workdir: Path) -> Witness:
    """That of the job with this working directory; one that never ran has said nothing."""
    try:
        return parse((workdir / NAME).read_text(errors="replace"))
    except OSError:
        return Witness()
