"""`balsam launcher`: runs jobs, here and now."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from balsam_cli import options
from balsam_cli.command import Command
from balsam_cli.terminal import note

if TYPE_CHECKING:
    from balsam.site import Site


@click.command(cls=Command)
@click.option("--consume-all", is_flag=True, help="Take the jobs of all workflows; the default.")
@options.wf_filter
@click.option(
    "--job-mode",
    type=click.Choice(("auto", "mpi", "serial")),
    default="auto",
    help="auto: serial and MPI jobs at once (default); mpi: each job on whole nodes; serial: serial jobs only.",
)
@click.option(
    "--time-limit-minutes",
    type=click.FloatRange(0, min_open=True),
    metavar="M",
    help="Stop after so long; default: what the batch system leaves, else never.",
)
@click.option("--limit-nodes", type=click.IntRange(1), metavar="N", help="Use at most N nodes.")
@click.option("--offset-nodes", type=click.IntRange(0), default=0, metavar="N", help="Leave out the first N nodes.")
@click.option(
    "--gpus-per-node", type=click.IntRange(0), metavar="G", help="GPUs of each node; default: those that are found."
)
@click.option(
    "--trust",
    multiple=True,
    metavar="USER",
    help="Run the jobs of this user, too: their commands run in your account. Repeatable.",
)
@click.option("--persistent", is_flag=True, help="Stay when there is nothing to do.")
@click.option("--print-command", is_flag=True, help="Print nodes, time left and commands, and exit.")
@click.option("--json", "as_json", is_flag=True, help="With --print-command: print one JSON document.")
@click.option("--num-transition-threads", hidden=True, help="Of Balsam 0.x: the scheduler does that work.")
def command(
    consume_all: bool,
    wf_filter: str,
    job_mode: str,
    time_limit_minutes: float | None,
    limit_nodes: int | None,
    offset_nodes: int,
    gpus_per_node: int | None,
    trust: tuple[str, ...],
    persistent: bool,
    print_command: bool,
    as_json: bool,
    num_transition_threads: str | None,
) -> None:
    """Be a launcher: run the jobs of the site on the nodes of this allocation, or on this host.

    It exits when nothing is left that it could run. Ctrl-C or SIGTERM stops it
    cleanly: its runs end as RUN_TIMEOUT and are run again by another launcher.

    With BALSAM_LAUNCH_ID in its environment it belongs to that batch launch, and
    takes the jobs that are bound to it too.

    \b
      balsam launcher
      balsam launcher --wf-filter 'scan*' --time-limit-minutes 50
    """
    if consume_all and wf_filter:
        raise click.UsageError("--consume-all and --wf-filter exclude each other")
    if as_json and not print_command:
        raise click.UsageError("--json goes with --print-command: what a launcher does shows in `balsam ls --json`")
    if num_transition_threads is not None:
        note("note: --num-transition-threads has no effect: the scheduler does that work (`balsam up`)")

    from balsam.site import find_site
    from balsam_cli import access

    site = find_site()
    if not print_command:
        access.must_run(site)
        _warn_of_nothing(site, wf_filter)
    values = {
        "--wf-filter": wf_filter,
        "--job-mode": job_mode,
        "--time-limit-minutes": time_limit_minutes,
        "--limit-nodes": limit_nodes,
        "--offset-nodes": offset_nodes,
        "--gpus-per-node": gpus_per_node,
    }
    words = [f"{name}={value}" for name, value in values.items() if value not in (None, "")]
    flags = {"--persistent": persistent, "--print-command": print_command, "--json": as_json}
    words += [flag for flag, given in flags.items() if given]
    words += [f"--trust={user}" for user in trust]
    from balsam_launcher.early import hold_signals

    # The launcher takes the place of this process: signals and the exit status are its own.
    hold_signals()
    os.execv(sys.executable, [sys.executable, "-m", "balsam_launcher", f"--site={site.path}", *words])


def _warn_of_nothing(site: Site, workflow: str) -> None:
    """Says when no job is in the workflow: most often it is misspelled."""
    if not workflow:
        return
    # In a child: gRPC's threads complain when the process that they belong to becomes another program.
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        _count(site, workflow)
    except BaseException:
        os._exit(1)  # the launcher will say what is wrong
    os._exit(0)


def _count(site: Site, workflow: str) -> None:
    from balsam_cli import access, selection

    store = access.open_store(site)
    if not selection.count_jobs(store, [selection.exact_or_glob("workflow", workflow)]):
        note(f"note: {selection.why_none(store, None, workflow)}")
