"""The job stores of a site: one, or several over one PostgreSQL. Their names, which of them live, and which to ask.

The first is ``jobstore``, the others ``jobstore-2``, ``jobstore-3``, ...: so their sockets, locks and logs are called,
and what they say of themselves. Who asks needs to know no number: which there are is seen in the run directory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from balsam.site import Site

FIRST = "jobstore"
MOST = 8
"""So many a site may have: they take turns to commit, and each has ten connections to the database."""
OTHER_STORE = "OTHER_STORE"
"""Reason of an Unavailable where a session belongs to another job store, which its `field` names."""

_LOCK = re.compile(r"jobstore-(\d+)\.lock")


def name(number: int) -> str:
    """The name of a job store, by its number from 1."""
    return FIRST if number == 1 else f"{FIRST}-{number}"


def number(service: str) -> int:
    """The number of a job store, by its name."""
    return int(service.rpartition("-")[2]) if service != FIRST else 1


def is_store(service: str) -> bool:
    """Whether a service is a job store."""
    return service == FIRST or service.startswith(f"{FIRST}-")


def renewals(service: str) -> str:
    """The name of the socket on which a job store takes renewals of sessions."""
    return service.replace(FIRST, "renewals", 1)


def known(site: Site) -> list[str]:
    """Those that have ever run, in order; the first always. Over TLS: those that there should be."""
    if (endpoint := site.endpoint()) is not None:
        return endpoint.services
    try:
        entries = os.listdir(site.run)
    except OSError:
        return [FIRST]
    numbers = sorted(int(found[1]) for entry in entries if (found := _LOCK.fullmatch(entry)))
    return [FIRST, *map(name, numbers)]


def is_alive(site: Site, service: str) -> bool:
    """Whether the process of a job store runs; it may not answer yet. Over TLS nobody knows: it may."""
    from balsam import locks  # one job store, the usual case, is not asked for

    if site.endpoint() is not None:
        return True
    try:
        return locks.holder(site.run / f"{service}.lock") is not None
    except OSError:
        return False


def choose(site: Site, avoid: Collection[str] = (), prefer: str = "", turn: int = 0) -> str:
    """One of those that live; processes spread over them by their ids.

    Args:
        site: the site.
        avoid: chosen only where there is no other.
        prefer: chosen if it lives.
        turn: spreads what one process does several times.
    """
    names = known(site)
    if len(names) == 1:
        return FIRST
    alive = [service for service in names if is_alive(site, service)]
    if prefer in alive:
        return prefer
    left = [service for service in alive if service not in avoid] or alive or [FIRST]
    return left[(os.getpid() + turn) % len(left)]


def expected(site: Site) -> bool:
    """Whether it is worth waiting for one: some said that they run, and did not say that they stopped."""
    return site.endpoint() is not None or any(map(site.read_info, known(site)))
