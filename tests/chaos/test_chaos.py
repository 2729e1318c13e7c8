"""Campaigns under faults: nothing is lost, nothing runs twice, and all of it ends.

Of 120 jobs under 6 faults in every run of the tests, of 1,000 under 20 on each database with the slow ones.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from balsam.errors import SiteError
from balsam_jobstore.postgres_programs import find_programs
from tests.chaos.supervisor import ROOT
from tests.support.components import missing

POSTGRES, SLOW = pytest.mark.postgres, pytest.mark.slow


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("database", "seed", "jobs", "faults"),
    [
        ("sqlite", 1, 120, 6),
        pytest.param("sqlite", 1, 1000, 20, marks=SLOW),
        pytest.param("postgres", 3, 1000, 20, marks=[POSTGRES, SLOW]),
    ],
)
def test_a_campaign_under_faults_loses_nothing_and_runs_nothing_twice(
    tmp_path: Path, database: str, seed: int, jobs: int, faults: int
) -> None:
    if database == "postgres":
        try:
            find_programs()
        except SiteError as error:
            missing("PostgreSQL", str(error))
    report_file = tmp_path / "report.json"
    size = ["--jobs", str(jobs), "--faults", str(faults), "--max-minutes", "5"]
    command = ["--database", database, "--seed", str(seed), *size, "--report", str(report_file)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(report_file.read_text())
    assert report["jobs"] == sum(report["states"].values()) == report["checked"]["histories"] == jobs
    assert report["faults"] == faults
    assert report["checked"]["events"] == report["checked"]["events told to the subscriber"]
    assert report["findings"] == []
