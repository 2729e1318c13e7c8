"""``python -m tests.chaos.subscriber DIRECTORY``: follows the events of a campaign through every restart."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import grpc

from balsam.client import Client
from balsam.errors import BalsamError
from balsam.site import open_site
from tests.chaos.records import cut_to_whole_lines, event_line

_PAUSE_SECONDS = 0.1
_LONGEST_LINE = 10_000


def main(directory: Path) -> None:
    """Writes what it is told to ``stream.jsonl``, and resumes after the last line there. For ever."""
    path = directory / "stream.jsonl"
    cut_to_whole_lines(path)
    after = last_sequence(path)
    client = Client(open_site(directory / "site"))
    with path.open("a") as file:
        while True:
            try:
                for answer in client.events.watch((), (), after):
                    file.write("".join(map(event_line, answer.events)))
                    file.flush()
                    after = answer.sequence
            except (grpc.RpcError, BalsamError):
                pass  # the job store is away
            time.sleep(_PAUSE_SECONDS)
            client.close()


def last_sequence(path: Path) -> int:
    """The last one there is in a file of whole lines; 0: none."""
    lines = path.read_bytes()[-_LONGEST_LINE:].splitlines() if path.exists() else []
    return int(json.loads(lines[-1])[0]) if lines else 0


if __name__ == "__main__":
    main(Path(sys.argv[1]))
