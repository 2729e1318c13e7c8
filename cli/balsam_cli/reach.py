"""Whether launchers on the nodes of a batch system reach the services of a site."""

from __future__ import annotations

import functools
import ipaddress
import socket

from balsam.addresses import parse_address
from balsam.errors import BalsamError
from balsam.site import Site
from balsam_scheduler.batch import calls
from balsam_scheduler.batch.calls import Call

_SECONDS = 5.0
_NODES = {"slurm": Call(("sinfo", "-h", "-N", "-o", "%n"))}
"""Batch system -> what prints the host names of its nodes, one a line."""


def unreachable(site: Site, batch_system: str, run: calls.Run | None = None) -> str:
    """What keeps launchers on its nodes from the services, and what to do; empty: nothing that is known.

    Args:
        site: the site.
        batch_system: its name.
        run: runs commands; None: as they are.
    """
    if batch_system in ("", "local") or not site.is_own or site.endpoint() is not None:
        return ""  # who comes by the port sees that it is there
    host, listen = socket.gethostname(), site.settings.listen
    if listen and not _is_loopback(parse_address(listen, "listen").host):
        return ""
    if _are_here(batch_system, host, run or functools.partial(calls.run, seconds=_SECONDS)):
        return ""
    where = f"at {listen}, where only this host ({host}) reaches them" if listen else f"on a Unix socket of {host} only"
    return (
        f"the services of this site listen {where}: launchers on other hosts do not reach them; have them listen with "
        f"`balsam server --listen {host}:7443`, then `balsam down` and `balsam up`"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _are_here(batch_system: str, host: str, run: calls.Run) -> bool:
    """Whether all nodes of a batch system are this host; where it does not say, they are taken for others."""
    if batch_system not in _NODES:
        return False
    try:
        output = run(_NODES[batch_system])
    except BalsamError:
        return False
    names = {name.partition(".")[0] for name in output.out.split()}
    return output.code == 0 and names == {host.partition(".")[0]}
