"""What `ls` and `show` print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from balsam.client import connect
from balsam.fields import JOB_FIELDS, LAUNCH_FIELDS
from balsam.site import Site
from tests.cli.conftest import Balsam
from tests.support.shared import module_services as module_services
from tests.support.shared import services as services
from tests.support.shared import site as site

pytestmark = pytest.mark.usefixtures("services")


def add(balsam: Balsam, name: str, *more: str) -> str:
    return balsam("job", "--name", name, *more, "--", "true").ids[0]


def names(balsam: Balsam, *argv: str) -> list[str]:
    return [row["name"] for row in balsam("ls", *argv, "--json").json]


def test_an_empty_site_lists_nothing(balsam: Balsam) -> None:
    for argv in (["jobs"], ["apps"], ["wf"], ["launches"]):
        assert balsam("ls", *argv, "--json").json == []
        assert (balsam("ls", *argv).status, balsam("ls", *argv).out) == (0, "")
    assert balsam("ls", "--by-states", "--json").json == {}


def test_json_holds_every_field_and_times_in_utc(balsam: Balsam) -> None:
    add(balsam, "a", "--data", '{"text": "ünï\\u0001"}')
    (row,) = balsam("ls", "--json").json
    assert list(row) == list(JOB_FIELDS)
    assert row["data"] == {"text": "ünï\x01"}
    assert row["create_time"].endswith("Z")


def test_names_and_workflows_are_exact_or_globs(balsam: Balsam) -> None:
    for name in ("wf1", "wf10", "other"):
        add(balsam, name, "--wf", name)
    assert names(balsam, "--name", "wf1") == ["wf1"]
    assert names(balsam, "--wf", "wf1") == ["wf1"]
    assert names(balsam, "--wf", "wf*") == ["wf1", "wf10"]
    assert names(balsam, "--name", "wf1?") == ["wf10"]
    nothing = balsam("ls", "--name", "wf")
    assert (nothing.status, nothing.out, nothing.err) == (0, "", "no job matches; name '*wf*' would match 2\n")


def test_ids_may_be_shortened_to_any_unique_prefix(balsam: Balsam) -> None:
    a = "aaaaaaaa-0000-4000-8000-000000000001"
    b = "aaaaaaaa-0000-4000-8000-000000000002"
    for job_id in (a, b):
        add(balsam, "j", "--job-id", job_id)
    assert balsam("show", a, "--json").json["job_id"] == a
    assert balsam("show", a.upper(), "--json").json["job_id"] == a
    ambiguous = balsam("show", "aaaa")
    assert ambiguous.status == 1
    assert f"'aaaa' could be {a} (j), {b} (j); give more digits" in ambiguous.err
    assert names(balsam, "--id", a, b) == ["j", "j"]
    assert balsam("ls", "--id", "bbbb").status == 1


def test_states_select_and_are_counted(balsam: Balsam) -> None:
    kept, killed = add(balsam, "kept"), add(balsam, "killed")
    balsam("kill", killed)
    assert names(balsam, "--state", "user_killed") == ["killed"]
    counts = balsam("ls", "--by-states", "--json").json
    assert counts["USER_KILLED"] == 1
    assert sum(counts.values()) == 2
    assert "USER_KILLED" in balsam("ls", "--by-states").out
    misspelt = "balsam: state 'FNISHED' does not exist; did you mean 'JOB_FINISHED'? (states: CREATED, "
    assert balsam("ls", "--state", "FNISHED").err.startswith(misspelt)
    assert balsam("ls", "--state", "LOST").err.startswith("balsam: state 'LOST' does not exist (states: CREATED, ")
    assert names(balsam, "--state", "USER_KILLED", "--id", kept) == []


def test_tables_are_cut_and_say_so_and_json_is_not(balsam: Balsam) -> None:
    balsam("make-dummies", "103")
    table = balsam("ls")
    assert len(table.out.splitlines()) == 101
    assert table.err == "... 3 more; show them with --limit N, or --json\n"
    assert len(balsam("ls", "--json").json) == 103
    assert len(balsam("ls", "--limit", "2").out.splitlines()) == 3
    assert len(balsam("ls", "--limit", "2", "--json").json) == 2
    assert len(balsam("ls", "--limit", "103").out.splitlines()) == 104
    assert balsam("ls", "--limit", "0", "--json").json == []
    assert balsam("ls", "--limit", str(10**20)).status == 2


def test_columns_can_be_added(balsam: Balsam, monkeypatch: pytest.MonkeyPatch) -> None:
    add(balsam, "a", "--ranks-per-node", "3")
    assert balsam("ls").out.splitlines()[0].split() == ["ID", "NAME", "WORKFLOW", "APPLICATION", "STATE", "AGE"]
    assert "NODES" in balsam("ls", "--verbose").out
    monkeypatch.setenv("BALSAM_LS_FIELDS", "ranks_per_node:owner")
    header, row = balsam("ls").out.splitlines()
    assert header.split()[-2:] == ["RANKS_PER_NODE", "OWNER"]
    assert row.split()[-2] == "3"
    monkeypatch.setenv("BALSAM_LS_FIELDS", "rank")
    assert "'rank' is not a field of a job (fields: job_id" in balsam("ls").err


def test_a_tree_shows_what_waits_for_what(balsam: Balsam) -> None:
    a = add(balsam, "a")
    b = add(balsam, "b", "--parents", a)
    add(balsam, "c", "--parents", a, b)
    lines = balsam("ls", "--tree").out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["JOB", "a", "├─ b", "└─ c (+1 parent)"]
    assert [len(row["parents"]) for row in balsam("ls", "--tree", "--json").json] == [0, 1, 2]


def test_histories_are_listed(balsam: Balsam) -> None:
    add(balsam, "a")
    (row,) = balsam("ls", "--history", "--json").json
    first = row["history"][0]
    assert (first["state"], first["actor"], first["message"]) == ("CREATED", "USER", "")
    text = balsam("ls", "--history").out
    assert row["job_id"] in text
    assert "CREATED" in text


def test_workflows_are_listed_with_their_states(balsam: Balsam) -> None:
    for workflow in ("w1", "w1", "w2/deep"):
        add(balsam, "a", "--wf", workflow)
    rows = balsam("ls", "wf", "--json").json
    assert [(row["workflow"], row["jobs"]) for row in rows] == [("w1", 2), ("w2/deep", 1)]
    assert sum(rows[0]["states"].values()) == 2
    assert "w2/deep" in balsam("ls", "wf").out


def test_applications_are_listed(balsam: Balsam) -> None:
    for name in ("b", "a"):
        balsam("app", "--name", name, "--executable", "/bin/true")
    assert names(balsam, "apps") == ["a", "b"]
    assert names(balsam, "apps", "--name", "a*") == ["a"]
    assert balsam("ls", "apps").out.splitlines()[0].startswith("NAME")


def test_many_applications_are_cut_like_other_tables_and_a_misspelled_name_says_so(balsam: Balsam, site: Site) -> None:
    applications = connect(site.path).ApplicationDefinition.objects
    for number in range(102):
        applications.create(name=f"sim-{number:03}", executable="true")
    table = balsam("ls", "apps")
    assert (len(table.out.splitlines()), table.err) == (101, "... 2 more; show them with --limit N, or --json\n")
    assert len(balsam("ls", "apps", "--json").json) == 102
    assert balsam("ls", "apps", "--name", "sim-1").err == "no application matches; name '*sim-1*' would match 2\n"


def test_workflows_are_chosen_by_name(balsam: Balsam) -> None:
    for workflow in ("w1", "w10", "other"):
        add(balsam, "w1", "--wf", workflow)

    def chosen(*argv: str) -> list[str]:
        return [row["workflow"] for row in balsam("ls", "wf", *argv, "--json").json]

    assert chosen("--name", "w1") == ["w1"]
    assert chosen("--name", "w*") == ["w1", "w10"]
    assert chosen("--wf", "w1?") == ["w10"]
    assert balsam("ls", "wf", "--name", "w").err == "no job matches; workflow '*w*' would match 2\n"


def test_a_misspelled_workflow_is_noticed_where_nothing_is_found(balsam: Balsam, tmp_path: Path) -> None:
    add(balsam, "a", "--wf", "scan1")
    said = "no job matches; workflow '*scan*' would match 1\n"
    assert balsam("failures", "--wf", "scan").err == said
    assert balsam("failures", "--wf", "scan1").err == ""
    assert balsam("export", "--wf", "scan", str(tmp_path / "a.jsonl")).err == f"note: {said}"
    old = balsam("archive", "--older-than", "1d", "--wf", "scan", str(tmp_path / "b.jsonl"))
    assert (old.status, old.err) == (0, f"note: {said}")


def test_one_field_is_printed_alone(balsam: Balsam) -> None:
    job = add(balsam, "a", "--env", "A=1", "--description", "two", "words")
    assert balsam("show", job, "--field", "description").out == "two words\n"
    assert balsam("show", job, "--field", "num-nodes").out == "1\n"
    assert balsam("show", job, "--field", "environ_vars", "--json").json == {"A": "1"}
    wrong = balsam("show", job, "--field", "colour")
    assert (wrong.status, wrong.out) == (1, "")
    assert "'colour' is not a field of a job (fields: job_id" in wrong.err


def test_a_live_view_needs_a_terminal(balsam: Balsam) -> None:
    result = balsam("ls", "--watch")
    assert (result.status, result.out) == (1, "")
    assert "--watch draws on a terminal" in result.err


def test_text_from_jobs_cannot_steer_the_terminal(balsam: Balsam) -> None:
    (job_id,) = balsam("job", "--description", "a\x1b[2Jb\nc", "--", "true").ids
    assert "\x1b" not in balsam("show", job_id).out
    assert json.loads(balsam("show", job_id, "--json").out)["description"] == "a\x1b[2Jb\nc"


def test_launches_are_listed_and_jobs_bound_to_them(balsam: Balsam, site: Site) -> None:
    launches = connect(site.path).QueuedLaunch.objects
    first, second = launches.create(queue="debug", nodes=4), launches.create(state="RUNNING", prescheduled_only=True)
    rows = balsam("ls", "launches", "--json").json
    assert [list(row) for row in rows] == [list(LAUNCH_FIELDS)] * 2
    assert [row["launch_id"] for row in balsam("ls", "launches", "--state", "running", "--json").json] == [second.pk]
    table = balsam("ls", "launches").out.splitlines()
    assert table[1].split()[:5] == [str(first.pk), "PENDING_SUBMISSION", "debug", "4", "60"]
    assert "bound, of all" in table[2]
    wrong = balsam("ls", "launches", "--state", "gone")
    assert (wrong.status, wrong.err.count("\n")) == (1, 1)
    assert "must be one of PENDING_SUBMISSION" in wrong.err
    job_id = add(balsam, "a", "--queued-launch", str(first.pk))
    assert balsam("show", job_id, "--json").json["queued_launch"] == first.pk
    assert balsam("modify", "jobs", job_id, "--attr", "queued_launch", "--value", "").status == 0
    assert balsam("show", job_id, "--json").json["queued_launch"] is None
    refused = balsam("job", "--name", "b", "--queued-launch", "999", "--", "true")
    assert (refused.status, "queued_launch = 999: there is no such launch" in refused.err) == (1, True)


@pytest.mark.parametrize("argv", ["ls", "ls --by-states", "status", "job --yes -- true"])
def test_a_command_loads_nothing_that_it_does_not_need(argv: str, site: Site) -> None:
    """Each of these costs a person who waits 5 to 40 ms."""
    heavy = {"sqlalchemy", "psutil", "platformdirs", "tomllib", "difflib", "secrets"}
    code = (
        "import sys; from balsam_cli.main import main; status = main(sys.argv[1:]);"
        f"print(*({heavy} & set(sys.modules)), file=sys.stderr); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, *argv.split()]
    environ = os.environ | {"BALSAM_DB_PATH": str(site.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    loaded = [word for line in done.stderr.splitlines() for word in line.split() if word in heavy]
    assert loaded == []
