"""Scripts of Balsam 0.x run as they are: their jobs finish, with the data that they should have."""

from __future__ import annotations

import json
import math
import re
import signal
from pathlib import Path

import pytest

from balsam.job import BalsamJob
from balsam.site import Site
from tests.compat.conftest import LoginShell
from tests.support.agents import alive, wait_for_text, wait_gone
from tests.support.databases import mostly_sqlite
from tests.support.processes import launcher, running_launcher
from tests.support.sites import states, wait_for_states, wait_until

pytestmark = mostly_sqlite


def job(name: str) -> BalsamJob:
    return BalsamJob.objects.get(name=name)


def path_of(name: str) -> list[str]:
    """The states that a job has been in, in order."""
    return re.findall(r" (\w+)\]", job(name).state_history)


def test_an_application_registers_itself_and_squares_numbers(any_site: Site, shell: LoginShell) -> None:
    shell.python("square.py", "16")
    launcher(any_site)
    squares = BalsamJob.objects.filter(application="square", state="JOB_FINISHED").values_list("data", flat=True)
    assert sorted(data["x"] for data in squares) == list(range(16))
    assert all(data == {"x": data["x"], "square": data["x"] ** 2} for data in squares)


def test_postprocessing_spawns_jobs_and_hangs_them_before_the_one_that_waits(any_site: Site, shell: LoginShell) -> None:
    shell.python("fan_out.py")
    wait_for_states(any_site, {"reduce": "AWAITING_PARENTS"})
    launcher(any_site)
    names = ["generate", "reduce", *(f"part{number}" for number in range(1, 6))]
    assert states(any_site) == dict.fromkeys(names, "JOB_FINISHED")
    assert job("reduce").data == {"sum": 10 + 20 + 30 + 40 + 5, "parts": 5}
    assert path_of("reduce").count("RUNNING") == 1
    ended = [job(f"part{number}").get_state_times()["JOB_FINISHED"] for number in range(1, 6)]
    assert max(ended) <= job("reduce").get_state_times()["RUNNING"]


@pytest.mark.parametrize(("how", "stopped_by"), [("spawn", "time limit"), ("clone", "signal")])
def test_a_rescue_job_takes_the_place_of_one_that_timed_out(
    any_site: Site, shell: LoginShell, how: str, stopped_by: str
) -> None:
    shell.python("rescue.py", how)
    checkpoint = Path(job("simulation").working_directory) / "checkpoint.txt"
    limit = ["--time-limit-minutes", "0.1"] if stopped_by == "time limit" else []
    with running_launcher(any_site, *limit) as process:
        wait_until(checkpoint.exists, what="a checkpoint", site=any_site)
        if stopped_by == "signal":
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    left = {"spawn": "JOB_FINISHED", "clone": "FAILED"}[how]
    wait_for_states(any_site, {"simulation": left, "analysis0": "AWAITING_PARENTS", "analysis1": "AWAITING_PARENTS"})
    assert path_of("simulation")[-3:] == ["RUNNING", "RUN_TIMEOUT", left]

    launcher(any_site)
    finished = dict.fromkeys(["rescue", "analysis0", "analysis1"], "JOB_FINISHED")
    assert states(any_site) == {"simulation": left, **finished}
    assert [job(f"analysis{number}").data["steps"] for number in range(2)] == [[400, 1000]] * 2
    assert list(job("analysis0").get_parents()) == [job("rescue")]
    assert job("rescue").attempt == 1


def test_an_error_handler_accepts_what_had_converged(any_site: Site, shell: LoginShell) -> None:
    shell.python("accept.py")
    launcher(any_site)
    assert states(any_site) == {
        "good": "JOB_FINISHED",
        "after-good": "JOB_FINISHED",
        "bad": "FAILED",
        "after-bad": "FAILED",
    }
    assert path_of("good")[-3:] == ["RUNNING", "RUN_ERROR", "JOB_FINISHED"]
    assert job("good").get_recent_state_str().endswith("JOB_FINISHED] it had converged")
    assert job("bad").message == "no convergence"
    assert "bad" in job("after-bad").message


@pytest.mark.parametrize(("what", "below"), [("tree", "USER_KILLED"), ("one", "FAILED")])
def test_a_job_kills_another_one_that_runs_beside_it(any_site: Site, shell: LoginShell, what: str, below: str) -> None:
    shell.python("killer.py", what)
    with running_launcher(any_site) as process:
        pid = int(wait_for_text(Path(job("slow").working_directory) / "pid", "\n"))
        wait_for_states(any_site, {"slow": "USER_KILLED"})
        assert wait_gone(pid) < 5  # about 0.1 s on a machine that does nothing else
        assert process.wait(30) == 0
    assert not alive(pid)
    assert states(any_site) == {"slow": "USER_KILLED", "below": below, "killer": "JOB_FINISHED"}
    assert path_of("slow")[-2:] == ["RUNNING", "USER_KILLED"]


def test_a_search_adds_jobs_as_results_come_in(any_site: Site, shell: LoginShell) -> None:
    with running_launcher(any_site, "--persistent"):
        found = json.loads(shell.python("search.py"))
    assert found["point"] == [0.75, -0.5]
    assert math.isclose(found["value"], 0.0, abs_tol=1e-12)
    ended = list(states(any_site).values())
    assert len(ended) == found["jobs"] > 20
    assert (ended.count("JOB_FINISHED"), ended.count("FAILED")) == (len(ended) - 1, 1)
