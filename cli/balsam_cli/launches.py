"""Batch launches, as commands tell of them."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator

from balsam.client import Client
from balsam.errors import BalsamError
from balsam.logs import formatter
from balsam.site import Site
from balsam_cli import records
from balsam_cli.output import Record
from balsam_cli.terminal import note
from balsam_scheduler.batch.looking import refresh
from balsam_scheduler.batch.records import LaunchRecord


def as_record(launch: LaunchRecord) -> Record:
    """Every field of a launch, for `--json`."""
    return records.launch_record(dataclasses.asdict(launch))


def line(launch: LaunchRecord) -> str:
    """A launch that was submitted, in a line."""
    job = f"{launch.batch_system} job {launch.scheduler_id}" if launch.scheduler_id else launch.batch_system
    why = f": {launch.message}" if launch.message else ""
    return f"launch {launch.launch_id} ({job}) is {launch.state}{why}"


@contextlib.contextmanager
def logged(site: Site) -> Iterator[None]:
    """What is submitted and cancelled meanwhile, and why it is not, goes into the site's log ``batch.log`` as well."""
    log = logging.getLogger("balsam.batch")
    try:
        site.make_run()  # and, of a member, where their logs are
        handler = logging.FileHandler(site.log / "batch.log", delay=True, encoding="utf-8", errors="backslashreplace")
    except (OSError, BalsamError):
        yield
        return
    handler.setFormatter(formatter())
    before = log.level
    log.addHandler(handler)
    log.setLevel(site.settings.log_level)
    try:
        yield
    finally:
        log.setLevel(before)
        log.removeHandler(handler)
        handler.close()


def bring_up_to_date(store: Client) -> None:
    """Asks the batch system about the launches that are not over; says so where that fails."""
    try:
        refresh(store.site, store)
    except BalsamError as error:
        note(f"note: the states of launches may be old: {error}")
