"""Campaigns of a thousand jobs under twenty faults: nothing is lost, nothing runs twice, and all of it ends."""

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


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("database", "seed"), [("sqlite", 1), pytest.param("postgres", 3, marks=pytest.mark.postgres)])
def test_a_campaign_under_faults_loses_nothing_and_runs_nothing_twice(tmp_path: Path, database: str, seed: int) -> None:
    if database == "postgres":
        try:
            find_programs()
        except SiteError as error:
            missing("PostgreSQL", str(error))
    report_file = tmp_path / "report.json"
    size = ["--jobs", "1000", "--faults", "20", "--max-minutes", "5"]
    command = ["--database", database, "--seed", str(seed), *size, "--report", str(report_file)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(report_file.read_text())
    assert report["jobs"] == sum(report["states"].values()) == report["checked"]["histories"] == 1000
    assert report["faults"] == 20
    assert report["checked"]["events"] == report["checked"]["events told to the subscriber"]
    assert report["findings"] == []
