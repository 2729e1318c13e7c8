"""`balsam service` as a process of a test, and what it leaves in the site."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from balsam.client import Client
from balsam.processes import process_table, send
from balsam.query import AllOf
from balsam.site import Site
from tests.support.sites import states, wait_until

POLICY = """
max_launches = {max_launches}
gather_seconds = 0.2
interval_seconds = 0.5
breaker_minutes = {breaker_minutes}
lost_minutes = {lost_minutes}
[[queue]]
max_launches = 10
[[queue.band]]
max_nodes = {max_nodes}
min_minutes = 5
max_minutes = {max_minutes}
"""


def kill_what_is_left(site: Site) -> None:
    """Kills the launchers and runs of a site."""
    table = process_table()
    mark = f"BALSAM_DB_PATH={site.path}".encode()
    send([pid for pid in table.by_pid if pid != os.getpid() and _has(pid, mark)], signal.SIGKILL)


def _has(pid: int, variable: bytes) -> bool:
    with contextlib.suppress(OSError):
        return variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False


def allow(site: Site, **values: Any) -> None:
    """Writes the policy: by default 2 launches of one node, of which each has time for 15 jobs of a minute."""
    usual = {"max_launches": 2, "max_nodes": 1, "max_minutes": 16, "breaker_minutes": 10, "lost_minutes": 5}
    (site.path / "policy.toml").write_text(POLICY.format(**usual | values))


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "balsam_cli", "service", *options]


def service(site: Site, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs the command until it ends by itself."""
    environ = os.environ | {"BALSAM_DB_PATH": str(site.path)}
    return subprocess.run(command(*options), env=environ, capture_output=True, text=True, timeout=60, check=False)


def dry_run(site: Site) -> dict[str, Any]:
    """What a round would do."""
    done = service(site, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    plan: dict[str, Any] = json.loads(done.stdout)
    return plan


@contextlib.contextmanager
def running(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """The service, beside the test; what it says is in log/service.console."""
    environ = os.environ | {"BALSAM_DB_PATH": str(site.path)}
    with (site.log / "service.console").open("ab") as console:
        process = subprocess.Popen(command(), env=environ, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def said(site: Site) -> str:
    """What the running service has said."""
    return (site.log / "service.console").read_text()


def launches(client: Client) -> list[dict[str, Any]]:
    """All launches, oldest first."""
    return [values for page in client.launches.pages(AllOf(())) for values in page]


def launch_states(client: Client) -> list[str]:
    return [values.get("state", "PENDING_SUBMISSION") for values in launches(client)]


def wait_until_all_finished(site: Site, timeout: float = 60.0) -> None:
    wait_until(lambda: set(states(site).values()) == {"JOB_FINISHED"}, timeout, "all jobs finish", site=site)
