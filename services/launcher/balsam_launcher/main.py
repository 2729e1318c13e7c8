"""A launcher process: signals, log, its own server, and what `--print-command` shows."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from dataclasses import replace

from balsam import ledger
from balsam.collector import collect_rarely
from balsam.endpoints import as_seen_here
from balsam.errors import BalsamError
from balsam.logs import open_log
from balsam.rpc import Connection
from balsam.serving import Service, owner_only
from balsam.site import Site
from balsam.v1.launcher_service_pb2_grpc import add_LauncherServiceServicer_to_server
from balsam_launcher import (
    cancelled,
    early,
    leftover,
    mpi,
    of_launch,
    showing,
    starting,
    step_keeper,
    time_left,
    traces,
)
from balsam_launcher.launcher import Launcher
from balsam_launcher.nodes import Node, Wanted, find_nodes, select
from balsam_launcher.options import LauncherOptions
from balsam_launcher.server import LauncherService

log = logging.getLogger("balsam.launcher")


def run(site: Site, options: LauncherOptions) -> int:
    """Is a launcher, until there is nothing to do, its time is up, or it is told to stop; returns the exit status.

    Raises:
        BalsamError: it cannot start (an option is wrong, the job store is not there or refuses), or cannot go on.
    """
    site = as_seen_here(site)
    site.make_run()
    traces.tidy(site)
    open_log(site, traces.log_name(site))
    if not site.is_own:
        _report_for_the_dead(site)
    with of_launch.recorded(site, options.launch) as end:
        _run(site, options, end)
    return 0


def _run(site: Site, options: LauncherOptions, end: of_launch.End) -> None:
    nodes = _nodes(site, options)
    command = mpi.of_settings(site.settings, os.environ)
    left = _time_left(options)
    log.info("nodes: %s; mode %s; MPI: %s", showing.nodes(nodes), options.job_mode, showing.mpi(command))
    margin = site.settings.stop_margin_seconds
    if left is not None:
        log.log(logging.WARNING if left.unknown else logging.INFO, "time left: %s", time_left.describe(left, margin))
        options = _limited(options, time_left.usable(left, margin))
    _warn_of_little_time(options, left.source if left is not None else "", margin)
    starts = starting.starter(nodes, command, os.environ, site.settings.launcher_address, options.job_mode)
    collect_rarely()
    asyncio.run(_serve(site, options, nodes, command, starts, end))
    early.ignore_signals()


def _warn_of_little_time(options: LauncherOptions, source: str, margin: float) -> None:
    minutes = options.time_limit_minutes
    line = time_left.too_short(None if minutes is None else minutes * 60, source, margin)
    if line:
        log.warning("%s", line)
        print(f"balsam launcher: {line}", file=sys.stderr)


def _report_for_the_dead(site: Site) -> None:
    """Of launchers of this user, which the scheduler of somebody else's site does not see."""
    connection = Connection(site, retry_seconds=0)
    try:
        ledger.recover(site, connection)
    except BalsamError as error:
        log.warning("what launchers before could not report waits for the next one: %s", error)
    finally:
        connection.close()


def would_run(site: Site, options: LauncherOptions) -> showing.Shown:
    """What this launcher would run on: its nodes, and how it would start MPI runs and serial jobs.

    Raises:
        BalsamError: an option or a setting is wrong.
    """
    nodes = _nodes(site, options)
    left = _time_left(options)
    command = mpi.of_settings(site.settings, os.environ)
    if left is None:
        given = options.time_limit_minutes or 0.0
        limit = 60 * given, f"{given:g} minutes (--time-limit-minutes)"
        return showing.shown(site, nodes, options.job_mode, command, *limit)
    margin = site.settings.stop_margin_seconds
    limits = time_left.usable(left, margin), time_left.describe(left, margin)
    return showing.shown(site, nodes, options.job_mode, command, *limits)


def _nodes(site: Site, options: LauncherOptions) -> list[Node]:
    settings = site.settings
    gpus = options.gpus_per_node if options.gpus_per_node is not None else settings.gpus_per_node or None
    wanted = Wanted(settings.cores_per_node, gpus)
    found = find_nodes(os.environ, wanted, node_file=settings.node_file)
    return select(found, limit=options.limit_nodes, offset=options.offset_nodes)


def _time_left(options: LauncherOptions) -> time_left.TimeLeft | None:
    """What the batch system leaves; None: the time limit was given, and it is not asked."""
    return time_left.find(os.environ) if options.time_limit_minutes is None else None


def _limited(options: LauncherOptions, seconds: float | None) -> LauncherOptions:
    return options if seconds is None else replace(options, time_limit_minutes=seconds / 60)


async def _serve(
    site: Site,
    options: LauncherOptions,
    nodes: list[Node],
    command: mpi.Mpi | mpi.NoMpi,
    starts: starting.Starter | None,
    end: of_launch.End,
) -> None:
    name = f"launcher-{os.getpid()}"
    launcher = Launcher(site, options, nodes, command, starts, address=site.address(name))
    loop = asyncio.get_running_loop()
    for number in early.STOP_SIGNALS:
        # What was ignored stays so: `nohup`, and Ctrl-C for what runs in the background of a script.
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, launcher.stop, number.name)
    service = Service(site, name, owner_only(site))
    add_LauncherServiceServicer_to_server(LauncherService(launcher), service.server)
    try:
        await launcher.open()
        await service.start()
        async with (
            _progress(launcher),
            step_keeper.beside(site, options, on_hopeless=launcher.fail),
            cancelled.heard_of(site, options.launch, on_cancelled=launcher.stop),
        ):
            await launcher.done.wait()
    finally:
        end.stopped_by = launcher.stopping
        await launcher.close()
        await service.stop()
    log.info("%d runs ended, %d with errors", launcher.outcomes.ended, launcher.outcomes.errors)
    for node, reason in launcher.set_aside.items():
        print(f"balsam launcher: {nodes[node].name} was set aside: {reason}", file=sys.stderr)
    if launcher.failure:
        raise BalsamError(launcher.failure)
    limits = leftover.Limits(
        len(nodes),
        launcher.minutes_left,
        options.job_mode == "serial",
        [(node.cores, len(node.gpus)) for node in nodes],
        launcher.stopping,
    )
    for line in await asyncio.to_thread(leftover.find, site, options, limits):
        log.warning("%s", line)
        print(f"balsam launcher: {line}", file=sys.stderr)


def _progress(launcher: Launcher) -> contextlib.AbstractAsyncContextManager[None]:
    if not launcher.options.progress:
        return contextlib.nullcontext()
    from balsam_launcher.progress import shown  # rich costs 100 ms, which nobody pays who does not see it

    return shown(launcher)
