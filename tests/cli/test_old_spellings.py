"""What people typed for Balsam 0.x is understood, and the new spelling is named where it helps."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.client import connect
from balsam.site import Site
from scripts.check_imports import ROOT
from tests.cli.conftest import Balsam, Result
from tests.support.sites import states

running = pytest.mark.usefixtures("services")


def add(balsam: Balsam, name: str, *more: str) -> str:
    return balsam("job", "--name", name, *more, "--", "true").ids[0]


@running
def test_killjob(balsam: Balsam, site: Site) -> None:
    one, other = add(balsam, "one"), add(balsam, "other")
    done = balsam("killjob", "--id", one[:8])
    assert (done.status, done.out, done.err) == (0, "killed 1 job\n", "note: `balsam killjob` is `balsam kill` now\n")
    assert balsam("killjob", other).status == 0
    assert states(site) == {"one": "USER_KILLED", "other": "USER_KILLED"}
    assert balsam("killjob").status == 2


@running
def test_modify_by_position(balsam: Balsam) -> None:
    one = add(balsam, "one")
    done = balsam("modify", one[:8], "priority", "-3")
    assert (done.status, done.out) == (0, "changed 1 job\n")
    assert done.err == "note: `modify ID ATTR VALUE` is `modify jobs ID --attr ATTR --value VALUE` now\n"
    assert balsam("show", one, "--field", "priority").out == "-3\n"
    assert balsam("modify", "jobs", one, "args", "true now").status == 0
    assert balsam("show", one, "--field", "args").out == "true now\n"
    balsam("app", "--name", "greet", "--executable", "echo")
    assert balsam("modify", "--type", "apps", "greet", "description", "says hello").status == 0
    (app,) = balsam("ls", "apps", "--json").json
    assert app["description"] == "says hello"


def test_modify_says_what_is_missing(balsam: Balsam) -> None:
    for words, message in {
        "3fa8 priority": "say what '3fa8' is",
        "jobs --attr priority --value 1": "missing ID",
        "jobs 3fa8 --attr priority": "missing --value",
        "jobs 3fa8 --value 1": "missing --attr",
    }.items():
        done = balsam("modify", *words.split())
        assert (done.status, done.err.count("\n")) == (2, 1)
        assert message in done.err


@running
def test_make_dummies_with_an_underscore(balsam: Balsam, site: Site) -> None:
    assert len(balsam("make_dummies", "2").ids) == 2
    assert len(states(site)) == 2


@running
def test_ls_queues(balsam: Balsam, site: Site) -> None:
    launch = connect(site.path).QueuedLaunch.objects.create(queue="debug", nodes=4)
    done = balsam("ls", "queues")
    assert done.out.splitlines()[1].split()[:3] == [str(launch.pk), "PENDING_SUBMISSION", "debug"]
    assert done.err == "note: `balsam ls queues` is `balsam ls launches` now\n"
    assert [row["launch_id"] for row in balsam("ls", "queues", "--json").json] == [launch.pk]


@running
def test_rm_by_wf_filter(balsam: Balsam, site: Site) -> None:
    for name in ("wf1", "wf10", "other"):
        add(balsam, name, "--wf", name)
    assert balsam("rm", "jobs", "--wf-filter", "wf1", "--force").out == "deleted 1 job\n"
    assert balsam("rm", "jobs", "--wf-filter", "wf*", "--force").out == "deleted 1 job\n"
    assert states(site).keys() == {"other"}
    assert balsam("rm", "jobs", "--wf-filter", "other").status == 1  # nobody can be asked
    assert balsam("rm", "jobs").status == 2


@running
def test_ls_limit_from_the_environment(balsam: Balsam, monkeypatch: pytest.MonkeyPatch) -> None:
    balsam("make-dummies", "4")
    monkeypatch.setenv("BALSAM_LS_LIMIT", "3")
    table = balsam("ls")
    assert (len(table.out.splitlines()), table.err) == (4, "... 1 more; show them with --limit N, or --json\n")
    assert len(balsam("ls", "--limit", "2").out.splitlines()) == 3
    assert len(balsam("ls", "--json").json) == 4
    monkeypatch.setenv("BALSAM_LS_LIMIT", "many")
    assert balsam("ls").err == "balsam: BALSAM_LS_LIMIT = 'many': must be a whole number of rows\n"


@running
def test_options_of_job(balsam: Balsam) -> None:
    words = "--post_handle_error --post_handle_timeout --disable_auto_timeout_retry --wall-minutes 7 --url-in /a --yes"
    one = add(balsam, "old", *words.split(), "--description", "of", "three", "words")
    job = balsam("show", one, "--json").json
    names = ("post_error_handler", "post_timeout_handler", "auto_timeout_retry", "wall_time_minutes", "stage_in_url")
    assert [job[name] for name in names] == [True, True, False, 7, "/a"]
    assert job["description"] == "of three words"


@running
def test_options_of_app(balsam: Balsam) -> None:
    done = balsam("app", "--name", "sim", "--exec", "echo", "--desc", "says", "hello", "--json")
    assert (done.json["executable"], done.json["description"]) == ("echo", "says hello")


@running
def test_launcher_with_transition_threads(balsam_process: Balsam) -> None:
    done = balsam_process("launcher", "--consume-all", "--job-mode=serial", "--num-transition-threads=2")
    assert done.status == 0
    assert "note: --num-transition-threads has no effect: the scheduler does that work (`balsam up`)\n" in done.err
    assert "num-transition-threads" not in balsam_process("launcher", "--help").out


def test_submit_launch_with_time_minutes(balsam: Balsam) -> None:
    done = balsam("submit-launch", "-n", "1", "--time-minutes", "5", "-q", "debug", "-A", "p", "--dry-run", "--json")
    assert done.status == 0


@pytest.fixture
def _down_afterwards(balsam_process: Balsam) -> Iterator[None]:
    yield
    balsam_process("down")


@pytest.mark.usefixtures("_down_afterwards")
def test_server_connect_and_reset(balsam_process: Balsam) -> None:
    def pids() -> list[int]:
        return [service["pid"] for service in balsam_process("status", "--json").json["services"]]

    done = balsam_process("server", "--connect")
    assert done.status == 0
    assert done.err == "note: this is `balsam up` now\n"
    before = pids()
    assert balsam_process("server", "--connect").out.startswith("already up")
    reset = balsam_process("server", "--reset")
    assert (reset.status, reset.err) == (0, "note: this is `balsam down` and `balsam up` now\n")
    assert not set(before) & set(pids())
    assert balsam_process("server", "--connect", "--list-users").status == 2


# Scripts for the shell


def shell(site: Site, text: str, *words: str) -> Result:
    """What bash says to lines, with the commands of this environment and the scripts of `cli/shell`."""
    path = os.pathsep.join([str(ROOT / "cli" / "shell"), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euc", text, "bash", *words],
        env=os.environ | {"PATH": path},
        cwd=site.path.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.usefixtures("_down_afterwards")
def test_the_shell_is_pointed_at_a_site_and_back(site: Site) -> None:
    text = 'source balsamactivate "$1"; echo "$BALSAM_DB_PATH"; balsam status > status; source balsamdeactivate'
    done = shell(site, text + '; echo "${BALSAM_DB_PATH-none}"', str(site.path))
    assert (done.status, done.out) == (0, f"{site.path}\nnone\n"), done.err
    assert "job store started" in done.err


def test_a_prompt_is_put_back(site: Site) -> None:
    # Services need not start for that.
    nothing_else = 'command() { if [ "$2" = activate ]; then builtin command "$@"; fi; }'
    text = 'PS1="> "; source balsamactivate "$1"; echo "$PS1"; source balsamdeactivate; echo "$PS1"'
    done = shell(site, f"{nothing_else}; {text}", str(site.path))
    assert (done.status, done.out.splitlines()) == (0, [f"[{site.name}] > ", "> "]), done.err


def test_a_site_that_is_none_leaves_the_shell_as_it_was(site: Site) -> None:
    done = shell(site, 'source balsamactivate nowhere || echo "${BALSAM_DB_PATH-none}"')
    assert (done.status, done.out) == (0, "none\n")
    assert "no site 'nowhere'" in done.err
    assert "usage: source balsamactivate SITE" in shell(site, "source balsamactivate || true").err


@running
def test_bcd_goes_to_the_directory_of_a_job(balsam: Balsam, site: Site) -> None:
    one = add(balsam, "one")
    directory = Path(balsam("show", one, "--field", "working_directory").out.strip())
    text = f'export BALSAM_DB_PATH="{site.path}"; source bcd "$1"; pwd'
    early = shell(site, text, one[:8])
    assert early.status != 0
    assert "the directory is made when the job is staged in, or starts" in early.err
    directory.mkdir(parents=True)
    done = shell(site, text, one[:8])
    assert (done.status, done.out) == (0, f"{directory}\n"), done.err
    assert "'zzzz' is not a job id" in shell(site, text, "zzzz").err
