"""What must be true after the clock has stopped: states, whole histories, output files, quiet logs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import balsam
from balsam.client import Client
from balsam.site import Site
from balsam.states import State
from balsam.v1 import event_service_pb2
from balsam.v1.event_service_pb2_grpc import EventServiceStub
from benchmarks.figures import WrongResult

History = tuple[int, ...]

_BEFORE = (State.READY, State.STAGED_IN, State.PREPROCESSED)
_RUN = (State.RUNNING, State.RUN_DONE, State.POSTPROCESSED, State.JOB_FINISHED)
FREE: History = (State.CREATED, *_BEFORE, *_RUN)
"""The history of a job that waits for nothing and finishes at once."""
CHILD: History = (State.CREATED, State.AWAITING_PARENTS, *_BEFORE, *_RUN)
"""The same of one that waits for another."""
_PAGE = 10_000


def ran(client: Client, workflow: str, wanted: Mapping[History, int]) -> None:
    """All jobs of a workflow have finished, with these histories, and each has written its output file.

    Args:
        client: of the site.
        workflow: name of the workflow.
        wanted: states, in order -> how many jobs have entered these and no others.

    Raises:
        WrongResult: something is missing, or there is more.
    """
    count = sum(wanted.values())
    states(client, {"JOB_FINISHED": count}, workflow)
    histories(client, wanted, workflow)
    outputs(client.site.data / workflow, count)


def states(client: Client, expected: Mapping[str, int], workflow: str | None = None) -> None:
    """The jobs of a workflow (None: all jobs) are in these states. Raises WrongResult."""
    found = count_states(client, workflow)
    if found != dict(expected):
        raise WrongResult(f"jobs by state are {found}, not {dict(expected)}")


def count_states(client: Client, workflow: str | None = None) -> dict[str, int]:
    """State -> how many jobs of a workflow (None: of all jobs) are in it, without those that none is in."""
    jobs = client.BalsamJob.objects.all() if workflow is None else client.BalsamJob.objects.filter(workflow=workflow)
    return {row["state"]: row["n"] for row in jobs.values("state").annotate(n=balsam.Count("pk"))}


def histories(client: Client, wanted: Mapping[History, int], workflow: str | None = None) -> None:
    """The jobs of a workflow (None: all jobs) have these histories. Raises WrongResult."""
    entered: dict[str, History] = {}
    of_workflow = event_service_pb2.EventFilter(workflow=workflow)
    request = event_service_pb2.ListEventsRequest(filter=of_workflow, page_size=_PAGE)
    while True:
        answer = client.call(EventServiceStub, "ListEvents", request)
        for event in answer.events:
            entered[event.job_id] = entered.get(event.job_id, ()) + tuple(event.states)
        if not answer.more:
            break
        request.after_sequence = answer.events[-1].sequence
    found = Counter(entered.values())
    if found != Counter(wanted):
        odd = next(history for history in (*found, *wanted) if found[history] != wanted.get(history, 0))
        names = " ".join(State(state).name for state in odd)
        raise WrongResult(f"{found[odd]} jobs, and not {wanted.get(odd, 0)}, have entered {names}")


def outputs(directory: Path, count: int) -> None:
    """So many runs have a directory here, each with an output file. Raises WrongResult."""
    places = [place.path for place in os.scandir(directory) if place.is_dir()] if directory.exists() else []
    written = sum(any(name.endswith(".out") for name in os.listdir(place)) for place in places)
    if (len(places), written) != (count, count):
        raise WrongResult(f"{len(places)} directories and {written} output files of {count} jobs are in {directory}")


def no_tracebacks(site: Site) -> None:
    """No process of a site has logged a traceback. Raises WrongResult."""
    for log in sorted(path for path in site.log.glob("*") if path.is_file()):
        text = log.read_text(errors="replace")
        if "Traceback" in text:
            raise WrongResult(f"there is a traceback in {log}:\n{text[text.index('Traceback') :][:3000]}")
