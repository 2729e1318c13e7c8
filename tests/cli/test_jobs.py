"""Adding, changing, killing and deleting jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from balsam.site import Site
from tests.cli.conftest import Balsam
from tests.support.shared import module_services as module_services
from tests.support.shared import services as services
from tests.support.shared import site as site
from tests.support.sites import states, wait_for_states

pytestmark = pytest.mark.usefixtures("services")

CAMPAIGN = """
[[app]]
name = "sim"
executable = "/bin/echo"

[[job]]
name = "fit"
application = "sim"
parents = ["scan"]

[[job]]
name = "scan"
workflow = "w"
application = "sim"
"""


@pytest.fixture
def greet(balsam: Balsam) -> str:
    """An application."""
    assert balsam("app", "--name", "greet", "--executable", "/bin/echo Hello").status == 0
    return "greet"


def test_the_seeds_example(balsam: Balsam) -> None:
    result = balsam("job", "--name", "hello", "--workflow", "Test", "--args", "world!", "--ranks-per-node", "2")
    (job_id,) = result.ids
    shown = balsam("show", job_id, "--json").json
    assert {name: shown[name] for name in ("name", "workflow", "args", "ranks_per_node", "application")} == {
        "name": "hello",
        "workflow": "Test",
        "args": "world!",
        "ranks_per_node": 2,
        "application": "",
    }
    assert "no launcher is at work" in result.err


def test_a_job_of_an_application_shows_its_command(balsam: Balsam, greet: str) -> None:
    (job_id,) = balsam("job", "--name", "a", "--app", greet, "--args", "you", "--env", "A=1", "--data", '{"x": 1}').ids
    shown = balsam("show", job_id, "--json").json
    assert (shown["command"], shown["environ_vars"], shown["data"]) == ("/bin/echo Hello you", {"A": "1"}, {"x": 1})
    assert shown["history"][0]["state"] == "CREATED"
    text = balsam("show", job_id[:10]).out
    assert "/bin/echo Hello you" in text
    assert "CREATED" in text


def test_on_the_command_line_input_files_are_all_unless_told_otherwise(balsam: Balsam, greet: str) -> None:
    first, second = (balsam("job", "--app", greet, *more).ids[0] for more in ((), ("--input-files", "*.dat")))
    assert balsam("show", first, "--json").json["input_files"] == "*"
    assert balsam("show", second, "--json").json["input_files"] == "*.dat"


def test_a_command_of_its_own_keeps_its_words(balsam: Balsam) -> None:
    (job_id,) = balsam("job", "--name", "c", "--", "sh", "-c", "echo 'a  b'").ids
    assert balsam("show", job_id, "--json").json["args"] == """sh -c 'echo '"'"'a  b'"'"''"""
    refused = balsam("job", "--args", "x", "--", "ls")
    assert (refused.status, refused.out) == (1, "")


def test_an_array_makes_one_job_for_each_index(balsam: Balsam, greet: str) -> None:
    ids = balsam("job", "--name", "scan-{i}", "--app", greet, "--args", "--seed={i}", "--array", "0-2", "--json").json
    rows = balsam("ls", "--json").json
    assert [row["job_id"] for row in rows] == ids
    assert [(row["name"], row["args"]) for row in rows] == [(f"scan-{i}", f"--seed={i}") for i in range(3)]


def test_a_refused_job_is_one_line_and_nothing_is_written(balsam: Balsam) -> None:
    one = "6a2f41a3-c54c-4ce8-92ab-7ddc2a4de5ee"
    for argv, message in {
        ("--app", "nope"): "'nope'",
        ("--name", "a/b"): "name = 'a/b'",
        ("--parents", "00000000"): "no job has an id that starts with '00000000'",
        ("--parents", "xyz"): "'xyz' is not a job id",
        ("--array", "5-1"): "runs backwards",
        ("--name", "{i}", "--array", "1", "--job-id", one): "names one job",
    }.items():
        result = balsam("job", *argv)
        assert (result.status, result.out) == (1, "")
        assert message in result.err
        assert len(result.err.splitlines()) == 1
    assert balsam("ls", "--json").json == []


def test_the_same_id_twice_is_one_job(balsam: Balsam, greet: str) -> None:
    one = "6a2f41a3-c54c-4ce8-92ab-7ddc2a4de5ee"
    for _ in range(2):
        assert balsam("job", "--app", greet, "--job-id", one).ids == [one]
    assert len(balsam("ls", "--json").json) == 1


def test_a_file_of_jobs_is_added_with_its_applications(balsam: Balsam, tmp_path: Path) -> None:
    file = tmp_path / "campaign.toml"
    file.write_text(CAMPAIGN)
    fit, scan = balsam("job", "--file", str(file)).ids
    shown = balsam("show", fit, "--json").json
    assert (shown["name"], shown["parents"]) == ("fit", [scan])
    assert balsam("show", scan, "--json").json["children"] == [fit]
    assert [app["name"] for app in balsam("ls", "apps", "--json").json] == ["sim"]
    again = balsam("job", "--file", str(file))
    assert again.status == 0


def test_a_file_is_added_as_a_whole_or_not_at_all(balsam: Balsam, tmp_path: Path) -> None:
    file = tmp_path / "campaign.toml"
    file.write_text(CAMPAIGN + '[[job]]\nname = "bad"\napplication = "missing"\n')
    result = balsam("job", "--file", str(file))
    assert (result.status, result.out) == (1, "")
    assert "missing" in result.err
    assert balsam("ls", "--json").json == []
    assert balsam("ls", "apps", "--json").json == []


def test_a_file_stands_alone(balsam: Balsam, tmp_path: Path) -> None:
    assert balsam("job", "--file", "f.toml", "--name", "x").status == 2
    missing = balsam("job", "--file", str(tmp_path / "f.toml"))
    assert (missing.status, missing.err) == (1, f"balsam: No such file or directory: {tmp_path / 'f.toml'}\n")


def test_applications_are_registered_once_and_changed_on_request(balsam: Balsam, greet: str) -> None:
    taken = balsam("app", "--name", greet, "--executable", "/bin/true")
    assert taken.status == 1
    assert "greet" in taken.err
    assert balsam("app", "--name", greet, "--update", "--description", "says hello").status == 0
    (app,) = balsam("ls", "apps", "--json").json
    assert (app["executable"], app["description"]) == ("/bin/echo Hello", "says hello")
    assert balsam("modify", "apps", greet, "--attr", "executable", "--value", "/bin/echo Hi").status == 0
    assert balsam("ls", "apps", "--json").json[0]["executable"] == "/bin/echo Hi"
    assert balsam("app", "--name", "other", "--update", "--description", "x").status == 1
    assert balsam("app", "--name", "other").status == 1


def test_relative_paths_of_an_application_are_made_absolute(
    balsam: Balsam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sim.sh").touch()
    argv = ("--executable", "./sim.sh --fast", "--preprocess", "./missing.sh", "--postprocess", "python3 x.py")
    app = balsam("app", "--name", "sim", *argv, "--json").json
    assert app["executable"] == f"{tmp_path}/sim.sh --fast"
    assert (app["preprocess"], app["postprocess"]) == ("./missing.sh", "python3 x.py")


def test_dependencies_are_added_and_cycles_refused_with_their_path(balsam: Balsam, greet: str) -> None:
    a, b = (balsam("job", "--name", name, "--app", greet).ids[0] for name in "ab")
    assert balsam("dep", a[:12], b[:12]).status == 0
    assert balsam("show", b, "--json").json["parents"] == [a]
    refused = balsam("dep", b, a)
    assert refused.status == 1
    assert "cycle" in refused.err
    assert balsam("dep", a, b).status == 1


def test_mkchild_needs_a_current_job_and_waits_for_it(
    balsam: Balsam, greet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = balsam("mkchild", "--app", greet)
    assert (outside.status, outside.out) == (1, "")
    assert "BALSAM_JOB_ID is not set" in outside.err
    parent, other = (balsam("job", "--app", greet).ids[0] for _ in range(2))
    monkeypatch.setenv("BALSAM_JOB_ID", parent)
    (child,) = balsam("mkchild", "--name", "child", "--app", greet, "--parents", other[:12]).ids
    assert sorted(balsam("show", child, "--json").json["parents"]) == sorted([parent, other])


def test_a_field_is_changed(balsam: Balsam, greet: str) -> None:
    ids = [balsam("job", "--app", greet).ids[0] for _ in range(2)]
    assert balsam("modify", "jobs", *ids, "--attr", "priority", "--value", "-3").out == "changed 2 jobs\n"
    assert balsam("modify", "jobs", ids[0], "--attr", "data", "--value", '{"x": 1}').status == 0
    rows = balsam("ls", "--json").json
    assert [(row["priority"], row["data"]) for row in rows] == [(-3, {"x": 1}), (-3, {})]


def test_a_change_that_cannot_be_is_refused_with_the_reason(balsam: Balsam, greet: str) -> None:
    (job_id,) = balsam("job", "--app", greet).ids
    for attr, value, message in (
        ("prioriti", "1", "did you mean 'priority'"),
        ("exit_code", "1", "exit_code cannot be changed: it is read-only"),
        ("num_nodes", "none", "num_nodes = 'none': must be a whole number"),
        ("state", "finishd", "did you mean 'JOB_FINISHED'? (states: CREATED, "),
        ("state", "RUNNING", "cannot go from"),
    ):
        result = balsam("modify", "jobs", job_id, "--attr", attr, "--value", value)
        assert result.status == 1
        assert message in result.err


def test_a_state_is_set(balsam: Balsam, site: Site) -> None:
    (job_id,) = balsam("job", "--name", "a", "--", "true").ids
    wait_for_states(site, {"a": "PREPROCESSED"})
    argv = ("--attr", "state", "--value", "job_finished", "--message", "by hand")
    assert balsam("modify", "jobs", job_id, *argv, "--json").json["done"] == 1
    last = balsam("show", job_id, "--json").json["history"][-1]
    assert (last["state"], last["actor"], last["message"]) == ("JOB_FINISHED", "USER", "by hand")


def test_kill_reports_what_had_ended_and_asks_for_a_subtree_only(balsam: Balsam, site: Site) -> None:
    a = balsam("job", "--name", "a", "--", "true").ids[0]
    b = balsam("job", "--name", "b", "--parents", a, "--", "true").ids[0]
    balsam("job", "--name", "c", "--parents", b, "--", "true")
    assert balsam("kill", b).out == "killed 1 job\n"
    wait_for_states(site, {"b": "USER_KILLED", "c": "FAILED"})
    assert balsam("kill", b).out == "killed 0 of 1 job; 1 had ended already\n"
    refused = balsam("kill", a, "--recursive")
    assert (refused.status, refused.out) == (1, "")
    assert "add --yes" in refused.err
    result = balsam("kill", a, "--recursive", "--force", "--json").json
    assert (result["done"], result["already_ended"]) == (1, 2)
    assert states(site) == {"a": "USER_KILLED", "b": "USER_KILLED", "c": "FAILED"}


def test_rm_says_how_many_and_refuses_where_it_cannot_ask(balsam: Balsam, greet: str) -> None:
    for name in ("wf1", "wf10"):
        balsam("job", "--name", name, "--wf", name, "--app", greet)
    refused = balsam("rm", "jobs", "--all")
    assert (refused.status, refused.out) == (1, "")
    assert "deleting 2 jobs" in refused.err
    assert balsam("rm", "jobs", "--all", "--wf", "wf1", "--yes").out == "deleted 1 job\n"
    assert [row["workflow"] for row in balsam("ls", "--json").json] == ["wf10"]
    nothing = balsam("rm", "jobs", "--name", "f1", "--yes")
    assert nothing.status == 1
    assert "name '*f1*' would match 1" in nothing.err


def test_rm_leaves_directories_unless_told_otherwise(balsam: Balsam, site: Site, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    made = {}
    for name, more in (("keep", ()), ("drop", ()), ("own", ("--user-workdir", str(own)))):
        (job_id,) = balsam("job", "--name", name, "--wf", f"deep/{name}", *more, "--", "true").ids
        made[name] = Path(balsam("show", job_id, "--json").json["working_directory"])
        made[name].mkdir(parents=True, exist_ok=True)
        (made[name] / "file").touch()
    assert balsam("rm", "jobs", "--name", "keep", "--force").status == 0
    for name in ("drop", "own"):
        result = balsam("rm", "jobs", "--name", name, "--force", "--workdirs", "--json").json
        assert (result["done"], result["directories"]) == (1, int(name == "drop"))
    assert made["keep"].exists()
    assert (own / "file").exists()
    assert not made["drop"].parent.exists()
    assert site.data.exists()


def test_an_application_in_use_stays(balsam: Balsam, greet: str) -> None:
    balsam("app", "--name", "free", "--executable", "/bin/true")
    (job_id,) = balsam("job", "--app", greet).ids
    result = balsam("rm", "apps", "--all", "--yes")
    assert (result.status, result.out) == (1, "deleted 1 of 2 applications, skipped 1\n")
    assert "greet" in result.err
    balsam("kill", job_id)
    assert balsam("rm", "apps", "--name", greet, "--yes").status == 0


def test_dummies_do_nothing_many_times(balsam: Balsam) -> None:
    assert len(balsam("make-dummies", "30").ids) == 30
    assert balsam("ls", "wf", "--json").json[0]["jobs"] == 30
