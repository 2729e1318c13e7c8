"""Every seeded bug still applies, and the trials of bugs tell what they should."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants.__main__ import main
from tests.mutants.bugs import BUGS, LONGER, QUICK
from tests.mutants.detectors import DETECTORS, Detector
from tests.mutants.seeds import ROOT, Bug, Edit, by_name
from tests.mutants.trial import Trials, Unusable, copy_of, first_finding, run
from tests.support.agents import wait_gone


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Sources of one module."""
    (tmp_path / "client").mkdir()
    (tmp_path / "client/pages.py").write_text("def pages(rows):\n    return rows // 10 + 1\n")
    return tmp_path


@pytest.mark.parametrize("seeded", BUGS, ids=lambda seeded: seeded.name)
def test_it_applies_to_the_sources_as_they_are(seeded: Bug, tmp_path: Path) -> None:
    for edit in seeded.edits:
        copy = tmp_path / edit.file
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text((ROOT / edit.file).read_text())
    seeded.apply(tmp_path)
    for edit in seeded.edits:
        text = (tmp_path / edit.file).read_text()
        ast.parse(text)
        assert text != (ROOT / edit.file).read_text()


def test_names_are_unique_and_detectors_exist() -> None:
    assert len({seeded.name for seeded in BUGS}) == len(BUGS) >= 25
    assert {name for seeded in BUGS for name in seeded.detectors} <= DETECTORS.keys()
    assert [seeded.name for seeded in by_name(BUGS, QUICK + LONGER)] == [*QUICK, *LONGER]


@pytest.mark.parametrize("text", ["rows", "no such text"])
def test_a_text_that_does_not_occur_once_is_an_error(sources: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"client/pages.py holds this [02] times, not once"):
        Edit("client/pages.py", text, "nothing").apply(sources)


def test_a_name_that_is_no_bug_is_refused_with_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "no-such-bug"]) == 2
    assert "--only: there is no bug 'no-such-bug'; there are: no-fence, " in capsys.readouterr().err


def test_the_copy_is_what_is_tried() -> None:
    with copy_of(ROOT) as directory:
        where = "import balsam_launcher.agent as m, sys; print(m.__file__); sys.exit(1)"
        status, output = run(Detector("where", (DETECTORS["walks"].command[0], "-c", where)), directory)
        assert status == 1
        assert output.startswith(str(directory))


def test_what_hangs_has_found_something() -> None:
    with copy_of(ROOT) as directory:
        sleep = Detector("sleep", (DETECTORS["walks"].command[0], "-c", "import time; time.sleep(1000)"), (), 0.5)
        status, output = run(sleep, directory)
    assert status == 1
    assert first_finding(output) == "hangs: no end after 0.5 s"


def test_nothing_that_a_detector_has_started_outlives_it() -> None:
    python = DETECTORS["walks"].command[0]
    start = (
        "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'], "
        "start_new_session=True).pid)"
    )
    with copy_of(ROOT) as directory:
        status, output = run(Detector("starts", (python, "-c", start)), directory)
    assert status == 0
    wait_gone(int(output))


def test_a_detector_that_always_finds_something_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    python = DETECTORS["walks"].command[0]
    monkeypatch.setitem(DETECTORS, "walks", Detector("walks", (python, "-c", "raise SystemExit(1)")))
    seeded = Bug("any", "nothing", (), ("walks",))
    with pytest.raises(Unusable, match="walks finds something without any bug"):
        Trials().try_bug(seeded)


def test_what_nobody_looks_for_is_found_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DETECTORS, "walks", Detector("walks", (DETECTORS["walks"].command[0], "-c", "")))
    assert Trials().try_bug(Bug("any", "nothing", (), ("walks",))) is None


def test_the_first_failure_is_how_it_was_found() -> None:
    output = "...F\nFAILED tests/x/test_y.py::test_a_job[1] - AssertionError: no\nFAILED tests/x/test_y.py::test_b\n"
    assert first_finding(output) == "test_a_job[1]"


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LONGER)])
def test_a_seeded_bug_is_found(name: str) -> None:
    (seeded,) = by_name(BUGS, [name])
    assert Trials().try_bug(seeded) is not None
