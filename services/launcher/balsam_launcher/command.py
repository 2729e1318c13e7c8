"""The command line of a launcher process."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from balsam import failpoints
from balsam.errors import BalsamError
from balsam.fields import JOB_MODES
from balsam.site import open_site
from balsam_launcher.main import run, would_run
from balsam_launcher.options import ENV_LAUNCH_ID, LauncherOptions, launch_of
from balsam_launcher.run_commands import TEMPLATES


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    given = _parser().parse_args(arguments)
    try:
        failpoints.arm("launcher")
        options = LauncherOptions(
            job_mode=given.job_mode,
            workflow_filter=given.wf_filter,
            time_limit_minutes=given.time_limit_minutes,
            limit_nodes=given.limit_nodes,
            offset_nodes=given.offset_nodes,
            gpus_per_node=given.gpus_per_node,
            persistent=given.persistent,
            progress=sys.stderr.isatty(),
            launch=launch_of(os.environ),
            trusted_users=tuple(given.trust),
        )
        site = open_site(given.site)
        if given.print_command:
            shown = would_run(site, options)
            print(json.dumps(shown.record(), indent=2) if given.json else shown.text)
            return 0
        return run(site, options)
    except KeyboardInterrupt:  # in the moment after the loop that took it
        return 130
    except BalsamError as error:
        print(f"balsam launcher: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="balsam launcher",
        description="Runs jobs on the nodes of this allocation, or on this host, until there is nothing more to do.",
        epilog=f"The setting mpi_command may be auto, {', '.join(TEMPLATES)}. "
        f"{ENV_LAUNCH_ID} in the environment names the batch launch that it belongs to.",
    )
    parser.add_argument("--site", required=True, help="directory of the site")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--wf-filter", default="", metavar="W", help="only jobs of this workflow (exact, or a glob)")
    which.add_argument("--consume-all", action="store_true", help="jobs of all workflows (the default)")
    parser.add_argument("--job-mode", choices=JOB_MODES, default="auto", help="what is run, and how (default: auto)")
    parser.add_argument("--time-limit-minutes", type=float, metavar="M", help="stop after so long [minutes]")
    parser.add_argument("--limit-nodes", type=int, metavar="N", help="use at most so many nodes")
    parser.add_argument("--offset-nodes", type=int, default=0, metavar="N", help="leave out the first so many nodes")
    parser.add_argument(
        "--gpus-per-node", type=int, metavar="G", help="GPUs of each node (default: those that are found)"
    )
    parser.add_argument(
        "--trust", action="append", default=[], metavar="USER", help="run the jobs of this user, too, in your account"
    )
    parser.add_argument("--persistent", action="store_true", help="stay when there is nothing to do")
    parser.add_argument("--print-command", action="store_true", help="show nodes, time and commands, and exit")
    parser.add_argument("--json", action="store_true", help="with --print-command: as one JSON document")
    return parser
