"""The points and their variable: every point is in the sources, and whoever mistypes one is told so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from balsam import failpoints
from balsam.errors import SiteError
from balsam.failpoints import ACTIONS, ENV_DIRECTORY, ENV_POINTS, KINDS, POINTS, parse
from balsam.rpc import Connection
from balsam.site import Site
from balsam.v1.job_service_pb2_grpc import JobServiceStub
from scripts.check_imports import PACKAGES, ROOT

_HIT = re.compile(r'failpoints\.hit\(\s*"([^"]+)"')
_PLAIN = re.compile(r"failpoints\.hit\(")


def sources() -> list[str]:
    return [
        file.read_text()
        for package, directory in PACKAGES.items()
        for file in (ROOT / directory / package).rglob("*.py")
        if file.name != "failpoints.py"
    ]


def test_every_point_is_hit_at_one_place_in_the_sources_and_no_other_is() -> None:
    found = Counter(name for source in sources() for name in _HIT.findall(source))
    assert found == dict.fromkeys(POINTS, 1)
    assert found.total() == sum(len(_PLAIN.findall(source)) for source in sources())


def test_every_point_says_what_is_happening_there_and_takes_actions_that_exist() -> None:
    for name, point in POINTS.items():
        assert re.fullmatch(r"[a-z]+\.[a-z-]+", name)
        assert point.text
        assert {"kill", "pause"} <= set(point.actions) <= set(ACTIONS)


def test_without_the_variable_a_point_is_an_empty_function() -> None:
    for kind in KINDS:
        failpoints.arm(kind, {})
    assert failpoints.hit.__code__.co_code == (lambda name, failure: None).__code__.co_code
    failpoints.hit("no such point")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobstore.comit=kill", "there is no point 'jobstore.comit'; there are jobstore.after-migrate, "),
        ("jobstore.before-commit", "jobstore.before-commit takes raise, enospc, kill, pause, and not ''"),
        ("jobstore.before-commit=explode", "takes raise, enospc, kill, pause, and not 'explode'"),
        ("jobstore.after-commit=raise", "takes done-but-error, kill, pause, and not 'raise'"),
        ("jobstore.after-commit=kill; jobstore.after-commit=kill", "jobstore.after-commit is there twice"),
        ("jobstore.after-commit=pause", "a pause takes seconds (pause:6), and not ''"),
        ("jobstore.after-commit=pause:-1", "a pause takes seconds (pause:6), and not '-1'"),
        ("jobstore.after-commit=pause:nan", "a pause takes seconds (pause:6), and not 'nan'"),
        ("jobstore.after-commit=kill:9", "kill takes no value, and not '9'"),
        ("agent.before-spawn=raise:EWHAT", "there is no error 'EWHAT'; write raise, or raise:EAGAIN"),
        ("jobstore.after-commit=kill,hit=0", "'hit=0' is none of hit=N (from 1), in=KIND (jobstore, "),
        ("jobstore.after-commit=kill,in=kitchen", "'in=kitchen' is none of hit=N"),
        ("jobstore.after-commit=kill,twice", "'twice' is none of hit=N"),
        ("jobstore.after-commit=kill,once", "'once' needs BALSAM_FAILPOINT_DIR, a directory that exists, and not ''"),
    ],
)
def test_a_mistake_in_the_variable_is_refused_with_the_item_and_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(SiteError) as refusal:
        parse(text)
    assert said in str(refusal.value)
    assert f"BALSAM_FAILPOINTS: {text.rpartition('; ')[2]!r}: " in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_several_points_are_armed_by_one_variable(tmp_path: Path) -> None:
    armed = parse(
        "agent.after-reap = kill, hit=3 ; worker.before-close=raise,in=launcher,once;"
        "client.before-answer=pause:0.5;jobstore.in-group=enospc;",
        str(tmp_path),
    )
    assert {
        name: (point.action, point.nth, point.kind, point.once, point.seconds) for name, point in armed.items()
    } == {
        "agent.after-reap": ("kill", 3, "", False, 0.0),
        "worker.before-close": ("raise", 0, "launcher", True, 0.0),
        "client.before-answer": ("pause", 0, "", False, 0.5),
        "jobstore.in-group": ("enospc", 0, "", False, 0.0),
    }


@pytest.mark.parametrize("module", ["balsam_jobstore", "balsam_scheduler", "balsam_launcher"])
def test_a_service_with_a_mistake_in_the_variable_ends_with_one_line(site: Site, module: str) -> None:
    environ = os.environ | {ENV_POINTS: "jobstore.comit=kill"}
    command = [sys.executable, "-m", module, "--site", str(site.path)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "BALSAM_FAILPOINTS: 'jobstore.comit=kill': there is no point 'jobstore.comit'" in done.stderr


def test_the_library_refuses_a_mistake_in_the_variable_at_its_first_call(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENV_POINTS, "jobstore.comit=kill")
    with pytest.raises(SiteError, match=r"there is no point 'jobstore\.comit'"):
        Connection(site).stub(JobServiceStub)


def hits(
    setting: str, program: str, *, kind: str = "jobstore", directory: str = ""
) -> subprocess.CompletedProcess[str]:
    """A process of a kind with points armed; `hit` is in its names."""
    lines = f"import os, time\nfrom balsam import failpoints\nfailpoints.arm({kind!r})\nhit = failpoints.hit\n{program}"
    environ = os.environ | {ENV_POINTS: setting, ENV_DIRECTORY: directory}
    return subprocess.run([sys.executable, "-c", lines], env=environ, capture_output=True, text=True, check=False)


TRY = """
for number in range(1, 5):
    try:
        hit("jobstore.in-group")
    except OSError as error:
        print(number, error.errno, error.strerror)
"""


def test_a_step_fails_with_the_error_that_was_asked_for() -> None:
    assert hits("jobstore.in-group=raise:EAGAIN,hit=1", TRY).stdout == "1 11 Resource temporarily unavailable\n"
    assert hits("jobstore.in-group=enospc,hit=3", TRY).stdout == "3 28 No space left on device\n"
    assert [line[:3] for line in hits("jobstore.in-group=raise", TRY).stdout.splitlines()] == [
        "1 5", "2 5", "3 5", "4 5",
    ]  # fmt: skip


def test_a_step_fails_as_whoever_does_it_would_see_it() -> None:
    done = hits(
        "jobstore.after-commit=done-but-error",
        "try:\n    hit('jobstore.after-commit', lambda error: KeyError(error.errno))\n"
        "except KeyError as error:\n    print(error)",
    )
    assert done.stdout == "5\n"
    assert re.fullmatch(r"failpoint jobstore\.after-commit: done-but-error \(pid \d+\)\n", done.stderr)


def test_a_point_fails_in_processes_of_its_kind_only() -> None:
    assert hits("jobstore.in-group=raise,in=jobstore", TRY).stdout
    assert not hits("jobstore.in-group=raise,in=scheduler", TRY).stdout


def test_the_library_in_a_service_leaves_what_is_armed_as_it_is() -> None:
    assert hits(
        "jobstore.in-group=raise,in=jobstore", "failpoints.arm('client')\nfrom balsam.failpoints import hit" + TRY
    ).stdout


def test_a_point_fails_once_for_all_processes_that_share_a_directory(tmp_path: Path) -> None:
    first, second = (hits("jobstore.in-group=raise,once", TRY, directory=str(tmp_path)) for _ in range(2))
    assert first.stdout.startswith("1 5")
    assert first.stdout.count("\n") == 1
    assert not second.stdout
    assert [file.name for file in tmp_path.iterdir()] == ["jobstore.in-group"]


def test_a_killed_process_does_nothing_more() -> None:
    done = hits("jobstore.in-group=kill,hit=2", "hit('jobstore.in-group')\nprint(1, flush=True)" + TRY + "print(2)")
    assert (done.returncode, done.stdout) == (-9, "1\n")


def test_a_paused_process_stops_with_all_its_threads_and_goes_on_without_help() -> None:
    program = """
import threading
longest, over = 0.0, threading.Event()
def tick():
    global longest
    last = time.monotonic()
    while not over.wait(0.01):
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    longest = max(longest, time.monotonic() - last)
thread = threading.Thread(target=tick)
thread.start()
began = time.monotonic()
hit("jobstore.in-group")
lasted = time.monotonic() - began
over.set()
thread.join()
print(lasted >= 1.5 and longest > 1.3, lasted, longest)
"""
    done = hits("jobstore.in-group=pause:1.5", program)
    assert done.stdout.startswith("True"), done
