"""The page on the architecture: what it names exists, and its walks through the code are those that jobs take."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from balsam.site import Site
from scripts.check_imports import PACKAGES, modules
from scripts.docs import packages, processes, walks
from scripts.docs.links import ROOT
from scripts.docs.walks import Named
from scripts.layers import LAYERS
from tests.support.processes import running_launcher, services
from tests.support.sites import jobs, wait_for_states, wait_until

TRACER = """
import os, sys, threading, time

def trace(frame, event, _):
    code = frame.f_code
    if event == "call" and code.co_filename.startswith(ROOT) and "<" not in code.co_name:
        # One short write, so that threads do not cut into each other's lines.
        name = f"{code.co_filename[len(ROOT):]} {code.co_qualname}"
        os.write(file, f"{time.monotonic_ns()} {name}\\n".encode())

file = os.open(f"{DIRECTORY}/{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
threading.setprofile(trace)
sys.setprofile(trace)
"""
PROGRAM = """
from balsam import ApplicationDefinition, BalsamJob
from balsam.launcher.futures import FutureTask

ApplicationDefinition(name="nap", executable="sleep 0.5").save()
job = BalsamJob(name="one", workflow="walk", application="nap")
job.save()
assert FutureTask(job, lambda ended: ended.state).result(timeout=60) == "JOB_FINISHED"
ApplicationDefinition(name="long", executable="sleep 300").save()
BalsamJob(name="two", workflow="walk", application="long").save()
"""

COMMAND = Named("main", "cli/balsam_cli/main.py")
LEASE_OVER = Named("Store.lease_over", "services/jobstore/balsam_jobstore/store.py")

PASSING = {
    "services/jobstore/balsam_jobstore/examine.py",
    "services/jobstore/balsam_jobstore/moving/__main__.py",
    "services/scheduler/balsam_scheduler/fsspec_copy.py",
}
"""Programs that do something and end."""


def test_what_is_named_exists() -> None:
    found = walks.named(walks.PAGE.read_text())
    gone = [str(one) for one in found if one.name not in walks.definitions(one.path)]
    assert gone == []
    assert len(found) > 100


@pytest.mark.parametrize("picture", [packages, processes])
def test_the_pictures_that_are_checked_in_are_current(picture: ModuleType) -> None:
    assert picture.PICTURE.read_text() == picture.svg(), f"it is stale: python -m {picture.__name__}"


def test_every_layer_and_every_import_between_packages_is_drawn() -> None:
    drawn = packages.svg()
    assert all(f">{layer.name}</text>" in drawn for layers in LAYERS.values() for layer in layers)
    assert ("balsam_cli", "balsam_launcher") in packages.edges()
    assert all(f"<title>{one} imports {other}</title>" in drawn for one, other in packages.edges())


def test_an_import_that_the_picture_has_no_arrow_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "edges", lambda: {("balsam_web", "balsam_launcher")})
    with pytest.raises(ValueError, match="balsam_web imports balsam_launcher: the picture has no arrow"):
        packages.svg()


def test_what_the_picture_of_the_processes_shows_is_there() -> None:
    opened = [way.opened_by for way in processes.WAYS]
    assert [str(one) for one in opened if one.name not in walks.definitions(one.path)] == []
    modules = [process.module for process in processes.PROCESSES if process.module]
    assert [module for module in modules if not (ROOT / module).is_file()] == []


def test_every_program_that_stays_is_drawn() -> None:
    files = [file for package in PACKAGES for file in modules(package).values()]
    programs = {str(file.relative_to(ROOT)) for file in files if '\nif __name__ == "__main__":' in file.read_text()}
    assert programs - PASSING == programs & {process.module for process in processes.PROCESSES}


def test_what_stands_in_brackets_is_no_step() -> None:
    text = (
        "\n## A way\n\n1. [`a`](../x/y.py): first ([`b`](../x/y.py)),\n   [`C.d`](../x/z.py).\n\nThen [`e`](../x/y.py)"
    )
    assert walks.steps(text, "A way") == [[Named("a", "x/y.py"), Named("C.d", "x/z.py")]]
    assert [one.name for one in walks.named(text)] == ["a", "b", "C.d", "e"]
    with pytest.raises(ValueError, match="no section 'Away'"):
        walks.steps(text, "Away")


def test_the_walks_are_those_of_a_real_job_and_a_real_kill(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = tmp_path / "traces"
    _trace_what_is_started(tmp_path, traces, monkeypatch)
    monkeypatch.setenv("BALSAM_DB_PATH", str(site.path))
    with services(site), running_launcher(site, "--persistent", "--job-mode", "serial"):
        subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=90)
        wait_for_states(site, {"one": "JOB_FINISHED", "two": "RUNNING"})
        job_id = next(job.job_id for job in jobs(site) if job.name == "two")
        subprocess.run([sys.executable, "-m", "balsam_cli", "kill", job_id], check=True, timeout=60)
        wait_until(lambda: _calls(traces).count(LEASE_OVER) == 2, what="the end of the second lease", site=site)
    called, page = _calls(traces), walks.PAGE.read_text()
    assert _missing(called, walks.steps(page, "A job, from save() to its future")) == ""
    kill = len(called) - 1 - called[::-1].index(COMMAND)
    assert _missing(called[kill:], walks.steps(page, "A kill, from the command to the process")) == ""


@pytest.mark.parametrize(
    ("called", "said"),
    [
        ("abcd", ""),
        ("aabxcad", ""),
        ("abd", "step 2: c in x.py is not called, or not after b in x.py"),
        ("bacd", "step 1: b in x.py is not called, or not after a in x.py"),
        ("", "step 1: a in x.py is not called, or not after the start"),
    ],
)
def test_a_walk_that_is_not_so_is_found(called: str, said: str) -> None:
    steps = [[Named("a", "x.py"), Named("b", "x.py")], [Named("c", "x.py")], [Named("d", "x.py")]]
    assert _missing([Named(name, "x.py") for name in called], steps) == said


def _trace_what_is_started(tmp_path: Path, traces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python that is started from now on writes down which functions of ours it calls."""
    traces.mkdir()
    hook = tmp_path / "hook"
    hook.mkdir()
    known = f"ROOT = {str(ROOT) + os.sep!r}\nDIRECTORY = {str(traces)!r}\n"
    (hook / "sitecustomize.py").write_text(known + TRACER)
    monkeypatch.setenv("PYTHONPATH", str(hook))


def _calls(traces: Path) -> list[Named]:
    """What all of them have called, in order."""
    lines = [line.split() for file in traces.iterdir() for line in file.read_text().splitlines()]
    return [Named(name, path) for _, path, name in sorted(lines, key=lambda words: int(words[0]))]


def _missing(called: Sequence[Named], steps: Sequence[Sequence[Named]]) -> str:
    """The first that is not called after the one before it; empty: all are."""
    position, before = 0, "the start"
    for number, step in enumerate(steps, 1):
        for one in step:
            if one not in called[position:]:
                return f"step {number}: {one} is not called, or not after {before}"
            position, before = called.index(one, position) + 1, str(one)
    return ""
