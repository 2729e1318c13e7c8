"""`balsam server`: users from the command line, and what they can do with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from balsam.site import Site
from tests.cli.conftest import Balsam, Result
from tests.support import people
from tests.support.processes import running_launcher
from tests.support.sites import wait_for_states, wait_until

pytestmark = pytest.mark.usefixtures("services")


@pytest.fixture
def ann(balsam_process: Balsam, tmp_path: Path) -> Balsam:
    """Runs a command line as the member ann."""
    return as_user(balsam_process, tmp_path, "ann")


def as_user(balsam_process: Balsam, directory: Path, name: str, *options: str) -> Balsam:
    added = balsam_process("server", "--add-user", name, *options)
    file = people.token_file(directory, added.out.strip())

    def run(*argv: str) -> Result:
        return balsam_process(*argv, BALSAM_TOKEN_FILE=file)

    return run


def test_a_new_user_s_token_is_all_that_goes_to_stdout(balsam: Balsam, site: Site) -> None:
    added = balsam("server", "--add-user", "ann")
    assert added.status == 0
    assert added.out.startswith("user.")
    assert len(added.out.split()) == 1
    assert "ann is a member until 20" in added.err
    assert f"balsam login {site.path}" in added.err
    again = balsam("server", "--add-user", "ann", "--role", "viewer", "--expires", "0", "--json")
    assert "the token of before is not valid any more" in again.err
    assert (again.json["role"], again.json["expire_time"], again.json["replaced"]) == ("viewer", None, True)
    assert again.json["token"] not in (added.out.strip(), "")
    (user,) = balsam("server", "--list-users", "--json").json
    assert (user["name"], user["role"], "token" in user) == ("ann", "viewer", False)


def test_a_member_adds_lists_and_runs_jobs_and_administers_nothing(balsam: Balsam, ann: Balsam, site: Site) -> None:
    (theirs,) = balsam("job", "--name", "theirs", "--", "true").ids
    (mine,) = ann("job", "--name", "mine", "--yes", "--", "true").ids
    assert ann("ls", "--json").json[1]["owner"] == "ann"
    launcher = ann("launcher")
    assert launcher.status == 0, launcher.err
    wait_for_states(site, {"mine": "JOB_FINISHED", "theirs": "PREPROCESSED"})
    refused = ann("kill", theirs)
    assert refused.status == 1
    assert f"job theirs ({theirs[:8]}) belongs to" in refused.err
    assert "AddUser is not allowed to a member token" in ann("server", "--add-user", "bob").err
    assert ann("ls", "launches", "--json").json == []
    history = balsam("show", mine).out
    assert "user (ann)" in history
    assert "launcher (ann)" in history
    events = balsam("ls", "--history", "--id", mine, "--json").json[0]["history"]
    assert {event["actor"]: event["user"] for event in events} == {"USER": "ann", "SCHEDULER": "", "LAUNCHER": "ann"}


def test_a_viewer_looks_and_changes_nothing(balsam: Balsam, balsam_process: Balsam, tmp_path: Path) -> None:
    balsam("job", "--name", "a", "--", "true")
    vic = as_user(balsam_process, tmp_path, "vic", "--role", "viewer")
    assert [row["name"] for row in vic("ls", "--json").json] == ["a"]
    refused = vic("job", "--name", "b", "--yes", "--", "true")
    assert (refused.status, refused.out) == (1, "")
    assert "CreateJobs is not allowed to a viewer token" in refused.err
    assert vic("launcher").status == 1


def test_a_dropped_user_is_told_so(balsam: Balsam, ann: Balsam) -> None:
    ann("job", "--name", "mine", "--yes", "--", "true")
    dropped = balsam("server", "--drop-user", "ann")
    assert dropped.out == "Dropped ann: their token is not valid any more; 1 job of theirs that have not ended stay.\n"
    refused = ann("ls")
    assert (refused.status, len(refused.err.splitlines())) == (1, 1)
    assert "the token was revoked" in refused.err
    assert balsam("server", "--drop-user", "ann").status == 1
    (user,) = balsam("server", "--list-users", "--json").json
    assert user["drop_time"]
    assert "ann" in balsam("server", "--list-users").out


def test_connections_and_the_audit_trail_are_shown(balsam: Balsam, ann: Balsam) -> None:
    connections = balsam("server", "--list-connections", "--json").json
    assert "scheduler" in {one["through"] for one in connections}
    assert "SessionService/Work" in balsam("server", "--list-connections").out
    (job_id,) = ann("job", "--name", "mine", "--yes", "--", "true").ids
    ann("modify", "jobs", job_id, "--attr", "priority", "--value", "3")
    entries = balsam("server", "--audit", "--limit", "2", "--json").json
    assert [(entry["user"], entry["action"], entry["objects"]) for entry in entries] == [
        ("ann", "CREATED", [job_id]),
        ("ann", "UpdateJobs", [job_id]),
    ]
    table = balsam("server", "--audit").out
    assert "AddUser" in table
    assert job_id[:8] in table


def test_what_is_long_in_the_audit_trail_is_one_line_for_people_and_whole_as_json(balsam: Balsam) -> None:
    assert balsam("app", "--name", "long", "--executable", f"/bin/echo {'word ' * 80}").status == 0
    (entry,) = balsam("server", "--audit", "--limit", "1", "--json").json
    shown = balsam("server", "--audit").out.splitlines()[-1]
    assert len(entry["detail"]) > 400
    assert len(shown) < 250
    assert shown.endswith(" ...")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "give one of --listen"),
        (["--list-users", "--audit"], "give one of --listen"),
        (["--list-users", "--role", "viewer"], "--role and --expires go with --add-user"),
        (["--list-users", "--limit", "3"], "--limit goes with --audit"),
        (["--add-user", "a", "--role", "owner"], "Invalid value for '--role'"),
    ],
)
def test_wrong_usage_is_named(balsam: Balsam, argv: list[str], message: str) -> None:
    refused = balsam("server", *argv)
    assert refused.status == 2
    assert message in refused.err


def test_what_makes_no_user_is_named(balsam: Balsam) -> None:
    assert "name = 'a b': must be of letters" in balsam("server", "--add-user", "a b").err
    assert "--expires -1: must be a number of days" in balsam("server", "--add-user", "a", "--expires", "-1").err
    assert "--expires nan" in balsam("server", "--add-user", "a", "--expires", "nan").err


def test_a_job_that_the_launchers_at_work_do_not_take_is_told_so(balsam: Balsam, ann: Balsam, site: Site) -> None:
    with running_launcher(site, "--persistent"):
        wait_until(lambda: balsam("server", "--list-connections").out.count("launcher"), what="a launcher", site=site)
        added = ann("job", "--name", "mine", "--yes", "--", "true")
        assert "the launcher at work takes the jobs of" in added.err
        assert "and not those of ann" in added.err
        (job_id,) = added.ids
        answers = [run("why", job_id, "--json").json for run in (balsam, ann)]
    assert [answer["condition"] for answer in answers] == ["other-users"] * 2
    assert [answer["fix"] for answer in answers] == ["", "balsam launcher"]
    assert "ann starts a launcher" in answers[0]["advice"]
