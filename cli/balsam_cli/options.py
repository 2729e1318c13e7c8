"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

as_json: Callable[[F], F] = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
yes: Callable[[F], F] = click.option("--yes", "--force", "-y", "yes", is_flag=True, help="Do not ask; go ahead.")
workflow: Callable[[F], F] = click.option(
    "--wf",
    "--workflow",
    "--wf-filter",
    "workflow",
    metavar="W",
    help="Of this workflow: exact, or a glob with * or ?.",
)
wf_filter: Callable[[F], F] = click.option(
    "--wf-filter",
    "--wf",
    "--workflow",
    "wf_filter",
    metavar="W",
    default="",
    help="Take this workflow only: exact, or a glob with * or ?.",
)
