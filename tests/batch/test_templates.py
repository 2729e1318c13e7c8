"""Job templates: what is shipped renders, users change their copies, and mistakes are named with their line."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from balsam.errors import SiteError, ValidationError
from balsam.site import Site
from balsam_scheduler.batch import naming, records, templates
from balsam_scheduler.batch.records import LaunchRecord
from balsam_scheduler.batch.submitting import LaunchRequest, check, describe, rehearse
from balsam_scheduler.batch.systems import SYSTEMS
from tests.support.sites import make_test_site

MADE = datetime(2026, 11, 30, tzinfo=UTC)


def launch(**values: Any) -> LaunchRecord:
    return records.of_values({"launch_id": 7, "create_time": MADE, "nodes": 4, "wall_minutes": 90} | values)


def rendered(site: Site, system: str, **values: Any) -> str:
    return describe(site, launch(**values), SYSTEMS[system]).text


@pytest.mark.parametrize(
    ("system", "lines"),
    [
        ("slurm", ["#SBATCH --nodes=4", "#SBATCH --time=90", "#SBATCH --partition=debug", "#SBATCH --account=climate"]),
        ("slurm", ["#SBATCH --no-kill", "#SBATCH --no-requeue", "#SBATCH --signal=B:USR1@60", "#SBATCH --exclusive"]),
        ("pbs", ["#PBS -l select=4", "#PBS -l walltime=01:30:00", "#PBS -q debug", "#PBS -A climate", "#PBS -r n"]),
        ("lsf", ["#BSUB -n 4", "#BSUB -W 01:30", "#BSUB -q debug", "#BSUB -P climate"]),
        ("cobalt", []),
        ("flux", ["#flux: --nodes=4", "#flux: --time-limit=90m", "#flux: --queue=debug", "#flux: --bank=climate"]),
        ("local", []),
    ],
)
def test_a_shipped_template_says_what_is_wanted(tmp_path: Path, system: str, lines: list[str]) -> None:
    site = make_test_site(tmp_path, stop_margin_seconds=60.0)
    text = rendered(site, system, queue="debug", project="climate", job_mode="serial", wf_filter="scan *")
    assert [line for line in lines if line not in text.splitlines()] == []
    assert text.startswith("#!/bin/bash\n")
    assert f"export BALSAM_DB_PATH={site.path} BALSAM_LAUNCH_ID=7\n" in text
    last = text.splitlines()[-1]
    assert last.startswith(f"exec {sys.executable} -P -m balsam_cli launcher --job-mode=serial '--wf-filter=scan *'")
    assert "{" not in text


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_shipped_script_is_valid_for_the_shell_and_leaves_out_what_is_not_said(site: Site, system: str) -> None:
    text = rendered(site, system)
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0
    for option in ("--partition", "--account", "-q ", "-A ", "-P ", "--queue", "--bank", "--signal"):
        assert f" {option}" not in text.partition("export")[0]
    assert "launcher --job-mode=auto --consume-all" in text


def test_a_path_with_blanks_and_quotes_is_one_word(tmp_path: Path) -> None:
    site = make_test_site(tmp_path / "it's a site")
    script = rendered(site, "slurm").rpartition("exec")[0] + 'printf "%s|" "$PWD" "$BALSAM_DB_PATH" "$BALSAM_LAUNCH_ID"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"{site.path}|{site.path}|7|"


def test_the_sockets_of_a_site_with_a_long_path_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    long, short = make_test_site(tmp_path / ("d" * 100)), Site(Path("/s"))
    assert "\nexport XDG_RUNTIME_DIR=/run/user/7\n" in rendered(long, "pbs")
    assert list(templates._exports(short, launch())) == ["export BALSAM_DB_PATH=/s BALSAM_LAUNCH_ID=7"]


def test_a_short_launch_is_not_warned_at_once(tmp_path: Path) -> None:
    site = make_test_site(tmp_path, stop_margin_seconds=60.0)
    assert "--signal" not in rendered(site, "slurm", wall_minutes=2)
    assert rendered(site, "pbs", wall_minutes=2).endswith("--time-limit-minutes=1\n")
    assert rendered(site, "pbs", wall_minutes=1).endswith("--time-limit-minutes=0.5\n")
    assert rendered(site, "pbs", wall_minutes=90).endswith("--time-limit-minutes=89\n")


def test_users_change_their_copies(site: Site) -> None:
    templates.copy_to(site)
    assert sorted(path.stem for path in site.templates.iterdir()) == sorted(SYSTEMS)
    own = site.templates / "slurm.sh"
    own.write_text("of the site: {{ name }} {{ output }}")
    templates.copy_to(site)
    name = naming.job_name(launch(), 200)
    assert rendered(site, "slurm") == f"of the site: {name} {site.qsubmit / name}.out"
    own.unlink()
    assert rendered(site, "slurm").startswith("#!/bin/bash")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("#!/bin/bash\n\n{{ node }}\n", "line 3: 'node' is undefined; did you mean 'nodes'?"),
        ("#!/bin/bash\n{% if queue %}\n", "line 2: Unexpected end of template"),
        ("{{ scheduler_id }}", "line 1: 'scheduler_id' is undefined"),
        ("{{ nodes / 0 }}", "line 1: division by zero"),
        ("{{ queue | shout }}", "line 1: No filter named 'shout'"),
        ("a\n{{ launch.nodes }}", "line 2: 'launch' is undefined; did you mean 'launcher'?"),
    ],
)
def test_a_template_that_does_not_render_is_named_with_its_line(site: Site, text: str, why: str) -> None:
    site.templates.mkdir()
    own = site.templates / "slurm.sh"
    own.write_text(text)
    with pytest.raises(SiteError) as caught:
        rendered(site, "slurm")
    assert str(caught.value).startswith(f"the job template does not render: {own}, {why}")
    assert "\n" not in str(caught.value)


def test_a_template_that_is_no_text(site: Site) -> None:
    site.templates.mkdir()
    (site.templates / "slurm.sh").write_bytes(b"\xff")
    with pytest.raises(SiteError, match=r"slurm\.sh is not valid UTF-8"):
        rendered(site, "slurm")


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"nodes": 0}, "nodes = 0: must be at least 1"),
        ({"wall_minutes": 0}, "wall_minutes = 0"),
        ({"queue": "a\n#SBATCH --wrap=x"}, "queue = "),
        ({"project": "two words"}, "project = 'two words': must hold no blanks"),
        ({"job_mode": "both"}, "job_mode = 'both'"),
        ({"sched_flags": "--comment='"}, "does not split into words"),
    ],
)
def test_wrong_values_are_refused_before_anything_is_done(values: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        check(LaunchRequest(**{"nodes": 1, "wall_minutes": 1} | values))


def test_a_rehearsal_asks_nobody(tmp_path: Path) -> None:
    site = make_test_site(tmp_path, batch_system="slurm")
    submission, words = rehearse(site, LaunchRequest(2, 30, sched_flags="--qos high"))
    assert words[:4] == ("sbatch", "--parsable", "--qos", "high")
    assert "BALSAM_LAUNCH_ID=0" in submission.text
    assert list(site.qsubmit.iterdir()) == []


def test_names_are_short_enough_and_no_two_launches_share_one() -> None:
    one, same, other = launch(), launch(), launch(create_time=MADE.replace(microsecond=1))
    assert naming.job_name(one, 200) == naming.job_name(same, 200) == f"balsam-7-{one.tag}"
    assert naming.job_name(one, 200) != naming.job_name(other, 200)
    assert naming.job_name(one, 15) == f"b7-{one.tag}"
    assert len(naming.job_name(launch(launch_id=99999), 15)) == 15
