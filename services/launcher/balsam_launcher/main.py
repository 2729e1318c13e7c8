"""A launcher process: signals, log, its own server, and what `--print-command` shows."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys

from balsam.collector import collect_rarely
from balsam.errors import BalsamError
from balsam.logs import open_log
from balsam.serving import Service, owner_only
from balsam.site import Site
from balsam.v1.launcher_service_pb2_grpc import add_LauncherServiceServicer_to_server
from balsam_launcher import leftover, mpi, of_launch, traces
from balsam_launcher.launcher import Launcher
from balsam_launcher.nodes import Node, find_nodes, select
from balsam_launcher.options import LauncherOptions
from balsam_launcher.server import LauncherService

log = logging.getLogger("balsam.launcher")

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def run(site: Site, options: LauncherOptions) -> int:
    """Is a launcher, until there is nothing to do, its time is up, or it is told to stop; returns the exit status.

    Raises:
        BalsamError: it cannot start (an option is wrong, the job store is not there or refuses), or cannot go on.
    """
    nodes = _nodes(options)
    command = _mpi(site)
    site.make_run()
    traces.tidy(site)
    open_log(site, f"launcher-{os.getpid()}")
    log.info(
        "nodes: %s; mode %s; MPI: %s", ", ".join(node.name for node in nodes), options.job_mode, _mpi_text(command)
    )
    collect_rarely()
    with of_launch.recorded(site, options.launch):
        asyncio.run(_serve(site, options, nodes, command))
    return 0


def print_command(site: Site, options: LauncherOptions) -> str:
    """What this launcher would run on: its nodes, and how it would start MPI runs and serial jobs.

    Raises:
        BalsamError: an option or a setting is wrong.
    """
    nodes = _nodes(options)
    command = _mpi(site)
    lines = [
        f"nodes:  {', '.join(f'{node.name} ({node.cores} cores)' for node in nodes)}",
        f"mode:   {options.job_mode}",
    ]
    if options.job_mode != "mpi":
        lines.append("serial: COMMAND")
    if options.job_mode == "serial":
        return "\n".join(lines)
    if isinstance(command, mpi.NoMpi):
        return "\n".join([*lines, f"MPI:    none: {command.reason}"])
    words = command.command(mpi.MpiRun(node_count=len(nodes), ranks_per_node=2), ["COMMAND"])
    return "\n".join([*lines, f"MPI:    {' '.join(words)}    ({command.name}; here with ranks_per_node = 2)"])


def _nodes(options: LauncherOptions) -> list[Node]:
    found = find_nodes(gpus_per_node=options.gpus_per_node)
    return select(found, limit=options.limit_nodes, offset=options.offset_nodes)


def _mpi(site: Site) -> mpi.Mpi | mpi.NoMpi:
    return mpi.find(site.settings.mpi_command, os.environ.get("PATH", os.defpath))


def _mpi_text(command: mpi.Mpi | mpi.NoMpi) -> str:
    return f"none ({command.reason})" if isinstance(command, mpi.NoMpi) else f"{command.name} ({command.program})"


async def _serve(site: Site, options: LauncherOptions, nodes: list[Node], command: mpi.Mpi | mpi.NoMpi) -> None:
    name = f"launcher-{os.getpid()}"
    launcher = Launcher(site, options, nodes, command, address=site.address(name))
    loop = asyncio.get_running_loop()
    for number in _STOP_SIGNALS:
        # What was ignored stays so: `nohup`, and Ctrl-C for what runs in the background of a script.
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, launcher.stop, number.name)
    service = Service(site, name, owner_only(site))
    add_LauncherServiceServicer_to_server(LauncherService(launcher), service.server)
    try:
        await launcher.open()
        await service.start()
        async with _progress(launcher):
            await launcher.done.wait()
    finally:
        await launcher.close()
        await service.stop()
    log.info("%d runs ended, %d with errors", launcher.ended, launcher.errors)
    if launcher.failure:
        raise BalsamError(launcher.failure)
    limits = leftover.Limits(len(nodes), launcher.minutes_left, options.job_mode == "serial")
    for line in await asyncio.to_thread(leftover.find, site, options, limits):
        log.warning("%s", line)
        print(f"balsam launcher: {line}", file=sys.stderr)


def _progress(launcher: Launcher) -> contextlib.AbstractAsyncContextManager[None]:
    if not launcher.options.progress:
        return contextlib.nullcontext()
    from balsam_launcher.progress import shown  # rich costs 100 ms, which nobody pays who does not see it

    return shown(launcher)
