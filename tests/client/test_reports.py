"""The report functions of Balsam 0.x, of jobs that have really run, over both databases."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

import balsam
from balsam import client as clients
from balsam import reports
from balsam.client import Client
from balsam.core.models import BalsamJob, error_report, process_job_times, throughput_report, utilization_report
from balsam.errors import ValidationError
from balsam.site import Site
from tests.support.processes import launcher, running_launcher, services
from tests.support.sites import wait_for_states, wait_until


@pytest.fixture
def any_client(any_site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """The site of the plain names, over each database; its services run."""
    monkeypatch.setenv("BALSAM_DB_PATH", str(any_site.path))
    clients.reset()
    with services(any_site):
        yield balsam.connect()
    clients.reset()


def add(name: str, args: str, **fields: Any) -> BalsamJob:
    return BalsamJob.objects.create(name=name, args=args, **fields)


def test_the_reports_of_a_campaign(any_client: Client) -> None:
    site, begun = any_client.site, datetime.now(UTC)
    gone, killed = [add(name, "sleep 100", workflow="w", node_packing_count=2) for name in ("gone", "killed")]
    with running_launcher(site):
        wait_for_states(site, {"gone": "RUNNING", "killed": "RUNNING"})
        killed.update_state("USER_KILLED")
        gone.delete(kill=True)
        wait_until(lambda: not BalsamJob.objects.filter(state="RUNNING").exists(), what="nothing runs", site=site)
    for name, args in {"one": "true", "two": "true", "bad": "false"}.items():
        add(name, args, workflow="w")
    add("other", "true", workflow="other")
    launcher(site)
    done, ended = ["one", "two", "other"], datetime.now(UTC)
    wait_for_states(site, {"bad": "FAILED"} | dict.fromkeys(done, "JOB_FINISHED"))

    times, counts = throughput_report()
    assert len(times) == len(counts)
    assert counts[-1] == 3
    assert all(begun < time < ended for time in times)

    times, counts = utilization_report()
    assert len(times) == len(counts) == len(set(times))
    assert all(before < after for before, after in pairwise(times))
    assert times[0] == killed.get_state_times()["RUNNING"]
    assert (counts[0], counts[-1], min(counts)) == (1, 0, 0)

    times, counts = error_report()
    assert times[0] == BalsamJob.objects.get(name="bad").get_state_times()["RUN_ERROR"]
    assert list(counts) == [1]

    data = process_job_times(BalsamJob.objects.filter(workflow="w"))
    assert {state: len(data[state]) for state in ("RUNNING", "RUN_DONE", "RUN_ERROR", "USER_KILLED")} == {
        "RUNNING": 4, "RUN_DONE": 2, "RUN_ERROR": 1, "USER_KILLED": 1,
    }  # fmt: skip
    assert throughput_report(data)[1][-1] == 2
    for job in BalsamJob.objects.filter(workflow="w"):
        alone = process_job_times(BalsamJob.objects.filter(pk=job.pk))
        assert {state: entered[-1] for state, entered in alone.items()} == job.get_state_times()


def test_the_times_of_a_query_go_by_its_order(store: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ids go into one filter, and however the query was cut."""
    jobs = [add(f"n{i}", "true") for i in range(7)]
    moved = [jobs[i] for i in (3, 0, 6, 1, 5)]
    for job in moved:
        job.update_state("RUN_DONE")
    when = {job.name: job.get_state_times()["RUN_DONE"] for job in moved}
    assert process_job_times(BalsamJob.objects.order_by("-name"))["RUN_DONE"] == [
        when[name] for name in sorted(when, reverse=True)
    ]
    monkeypatch.setattr(reports, "_IDS", 2)
    query = BalsamJob.objects.filter(name__gt="n0").order_by("name")
    assert process_job_times(query)["RUN_DONE"] == [when[name] for name in ("n1", "n3", "n5", "n6")]
    assert process_job_times(query[1:5])["RUN_DONE"] == [when[name] for name in ("n3", "n5")]
    assert process_job_times(query.values("state"))["RUN_DONE"] == process_job_times(query)["RUN_DONE"]
    assert throughput_report(process_job_times(BalsamJob.objects))[0] == sorted(when.values())
    assert process_job_times(BalsamJob.objects.none()) == {}


def test_many_jobs_are_few_calls(store: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    BalsamJob.objects.bulk_create([BalsamJob(name=f"n{i}", args="true", workflow=f"w{i % 2}") for i in range(3000)])
    BalsamJob.objects.filter(workflow="w0").update(state="RUN_DONE")
    methods: list[str] = []
    call = store.call
    monkeypatch.setattr(store, "call", lambda make, method, *args: methods.append(method) or call(make, method, *args))  # type: ignore[func-returns-value]
    assert throughput_report()[1][-1] == 1500
    assert methods == ["ListEvents"] * 2
    methods.clear()
    data = process_job_times(BalsamJob.objects.filter(workflow="w0"))
    assert (len(data["CREATED"]), len(data["RUN_DONE"])) == (1500, 1500)
    assert methods == ["ListJobs", "ListEvents", "ListEvents", "ListJobs", "ListEvents"]


def test_a_site_has_its_own_reports(store: Client) -> None:
    add("a", "true").update_state("RUN_DONE")
    assert len(process_job_times(store.BalsamJob.objects.all())["RUN_DONE"]) == 1


def test_a_site_without_jobs_has_empty_reports(store: Client) -> None:
    assert process_job_times() == {}
    for report in (throughput_report, utilization_report, error_report):
        times, counts = report()
        assert (times, len(counts)) == ([], 0)


def test_without_numpy_the_counts_are_lists(store: Client) -> None:
    add("a", "true").update_state("RUN_DONE")
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "from balsam.core.models import *\n"
        "print(throughput_report()[1], utilization_report(), error_report())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=store.site.path)
    assert done.stdout == "[1] ([], []) ([], [])\n"


def test_applications_have_no_reports(store: Client) -> None:
    with pytest.raises(ValidationError, match="qs is a Manager: must be a query of jobs"):
        process_job_times(balsam.ApplicationDefinition.objects)
