"""The example as its reader runs it, while the services are killed under it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from balsam.site import Site
from eos.metals import METALS
from eos.report import BULK_TOLERANCE, LATTICE_TOLERANCE
from tests.examples.conftest import EXAMPLE

pytestmark = [pytest.mark.mpi, pytest.mark.timeout(600)]


@contextlib.contextmanager
def campaign(site: Path, example: Path = EXAMPLE) -> Iterator[subprocess.Popen[str]]:
    """The example in a process of its own, interrupted at the end if it still runs."""
    command = [sys.executable, "-u", str(example / "run.py"), "--site", str(site)]
    with subprocess.Popen(
        command, cwd=site.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)


def balsam(site: Path, *words: str) -> str:
    command = [str(Path(sys.executable).parent / "balsam"), *words]
    done = subprocess.run(
        command, env={**os.environ, "BALSAM_DB_PATH": str(site)}, capture_output=True, text=True, check=True
    )
    return done.stdout


def read_until(process: subprocess.Popen[str], text: str, seen: list[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return
    pytest.fail(f"{text!r} never came:\n{''.join(seen)}")


def read_to_the_end(process: subprocess.Popen[str], seen: list[str]) -> int:
    assert process.stdout is not None
    seen.extend(process.stdout)
    return process.wait(timeout=60)


def processes_of(site: Path) -> list[str]:
    """Living processes that serve the site or run in it."""
    found = []
    for process in psutil.process_iter(["pid", "status", "cmdline", "cwd"]):
        words = " ".join(process.info["cmdline"] or ())
        if str(site) in words or str(process.info["cwd"] or "").startswith(str(site)):
            found.append(f"{process.info['pid']} {process.info['status']} {words}")
    return [line for line in found if psutil.STATUS_ZOMBIE not in line]


@pytest.mark.slow
def test_campaign_survives_the_death_of_its_services_and_agrees_with_the_reference(tmp_path: Path) -> None:
    site, seen = tmp_path / "site", list[str]()
    with campaign(site) as run:
        read_until(run, "scan 1:", seen)
        for service in ("jobstore", "scheduler"):
            os.kill(Site(site).read_info(service)["pid"], signal.SIGKILL)
        balsam(site, "up")
        assert read_to_the_end(run, seen) == 0, "".join(seen)
    results = json.loads((site / "results.json").read_text())
    assert [row["metal"] for row in results["metals"]] == list(METALS)
    for row in results["metals"]:
        assert abs(row["lattice_deviation"]) <= LATTICE_TOLERANCE
        assert abs(row["bulk_deviation"]) <= BULK_TOLERANCE
    assert {row["metal"]: row["scans"] for row in results["metals"]} == {m: 3 if m == "Al" else 2 for m in METALS}
    assert results["universal"]["points_of_ranks"] == [95, 94]
    assert (site / "equation_of_state.png").stat().st_size > 50_000
    # Nothing was lost, nothing was added twice.
    balsam(site, "up")
    try:
        assert json.loads(balsam(site, "ls", "--by-states", "--json")) == {"JOB_FINISHED": 120}
    finally:
        balsam(site, "down")


def test_interrupt_leaves_no_process_behind(tmp_path: Path) -> None:
    site, seen = tmp_path / "site", list[str]()
    with campaign(site) as run:
        read_until(run, "relaxed by ASE", seen)
        assert processes_of(site)
        run.send_signal(signal.SIGINT)
        assert read_to_the_end(run, seen) == 130, "".join(seen)
    assert "interrupted" in "".join(seen)
    assert processes_of(site) == []


def test_campaign_whose_jobs_fail_says_which_and_exits_with_1(tmp_path: Path) -> None:
    example, site, seen = tmp_path / "example", tmp_path / "site", list[str]()
    shutil.copytree(EXAMPLE, example)
    (example / "volume.py").write_text("import sys\nsys.exit('no energy today')\n")
    with campaign(site, example) as run:
        assert read_to_the_end(run, seen) == 1, "".join(seen)
    output = "".join(seen)
    assert "volume-Cu-0-0: FAILED: exit code 1 ... no energy today" in output
    assert "universal: FAILED: parent fit-" in output
    assert "not finished: " in output
    assert "Traceback" not in output
    assert processes_of(site) == []
