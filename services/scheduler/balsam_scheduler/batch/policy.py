"""The policy of the automatic submitter: ``SITE/policy.toml``, which limits what `balsam service` submits."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from balsam.commands import split
from balsam.errors import SiteError, ValidationError
from balsam.fields import JOB_MODES, LAUNCH_FIELDS, MAX_INT
from balsam.settings import checked, read_toml, setting
from balsam_scheduler.batch.naming import check_place

POLICY_FILE = "policy.toml"
_TEN_YEARS = 10 * 366 * 24 * 60
"""In minutes: what is added to a time of day."""
_DAY_SECONDS = 24 * 3600
_MOST_HOURS = 10**12


@dataclass(frozen=True)
class Band:
    """Launches of so many nodes may last so long."""

    min_nodes: int = setting(1, "Nodes of a launch, at least.", least=1, most=MAX_INT)
    max_nodes: int = setting(1, "Nodes of a launch, at most.", least=1, most=MAX_INT)
    min_minutes: int = setting(
        30,
        "Wall time of a launch, at least [min]; more of it means fewer nodes for the same work.",
        least=1,
        most=MAX_INT,
    )
    max_minutes: int = setting(60, "Wall time of a launch, at most [min].", least=1, most=MAX_INT)


@dataclass(frozen=True)
class Queue:
    """A queue of the batch system, and what may be submitted there."""

    name: str = setting("", "Its name; empty: the batch system's own default.")
    project: str = setting("", "Project that is charged.")
    sched_flags: str = setting("", "Further options of the submission.")
    job_mode: str = setting("auto", "Mode of the launchers: auto, mpi or serial.", choices=JOB_MODES)
    wf_filter: str = setting("", "They take this workflow only: exact, or a glob; empty: all.")
    max_launches: int = setting(1, "Launches of this queue that may be open (queued or running) at once.", least=0)
    max_nodes: int = setting(0, "Nodes of its open launches together, at most; 0: no limit.", least=0)
    cores_per_node: int = setting(0, "Cores of each of its nodes; 0: as launchers there find them.", least=0)
    gpus_per_node: int = setting(
        -1, "GPUs of each of its nodes; 0: they have none; -1: as launchers there find them.", least=-1
    )
    bands: tuple[Band, ...] = ()
    """The sizes of its launches."""

    @property
    def label(self) -> str:
        """How people are told of it."""
        return f"queue {self.name}" if self.name else "the default queue"


@dataclass(frozen=True)
class Policy:
    """What the automatic submitter may do. The key of a queue's table is ``[[queue]]``, that of a band
    ``[[queue.band]]``."""

    max_launches: int = setting(2, "Launches that may be open (queued or running) at once.", least=0)
    node_hours_per_day: float = setting(
        0.0,
        "Node-hours that the launches of 24 hours may ask for; 0: no limit [node-hours].",
        least=0,
        most=_MOST_HOURS,
    )
    node_hours_total: float = setting(
        0.0,
        "Node-hours that all launches of this site may ask for; 0: no limit [node-hours].",
        least=0,
        most=_MOST_HOURS,
    )
    least_node_minutes: float = setting(
        0.0, "No launch is submitted for less work than this; 0: for any [node-minutes].", least=0
    )
    least_work_wait_minutes: float = setting(
        30.0, "After so long a launch is submitted for less, too [min].", least=0, most=_TEN_YEARS
    )
    idle_minutes: float = setting(
        5.0,
        "Work that an idle launcher could take is left to it for so long [min]; 0: idle launchers do not count.",
        least=0,
        most=_TEN_YEARS,
    )
    children_share: float = setting(
        0.5, "Share of the jobs that wait for parents for which a launch gets room, too (0 to 1).", least=0, most=1
    )
    breaker_failures: int = setting(
        3, "After so many failed launches in a row a queue is left alone for a while.", least=1
    )
    breaker_minutes: float = setting(
        10.0,
        "For so long, and twice as long after each further failure, at most a day [min].",
        least=0,
        most=_TEN_YEARS,
    )
    lost_minutes: float = setting(
        5.0,
        "A launch whose launcher has been gone for so long, and that still has nodes, is cancelled [min].",
        least=0,
        most=_TEN_YEARS,
    )
    gather_seconds: float = setting(
        5.0, "What is added within so long counts together [s].", least=0, most=_DAY_SECONDS
    )
    interval_seconds: float = setting(
        60.0, "The batch system is asked so often how launches stand [s].", least=0.1, most=_DAY_SECONDS
    )
    queues: tuple[Queue, ...] = ()
    """Where launches may go, in the order of preference."""


def load(site_path: Path) -> Policy | None:
    """The policy of a site; None: it has no file of one.

    Raises:
        SiteError: the file cannot be read, or holds a key or value that is not valid.
    """
    path = site_path / POLICY_FILE
    return check(read_toml(path, "policy"), str(path)) if path.exists() else None


def check(values: dict[str, Any], where: str) -> Policy:
    """A policy from plain values; `where` names their origin in errors.

    Raises:
        SiteError: a key is unknown, or a value has the wrong type or is out of range.
    """
    rest, tables = _split(values, "queue", where)
    queues = tuple(_queue(table, number, where) for number, table in enumerate(tables, 1))
    names = [queue.name for queue in queues]
    for name in names:
        if names.count(name) > 1:
            raise SiteError(f"{where}: [[queue]] name = {name!r} is there {names.count(name)} times; join them")
    return Policy(**checked(Policy, rest, where), queues=queues)


def _queue(values: dict[str, Any], number: int, where: str) -> Queue:
    place = f"{where}, [[queue]] {number}"
    rest, tables = _split(values, "band", place)
    if not tables:
        raise SiteError(f"{place}: has no [[queue.band]], which says how many nodes its launches have, for how long")
    bands = tuple(_band(table, f"{place}, band {index}") for index, table in enumerate(tables, 1))
    queue = Queue(**checked(Queue, rest, place), bands=bands)
    try:
        check_place("name", queue.name)
        check_place("project", queue.project)
        LAUNCH_FIELDS["wf_filter"].check(queue.wf_filter)
        split(queue.sched_flags)
    except ValidationError as error:
        raise SiteError(f"{place}: {error}") from None
    return queue


def _band(values: dict[str, Any], place: str) -> Band:
    band = Band(**checked(Band, values, place))
    for least, most in (("min_nodes", "max_nodes"), ("min_minutes", "max_minutes")):
        if getattr(band, least) > getattr(band, most):
            raise SiteError(f"{place}: {least} = {getattr(band, least)} is more than {most} = {getattr(band, most)}")
    return band


def _split(values: dict[str, Any], name: str, where: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The plain values, and the tables of this name."""
    tables = values.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SiteError(f"{where}: {name} must be tables, each under a line [[{_TABLES[name]}]]")
    return {key: value for key, value in values.items() if key != name}, tables


_TABLES = {"queue": "queue", "band": "queue.band"}


def settings_of(table: type[Any]) -> list[dataclasses.Field[Any]]:
    """The fields of a table that are plain values in the file."""
    return [field for field in dataclasses.fields(table) if "doc" in field.metadata]


def render() -> str:
    """The text of a policy file: all keys with their explanations, and a queue as a comment."""
    lines = ["# What `balsam service` may submit to the batch system. Read again at each round."]
    lines += ["# It submits nothing before there is a [[queue]]: see the end of this file.", ""]
    for field in settings_of(Policy):
        lines += [f"# {field.metadata['doc']} Default: {json.dumps(field.default)}", _assigned(field), ""]
    lines += ["# A queue, and the sizes of its launches; of several that would do, the first is taken.", "#"]
    for title, table in (("[[queue]]", Queue), ("[[queue.band]]", Band)):
        lines.append(f"# {title}")
        for field in settings_of(table):
            lines.append(f"# {_assigned(field)}   # {field.metadata['doc']}")
        lines.append("#")
    return "\n".join(lines[:-1]) + "\n"


def _assigned(field: dataclasses.Field[Any]) -> str:
    return f"{field.name} = {json.dumps(field.default)}"
