"""Groups failed jobs by application, exit code, how they ended, and what their programs said last. Pure.

The node does not part a group: a cause is one wherever it struck. Each group counts its nodes, so that a bad one shows.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from balsam_cli.failures.templates import join, parts

FIELDS = ("name", "workflow", "application", "exit_code", "message", "node")
"""Fields of a job that grouping needs, beside its id."""

_STANDS_OUT = 2
"""A node where so many times more failed than on all of a group's nodes in the mean."""


@dataclass(frozen=True)
class Group:
    """Jobs that failed for one cause.

    Attributes:
        name: eight digits; the same as long as the cause is.
        application: of the jobs; empty: they have none.
        exit_code: of their last run; None: there was none.
        cause: how they failed.
        said: what their programs said last, as far as it is common to them.
        job_ids: the jobs.
        example: values of the fields of one.
        nodes: name of a node -> how many of the jobs failed there, most first; of several the first.
    """

    name: str
    application: str
    exit_code: int | None
    cause: str
    said: str
    job_ids: tuple[str, ...]
    example: Mapping[str, Any]
    nodes: Mapping[str, int] = field(default_factory=dict)

    @property
    def by_parent(self) -> bool:
        """They failed because a parent did: they come back when that is reset."""
        return self.cause.startswith("parent ")

    @property
    def where(self) -> str:
        """For people: the node, if it is one, or the one where far more failed than elsewhere; else how many."""
        if not self.nodes:
            return ""
        name, most = next(iter(self.nodes.items()))
        others = len(self.nodes) - 1
        if not others:
            return name
        if most * (others + 1) < _STANDS_OUT * sum(self.nodes.values()):
            return f"{others + 1} nodes"
        return f"{name} ({most:,}), {others} other{'s' if others > 1 else ''}"

    def record(self) -> dict[str, Any]:
        """As plain data for `--json`."""
        return {
            "group": self.name,
            "jobs": len(self.job_ids),
            "application": self.application,
            "exit_code": self.exit_code,
            "cause": self.cause,
            "said": self.said,
            "nodes": dict(self.nodes),
            "example": self.example["job_id"],
            "example_name": self.example.get("name", ""),
            "example_message": self.example.get("message", ""),
        }


def group(jobs: Iterable[Mapping[str, Any]]) -> list[Group]:
    """The groups of failed jobs (values of `FIELDS`), the largest first."""
    alike: dict[tuple[str, int | None, str], list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
    for job in jobs:
        cause, said = parts(job.get("message", ""))
        if cause.startswith("parent "):
            cause, said = "parent failed, was killed or deleted", ""
        alike[job.get("application", ""), job.get("exit_code"), cause].append((said, job))
    groups = []
    for (application, code, cause), members in alike.items():
        common = join(said for said, _ in members)
        by_text: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for said, job in members:
            by_text[common[said]].append(job)
        groups += [_group(application, code, cause, said, found) for said, found in by_text.items()]
    return sorted(groups, key=lambda one: (-len(one.job_ids), one.name))


def _group(application: str, code: int | None, cause: str, said: str, jobs: list[Mapping[str, Any]]) -> Group:
    digest = hashlib.sha256("\0".join((application, str(code), cause, said)).encode()).hexdigest()
    nodes = Counter(name for job in jobs if (name := job.get("node", "")))
    by_count = dict(sorted(nodes.items(), key=lambda item: (-item[1], item[0])))
    return Group(digest[:8], application, code, cause, said, tuple(job["job_id"] for job in jobs), jobs[0], by_count)
