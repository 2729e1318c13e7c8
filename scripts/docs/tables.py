"""The references of fields and settings, from the tables by which they are checked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from balsam.fields import APPLICATION_FIELDS, JOB_FIELDS, LAUNCH_FIELDS, Field, Phase
from balsam.settings import Settings

_WHEN = {
    Phase.ALWAYS: "",
    Phase.BEFORE_RUN: "not while it runs",
    Phase.CREATION: "never",
    Phase.NEVER: "read-only",
}


def fields_page() -> str:
    """The fields of jobs, applications and launches, as Markdown."""
    parts = [
        "# Fields",
        "The names are the same in Python (`BalsamJob(num_nodes=2)`), on the command line (`--num-nodes 2`), in job "
        "files, queries, JSON and [protos](protos.md). *Fixed* says when a field may not be changed.",
        "## Jobs",
        _fields(JOB_FIELDS),
        "## Applications",
        _fields(APPLICATION_FIELDS),
        "## Launches",
        _fields(LAUNCH_FIELDS),
    ]
    return "\n\n".join(parts) + "\n"


def _fields(table: Mapping[str, Field]) -> str:
    lines = ["| field | holds | default | | fixed |", "| --- | --- | --- | --- | --- |"]
    for field in table.values():
        cells = (f"`{field.name}`", field.kind.value, _value(field.default), field.doc, _WHEN[field.phase])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def settings_page() -> str:
    """The settings of a site, as Markdown."""
    lines = [
        "# Settings",
        "",
        "`SITE/settings.toml`, which `balsam init` writes with every key; read when a service or launcher starts. A "
        "key that does not exist is refused with the nearest that does.",
        "",
        "| setting | default | least | |",
        "| --- | --- | --- | --- |",
    ]
    for field in dataclasses.fields(Settings):
        least = field.metadata["least"]
        cells = (f"`{field.name}`", _value(field.default), "" if least is None else f"{least:g}", field.metadata["doc"])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    """A default, as people write it."""
    return "" if value in (None, "") else f"`{json.dumps(value)}`"
