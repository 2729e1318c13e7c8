"""What the README tells people to type is there, and works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.check_imports import ROOT
from scripts.docs.hooks import GENERATED
from scripts.docs.links import targets

README = (ROOT / "README.md").read_text()
PAGES = README + (ROOT / "docs" / "development.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def test_every_make_command_is_a_target() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", PAGES))
    assert {"demo", "test"} <= named <= targets


def test_ci_runs_what_people_are_told_to_run() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    (line,) = re.findall(r"^exec make .*$", ci, re.MULTILINE)
    assert {"check", "test", "test-all", "demo"} <= set(line.split())


def test_every_link_leads_somewhere() -> None:
    """Some pages are made from the code when the site is built."""
    for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]:
        name = page.relative_to(ROOT).as_posix()
        if "node_modules" in page.parts:
            continue
        for path in targets(page.read_text(), name):
            assert (ROOT / path).exists() or path.removeprefix("docs/") in GENERATED, f"{name}: {path}"


@pytest.mark.mpi
def test_the_commands_of_the_readme_do_what_it_says(short_directory: Path) -> None:
    script = ["set -euo pipefail", "trap 'balsam down >&2' EXIT"]
    for language, code in re.findall(r"^```(bash|python)\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        script.append(code if language == "bash" else f"python - <<'END'\n{code}END\n")
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        env=os.environ | {"HOME": str(short_directory), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        cwd=short_directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 jobs have an n of 5 or more" in done.stdout
    assert len(re.findall(r"^hello world!$", done.stdout, re.MULTILINE)) == 2
    assert done.stdout.count("JOB_FINISHED") >= 12
    assert "Traceback" not in done.stderr
