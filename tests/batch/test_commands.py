"""`balsam submit-launch`, `ls launches`, `cancel`, and what is said when jobs are added."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.client import Client
from balsam.fields import LAUNCH_FIELDS
from balsam.site import Site
from balsam_scheduler.batch.systems import SYSTEMS
from tests.cli.conftest import Balsam
from tests.support.processes import services
from tests.support.queues import StandIn

LSF = pytest.mark.parametrize("stand_in", ["lsf"], indirect=True)


@pytest.fixture(name="_job_store")
def _running(site: Site, stand_in: StandIn) -> Iterator[None]:
    with services(site, "jobstore"):
        yield


@LSF
@pytest.mark.usefixtures("_job_store")
def test_a_launch_is_submitted_listed_and_cancelled(stand_in: StandIn, balsam: Balsam) -> None:
    words = "submit-launch -n 2 -t 30 -q debug -A climate --job-mode mpi --wf-filter scan --sched-flags=-U=x"
    done = balsam(*words.split())
    (job_id,) = stand_in.jobs()
    assert (done.status, done.out) == (0, f"launch 1 (lsf job {job_id}) is QUEUED\n")
    host = socket.gethostname()
    line, other = done.err.splitlines()
    assert line.startswith(f"note: the services of this site listen on a Unix socket of {host} only: ")
    assert f"`balsam server --listen {host}:7443`" in line
    assert other == "note: no job matches; workflow '*scan*' would match 0"
    assert stand_in.calls()[0].startswith("bsub -U=x -J balsam-1-")
    stand_in.change(job_id, state="running")
    (row,) = balsam("ls", "launches", "--json").json
    assert list(row) == list(LAUNCH_FIELDS)
    assert (row["state"], row["queue"], row["project"], row["job_mode"]) == ("RUNNING", "debug", "climate", "mpi")
    with stand_in.trouble("fail", "LSF is down. Please wait ..."):
        table = balsam("ls", "launches").out.splitlines()
    assert table[0].split()[-1] == "MESSAGE"
    assert "UNKNOWN" in table[1]
    assert table[1].endswith("LSF is down. Please wait ...")
    done = balsam("cancel", "1")
    assert (done.status, done.out, done.err) == (0, "cancelled 1 launch\n", "")
    assert stand_in.jobs()[job_id]["state"] == "ended"
    done = balsam("cancel", "1", "99")
    assert (done.status, done.out) == (1, "cancelled 0 of 2 launches, skipped 2\n")
    assert done.err.splitlines() == [
        "balsam: launch 1 is over: it is CANCELLED",
        "balsam: launch 99 does not exist; `balsam ls launches` shows those that do",
    ]
    done = balsam("cancel", "9" * 20)
    assert (done.status, "is not in the range" in done.err) == (2, True)
    done = balsam("submit-launch", "-n", "1", "-t", "5", "--wf-filter", "a\nb")
    assert (done.status, done.err) == (1, "balsam: wf_filter = 'a\\nb': holds a control character\n")


@LSF
@pytest.mark.usefixtures("_job_store")
def test_of_many_launches_the_newest_are_listed(stand_in: StandIn, balsam: Balsam, site: Site) -> None:
    client = Client(site)
    for _ in range(102):
        client.QueuedLaunch.objects.create(state="ENDED")
    client.close()
    done = balsam("ls", "launches")
    rows = [int(line.split()[0]) for line in done.out.splitlines()[1:]]
    assert (rows, done.err) == (list(range(3, 103)), "... 2 more; show them with --limit N, or --json\n")
    assert [row["launch_id"] for row in balsam("ls", "launches", "--json").json] == list(range(1, 103))
    assert [row["launch_id"] for row in balsam("ls", "launches", "--json", "--limit", "2").json] == [101, 102]
    assert balsam("ls", "launches", "--state", "running").err == "no launch matches\n"


@LSF
@pytest.mark.usefixtures("_job_store")
def test_a_launch_that_is_refused_is_one_line_and_is_listed(stand_in: StandIn, balsam: Balsam, site: Site) -> None:
    with stand_in.trouble("refuse", "nowhere: No such queue. Job not submitted."):
        done = balsam("submit-launch", "-n", "1", "-t", "5", "-q", "nowhere")
    assert (done.status, done.out) == (1, "")
    assert done.err == ("balsam: launch 1 was not submitted: bsub: nowhere: No such queue. Job not submitted.\n")
    assert "launch 1 was not submitted: bsub: nowhere: No such queue." in (site.log / "batch.log").read_text()
    (row,) = balsam("ls", "launches", "--json").json
    assert (row["state"], row["message"]) == ("SUBMIT_FAILED", "bsub: nowhere: No such queue. Job not submitted.")


@LSF
def test_a_dry_run_needs_no_services_and_leaves_nothing(stand_in: StandIn, balsam: Balsam, site: Site) -> None:
    done = balsam("submit-launch", "-n", "2", "-t", "90", "--dry-run", "--sched-flags", "-U x")
    assert done.status == 0
    assert "#BSUB -n 2\n" in done.out
    assert done.err.startswith("not submitted: bsub -U x -J balsam-0-")
    as_json = balsam("submit-launch", "-n", "2", "-t", "90", "--dry-run", "--sched-flags", "-U x", "--json")
    assert (as_json.status, as_json.err) == (0, "")
    assert list(as_json.json) == ["name", "script", "text", "command"]
    assert as_json.json["text"] == done.out
    assert done.err == f"not submitted: {as_json.json['command']}\n"
    assert as_json.json["name"] in as_json.json["command"]
    assert stand_in.calls() == []
    assert list(site.qsubmit.iterdir()) == []


@LSF
def test_a_launch_too_short_for_any_job_is_warned_about(stand_in: StandIn, balsam: Balsam) -> None:
    done = balsam("submit-launch", "-n", "1", "-t", "1", "--dry-run")
    assert done.status == 0
    assert done.err.startswith("note: --wall-minutes 1: the launcher stops 0 s before the end (stop_margin_seconds), ")
    assert "give 2 or more\n" in done.err
    assert "note" not in balsam("submit-launch", "-n", "1", "-t", "2", "--dry-run").err


@LSF
@pytest.mark.parametrize("words", ["-n 1", "-t 5", "-n 0 -t 5", "-n 1 -t 5 --job-mode both"])
def test_wrong_usage(stand_in: StandIn, balsam: Balsam, words: str) -> None:
    done = balsam("submit-launch", *words.split())
    assert (done.status, done.err.count("\n")) == (2, 1)


@LSF
@pytest.mark.usefixtures("_job_store")
def test_a_job_that_fits_no_launch_is_warned_about(stand_in: StandIn, balsam: Balsam) -> None:
    def said(*options: str) -> str:
        return balsam("job", "--name", "a", *options, "--yes", "--", "true").err

    assert said() == (
        "note: no launcher is at work; start one with `balsam launcher`, or submit one with `balsam submit-launch`\n"
    )
    balsam("submit-launch", "-n", "2", "-t", "30")
    assert said("--num-nodes", "2", "--wall-time-minutes", "30") == ""
    assert said("--num-nodes", "3") == (
        "note: nothing at work or submitted can run this: launch 1 has 2 of the 3 nodes\n"
    )
    assert said("--wall-time-minutes", "31") == (
        "note: nothing at work or submitted can run this: launch 1 has 30 of the 31 minutes\n"
    )
    balsam("cancel", "1")
    assert said().startswith("note: no launcher is at work")


def test_a_new_site_has_templates_of_its_own(balsam: Balsam, tmp_path: Path) -> None:
    assert balsam("init", str(tmp_path / "new")).status == 0
    assert sorted(path.stem for path in (tmp_path / "new" / "templates").iterdir()) == sorted(SYSTEMS)
