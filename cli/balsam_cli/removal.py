"""Deletes jobs, their working directories, and applications."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from balsam.client import Client
from balsam.errors import BalsamError, NotFound, Unavailable, ValidationError
from balsam.job_calls import selector_message
from balsam.query import AllOf, Node, Test
from balsam.v1 import job_service_pb2
from balsam.v1.job_service_pb2_grpc import JobServiceStub
from balsam_cli import outcome, selection, terminal
from balsam_cli.outcome import Outcome
from balsam_cli.text import count

_AT_ONCE = 1000
_STOP_SECONDS = 30.0
"""How long to wait for processes to end before their directories are removed, beside the site's grace."""


def remove_jobs(
    store: Client,
    prefixes: Sequence[str],
    name: str | None,
    workflow: str | None,
    *,
    kill: bool,
    workdirs: bool,
    yes: bool,
) -> Outcome:
    """Deletes the jobs that match, after a question.

    Raises:
        NotFound: none matches.
        NotAllowed: nobody is there to be asked.
    """
    ids = selection.find_ids(store, prefixes)
    where = AllOf(tuple(selection.job_conditions(name=name, workflow=workflow, ids=ids)))
    matched = store.jobs.count(where)
    if not matched:
        raise NotFound(selection.why_none(store, name, workflow))
    also = " and their working directories" if workdirs else ""
    terminal.must_agree(f"Delete {count(matched, 'job')}{also}?", yes, f"deleting {count(matched, 'job')}")
    if not workdirs:
        return _delete(store, where, kill)
    if kill:
        _stop(store, where)
    # A list of what is deleted must not grow meanwhile: from here on it goes by ids.
    return _with_directories(store, _ids_and_directories(store, where), kill)


def _delete(store: Client, where: Node | Sequence[str], kill: bool) -> Outcome:
    request = job_service_pb2.DeleteJobsRequest(selector=selector_message(where), kill=kill)
    answer = store.call(JobServiceStub, "DeleteJobs", request, 600.0)
    return outcome.of_call(answer.matched, answer.deleted, answer.refusals, answer.refused)


def _stop(store: Client, where: Node) -> None:
    """Kills what has not ended, and waits until its processes are gone: they would write into what is removed."""
    store.call(JobServiceStub, "KillJobs", job_service_pb2.KillJobsRequest(selector=selector_message(where)), 600.0)
    held = AllOf((where, Test("leased", (), "EXACT", (True,))))
    give_up = time.monotonic() + _STOP_SECONDS + store.site.settings.kill_grace_seconds
    while store.jobs.count(held) and time.monotonic() < give_up:
        time.sleep(0.2)


def _ids_and_directories(store: Client, where: Node) -> list[tuple[str, str]]:
    pages = store.jobs.pages(where, fields=("working_directory", "user_workdir"))
    return [
        (job["job_id"], "" if job.get("user_workdir") else job.get("working_directory", ""))
        for job in itertools.chain.from_iterable(pages)
    ]


def _with_directories(store: Client, jobs: Sequence[tuple[str, str]], kill: bool) -> Outcome:
    result = Outcome(len(jobs), extra={"directories": 0})
    for batch in _batches(jobs):
        ids = [one for one, _ in batch]
        part = _delete(store, ids, kill)
        result.done += part.done
        result.skipped += part.skipped
        result.reasons += part.reasons
        left = {
            job["job_id"] for job in selection.list_jobs(store, selection.job_conditions(ids=ids), fields=("name",))
        }
        for one, directory in batch:
            if one not in left and directory and remove_directory(Path(directory), store.site.data):
                result.extra["directories"] += 1
    return result


def _batches(jobs: Sequence[tuple[str, str]]) -> Iterator[Sequence[tuple[str, str]]]:
    for start in range(0, len(jobs), _AT_ONCE):
        yield jobs[start : start + _AT_ONCE]


def remove_directory(directory: Path, data: Path) -> bool:
    """Removes a working directory below `data`, and the directories of its workflow that are left empty.

    A directory elsewhere is the user's own: it stays. Returns whether it was removed.
    """
    if directory.is_symlink() or not directory.is_dir():
        return False
    # Data may be reached through links, by other ones than the directory; below it there must be none.
    place, below, data = directory.resolve(), _below(directory, data), data.resolve()
    if below is None or data not in place.parents or place != data / below:
        return False
    directory = place
    try:
        shutil.rmtree(directory)
    except OSError as error:
        terminal.note(f"{directory} could not be removed: {error.strerror}")
        return False
    for above in directory.parents:
        if above == data:
            break
        with contextlib.suppress(OSError):
            above.rmdir()
    return True


def _below(directory: Path, data: Path) -> Path | None:
    """The path of a directory below another one, which may be written in another way; None: it is not below it."""
    if directory.is_relative_to(data):
        return directory.relative_to(data)
    place = data.resolve()
    above = next((one for one in reversed(directory.parents) if one.resolve() == place), None)
    return None if above is None else directory.relative_to(above)


def remove_applications(store: Client, name: str | None, yes: bool) -> Outcome:
    """Deletes the applications that match, after a question; what unfinished jobs use stays.

    Raises:
        NotFound: none matches.
        NotAllowed: nobody is there to be asked.
    """
    where = AllOf((selection.exact_or_glob("name", name),) if name is not None else ())
    names = [app["name"] for app in itertools.chain.from_iterable(store.applications.pages(where))]
    if not names:
        known = [app["name"] for app in itertools.chain.from_iterable(store.applications.pages(AllOf(())))]
        raise NotFound(f"no application matches (there are: {', '.join(known[:20]) or 'none'})")
    what = count(len(names), "application")
    terminal.must_agree(f"Delete {what}?", yes, f"deleting {what}")
    result = Outcome(len(names))
    for one in names:
        try:
            store.applications.delete(one)
            result.done += 1
        except (Unavailable, ValidationError):
            raise
        except BalsamError as error:
            result.skip(one, error)
    return result
