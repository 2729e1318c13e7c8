"""`batch_system = "local"`: a launch is known by a variable of its process, which cannot be read amid an `exec`."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

from balsam_scheduler.batch.answers import Known, Ticket
from balsam_scheduler.batch.calls import run
from balsam_scheduler.batch.systems.local import ENV_NAME, Local

NAME = "balsam-1-0f3a9c1e"


def test_a_process_that_becomes_another_program_again_and_again_is_never_taken_for_gone(tmp_path: Path) -> None:
    script = tmp_path / "loop.sh"
    script.write_text('if [ "$1" -gt 0 ]; then exec bash "$0" $(($1 - 1)); fi; exec sleep 60')
    process = subprocess.Popen(["bash", script, "300"], env=os.environ | {ENV_NAME: NAME})
    ticket = Ticket(NAME, f"{process.pid}@{socket.gethostname()}")
    try:
        while b"sleep" not in Path(f"/proc/{process.pid}/cmdline").read_bytes():
            assert Local().look([ticket], run)[ticket] == Known(ticket.job_id, "RUNNING")
    finally:
        process.kill()
        process.wait()
    assert Local().look([ticket], run)[ticket] == Known(ticket.job_id, "ENDED", "its process is not there any more")
