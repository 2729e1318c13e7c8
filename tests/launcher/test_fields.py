"""What the fields of a job do to its runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from balsam import client as clients
from balsam.job import BalsamJob
from balsam.launcher import dag
from balsam.processes import process_table
from balsam.site import Site
from tests.launcher.conftest import Witness
from tests.support.processes import Services, launcher, running_launcher
from tests.support.shared import module_services as module_services
from tests.support.shared import services as services
from tests.support.shared import site as site
from tests.support.sites import states, wait_for_states

SHOW_ENVIRONMENT = shlex.join([sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"])


@pytest.fixture(autouse=True)
def _plain_names(site: Site, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALSAM_DB_PATH", str(site.path))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    clients.reset()


def add(name: str, args: str = "true", **fields: Any) -> BalsamJob:
    return dag.add_job(name, "fields", fields.pop("application", ""), args=args, **fields)


def text(job: BalsamJob, name: str = "") -> str:
    return job.read_file_in_workdir(name or f"{job.name}.out")


def path_of(job: BalsamJob) -> list[str]:
    return re.findall(r" (\w+)\]", job.state_history)


def now(job: BalsamJob) -> BalsamJob:
    return BalsamJob.objects.get(pk=job.pk)


# Environment


def test_threads_are_told_where_there_are_more_than_one(site: Site) -> None:
    one, four = add("one", SHOW_ENVIRONMENT), add("four", SHOW_ENVIRONMENT, threads_per_rank=4)
    own = add("own", SHOW_ENVIRONMENT, threads_per_rank=4, environ_vars="OMP_NUM_THREADS=2")
    launcher(site)
    assert [json.loads(text(job)).get("OMP_NUM_THREADS") for job in (one, four, own)] == [None, "4", "2"]


def test_variables_reach_the_run_and_its_scripts_whatever_they_hold(site: Site) -> None:
    variables = {"PLACES": "/a:/b c", "QUERY": "x=1&y='2'", "EMPTY": "", "COLOUR": "blue"}
    dag.add_app("show", SHOW_ENVIRONMENT, preprocess=SHOW_ENVIRONMENT, postprocess=SHOW_ENVIRONMENT)
    job = add("job", "", application="show", environ_vars=variables)
    short = add("short", SHOW_ENVIRONMENT, environ_vars="A=1:B=x=y")
    launcher(site)
    for name in ("job.out", "preprocess.log", "postprocess.log"):
        assert variables.items() <= json.loads(text(job, name)).items(), name
    assert {"A": "1", "B": "x=y"}.items() <= json.loads(text(short)).items()


def test_a_job_takes_over_no_name_by_which_balsam_knows_it(site: Site) -> None:
    job = add("job", SHOW_ENVIRONMENT, environ_vars={"BALSAM_JOB_ID": "x", "BALSAM_DB_PATH": "/x", "BALSAM_NODES": "x"})
    launcher(site)
    found = json.loads(text(job))
    assert (found["BALSAM_JOB_ID"], found["BALSAM_DB_PATH"]) == (str(job.pk), str(site.path))
    assert found["BALSAM_NODES"] == os.uname().nodename


def test_an_envscript_that_fails_is_an_error_of_the_run(site: Site, tmp_path: Path) -> None:
    (tmp_path / "env.sh").write_text("echo no modules here\nreturn 5\n")
    handler = f"{sys.executable} -c 'import balsam.launcher.dag as dag; dag.current_job.update_state(\"JOB_FINISHED\")'"
    dag.add_app("app", "echo started", envscript=f"{tmp_path}/env.sh", postprocess=handler)
    failed, handled = (
        add("failed", "", application="app"),
        add("handled", "", application="app", post_error_handler=True),
    )
    launcher(site)
    assert path_of(failed)[-3:] == ["RUNNING", "RUN_ERROR", "FAILED"]
    assert path_of(handled)[-3:] == ["RUNNING", "RUN_ERROR", "JOB_FINISHED"]
    assert now(failed).exit_code == 5
    assert "failed with code 5" in now(failed).message
    assert "started" not in text(failed)


def test_an_error_that_no_handler_has_dealt_with_fails_the_job_with_its_reason(site: Site) -> None:
    dag.add_app("app", "sh -c 'echo no basis set; exit 3'", postprocess="true")
    job = add("job", "", application="app", post_error_handler=True)
    launcher(site)
    assert path_of(job)[-3:] == ["RUNNING", "RUN_ERROR", "FAILED"]
    left = "postprocess handled RUN_ERROR and left the state as it was"
    assert now(job).message == f"{left}: exit code 3\nno basis set"


# Directories and order


def test_a_directory_of_ones_own_takes_the_run_its_scripts_and_its_output(site: Site, tmp_path: Path) -> None:
    dag.add_app("app", "pwd", preprocess="touch before", postprocess="touch after")
    own = tmp_path / "not" / "there yet"
    job = add("job", "", application="app", user_workdir=str(own))
    launcher(site)
    assert now(job).working_directory == str(own)
    assert {file.name for file in own.iterdir()} == {
        "before", "after", "job.out", "preprocess.log", "postprocess.log",
    }  # fmt: skip
    assert (own / "job.out").read_text() == f"{own}\n"
    assert not (site.data / "fields").exists()


def test_a_child_that_does_not_wait_runs_though_its_parent_does_not(site: Site) -> None:
    parent = add("parent", num_nodes=1000)
    child = add("child", "printenv BALSAM_PARENT_IDS", parents=[parent], wait_for_parents=False)
    add("patient", parents=[parent])
    launcher(site)
    assert states(site) == {"parent": "PREPROCESSED", "child": "JOB_FINISHED", "patient": "AWAITING_PARENTS"}
    assert json.loads(text(child)) == [str(parent.pk)]


def test_what_is_more_urgent_starts_first_then_what_is_longer_then_what_is_older(site: Site, tmp_path: Path) -> None:
    for name, fields in {
        "fourth": {},
        "last": {"priority": -1, "wall_time_minutes": 100},
        "third": {"wall_time_minutes": 2},
        "fifth": {},
        "second": {"wall_time_minutes": 30},
        "first": {"priority": 1},
    }.items():
        add(name, f"sh -c 'echo {name} >> {tmp_path}/order'", **fields)
    launcher(site)
    assert (tmp_path / "order").read_text().split() == ["first", "second", "third", "fourth", "fifth", "last"]


# Restarts


def test_a_restart_appends_to_the_output_and_does_not_preprocess_again(site: Site, witness: Witness) -> None:
    """A time-out does not count against `max_restarts`."""
    dag.add_app("app", f"bash -c 'echo try $BALSAM_ATTEMPT; exec {witness.command}'", preprocess="echo prepared")
    job = add("job", "", application="app", max_restarts=0)
    with running_launcher(site) as process:
        witness.wait_until_begun()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    wait_for_states(site, {"job": "RESTART_READY"})
    witness.let_go()
    launcher(site)
    assert now(job).state == "JOB_FINISHED"
    tries = [line for line in text(job).splitlines() if line.startswith("try")]  # bash speaks of signals
    assert tries == ["try 1", "try 2"]
    assert text(job, "preprocess.log") == "prepared\n"
    assert path_of(job).count("PREPROCESSED") == 1


def test_a_job_that_is_not_to_be_retried_fails_when_it_times_out(site: Site, witness: Witness) -> None:
    job = add("job", witness.command, auto_timeout_retry=False)
    below = add("below", parents=[job])
    with running_launcher(site) as process:
        witness.wait_until_begun()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    wait_for_states(site, {"job": "FAILED", "below": "FAILED"})
    assert path_of(job)[-3:] == ["RUNNING", "RUN_TIMEOUT", "FAILED"]
    assert now(job).message
    assert "job" in now(below).message


def test_lost_runs_are_restarted_as_often_as_allowed_and_no_handler_is_asked(site: Site, witness: Witness) -> None:
    """Neither `auto_timeout_retry` nor `post_timeout_handler` is about runs that were lost."""
    dag.add_app("app", witness.command, postprocess="touch handler-was-called")
    job = add("job", "", application="app", max_restarts=1, auto_timeout_retry=False, post_timeout_handler=True)
    with running_launcher(site) as process:
        for times in (1, 2):
            witness.wait_until_begun(times)
            (warden,) = process_table().children(process.pid)
            (agent,) = process_table().children(warden)
            os.kill(agent, signal.SIGKILL)
        assert process.wait(60) == 0
    job = now(job)
    assert (job.state, job.attempt, job.restarts) == ("FAILED", 2, 2)  # the second loss was one too many
    assert path_of(job)[4:] == ["RUNNING", "RUN_TIMEOUT", "RESTART_READY", "RUNNING", "RUN_TIMEOUT", "FAILED"]
    assert "the node agent" in job.message
    assert "max_restarts is used up" in job.message
    assert not (Path(job.working_directory) / "handler-was-called").exists()
    assert not witness.overlapped


# MPI


@pytest.mark.mpi
def test_flags_reach_the_mpi_run_command(site: Site) -> None:
    job = add("job", "printenv COLOUR", ranks_per_node=2, mpi_flags="-genv COLOUR 'dark blue'")
    launcher(site)
    assert text(job) == "dark blue\ndark blue\n"
