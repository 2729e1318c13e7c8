"""The services as children of this process, for systemd and containers: they live and end with it."""

from __future__ import annotations

import select
import signal
import subprocess
from types import FrameType

import click

from balsam.errors import SiteError
from balsam.site import Site
from balsam_cli import process, services
from balsam_cli.terminal import note

_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _Stop(Exception):
    """A signal asked us to stop."""


def _on_signal(number: int, _frame: FrameType | None) -> None:
    for one in _STOPS:
        signal.signal(one, signal.SIG_IGN)
    raise _Stop(signal.Signals(number).name)


def run_in_foreground(site: Site) -> int:
    """Runs the services until a signal comes or one of them ends. Returns the exit status.

    Raises:
        SiteError: they run already.
    """
    if any(services.find(site, service).state != "down" for service in services.services_of(site)):
        raise SiteError(f"the services of {site.path} run already; stop them with `balsam down` first")
    site.make_run()
    children: dict[services.Service, subprocess.Popen[bytes]] = {}
    for number in _STOPS:
        signal.signal(number, _on_signal)
    try:
        for service in services.services_of(site):
            children[service] = services.spawn(site, service, foreground=True)
            services.wait_until_up(site, service, children[service])
        click.echo(f"up: {site.path}")
        ended = _first_to_end(children)
        note(f"the {ended.title} ended with status {children[ended].wait()}; stopping")
        return 1
    except _Stop as stop:
        note(f"{stop}: stopping")
        return 0
    finally:
        for service in reversed(list(children)):
            process.stop(children[service].pid, service.module, services.STOP_SECONDS)
            children[service].wait()


def _first_to_end(children: dict[services.Service, subprocess.Popen[bytes]]) -> services.Service:
    import os

    poll = select.poll()
    handles = {os.pidfd_open(child.pid): service for service, child in children.items()}
    try:
        for handle in handles:
            poll.register(handle, select.POLLIN)
        return handles[poll.poll()[0][0]]
    finally:
        for handle in handles:
            os.close(handle)
