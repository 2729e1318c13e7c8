"""Adds jobs: completes their fields, sends them, and says when nobody will run them."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from balsam.client import Client
from balsam.errors import SiteError
from balsam.site import Site
from balsam_cli import progress
from balsam_cli.takers import NOBODY, Need, need_of, too_large, warning
from balsam_cli.terminal import note
from balsam_cli.why import asking

if TYPE_CHECKING:
    from balsam.v1 import session_pb2


def add(store: Client, jobs: Sequence[Mapping[str, Any]], *, quiet: bool = False) -> list[str]:
    """Adds all of these jobs (values by field) or none. Returns their ids, in order.

    Of many it shows on a terminal how far it has come, unless it shall be `quiet`.

    Raises:
        BalsamError: one was refused; the message says which and why.
    """
    complete = [{"job_id": str(uuid.uuid4()), **fields} for fields in jobs]
    with progress.bar("adding jobs", len(complete), progress.JOBS, quiet=quiet) as show:
        store.jobs.create(progress.Counted(complete, show))
    return [str(fields["job_id"]) for fields in complete]


def launchers(store: Client) -> list[session_pb2.Session]:
    """The launchers at work."""
    return asking.sessions(store).launchers


def warn_if_nobody_takes(store: Client, jobs: Sequence[Mapping[str, Any]]) -> bool:
    """Says on stderr when one of these jobs has no command, or when nobody could ever run it: at work or to come.

    Returns whether it said so.
    """
    if not all(job.get("application") or job.get("args") for job in jobs):
        note("note: this can never run: the job has no application and no args, so there is no command")
        return True
    takers, me = asking.takers_at_work(store), asking.me(store)
    needs = [need_of({**job, "owner": me}) for job in jobs]
    # Who is at work is asked first: most often they can, and nobody else needs to be asked for.
    if takers and not warning(needs, takers):
        return False
    # Most jobs need neither cores nor GPUs of their own, and to read the settings takes its time.
    site = asking.node_of_settings(store.site) if any(need.cores or need.gpus for need in needs) else None
    to_come = asking.takers_to_come(store, takers, site)
    expected = functools.cache(lambda: asking.expected_minutes(store))
    if to_come:
        needs = [replace(need, expected=expected().get(need.application)) for need in needs]
    text = warning(needs, [*takers, *to_come], site)
    if text == NOBODY:
        text = _too_large(store.site, needs, me) or text
    if text:
        from balsam_cli.policy_note import with_policy

        text = with_policy(text, store.site, jobs, expected)
    if text:
        note(f"note: {text}")
    return bool(text)


def _too_large(site: Site, needs: Sequence[Need], me: str) -> str:
    """What no launcher on this host could ever run where launchers run nowhere else; empty: it could, or others do."""
    from balsam_cli.policy_note import queues_of
    from balsam_cli.why.collecting import place

    large = [need for need in needs if need.nodes > 1 or need.cores or need.gpus]
    try:
        if not large or not site.is_own or queues_of(site) is not None:
            return ""
    except SiteError:
        return ""  # a policy that cannot be read is told of later
    found = place(site, me)
    return too_large(large, found.here) if found.here is not None and not found.batch_system else ""


def hint_of(ids: Sequence[str]) -> str:
    """What is useful next when these jobs were added and somebody runs them."""
    if len(ids) > 1:
        return "`balsam ls --watch` shows how they get on"
    return f"`balsam logs -f {ids[0][:8]}` follows its output, `balsam why {ids[0][:8]}` says what it waits for"
