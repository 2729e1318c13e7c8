"""From a leased job and its nodes to what a node agent is told to start. No I/O but what a docstring names."""

from __future__ import annotations

import functools
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from balsam.commands import command_line, job_variables, output_name, run_variables, split, with_envscript
from balsam.errors import ValidationError
from balsam.v1 import job_pb2
from balsam_launcher.frames import Order, Start
from balsam_launcher.leased import LeasedJob
from balsam_launcher.mpi import Mpi, MpiRun, NoMpi, aborting_python, has_mpi4py

_has_mpi4py = functools.cache(has_mpi4py)


@dataclass(frozen=True)
class Surroundings:
    """What all runs of a launcher have in common.

    Attributes:
        site_path: the site.
        base: environment that the agent gives to every run.
        nodes: names of the launcher's nodes.
        job_mode: the launcher's mode.
        mpi: the MPI run command.
        local: all nodes are this host.
    """

    site_path: Path
    base: dict[str, str]
    nodes: Sequence[str]
    job_mode: str
    mpi: Mpi | NoMpi
    local: bool = True


def make_start(leased: LeasedJob, around: Surroundings) -> Start:
    """What the agent is told.

    Raises:
        ValidationError: the job cannot be run here; says why.
    """
    job = leased.job
    if job.gpus_per_rank:
        raise ValidationError(f"gpus_per_rank = {job.gpus_per_rank:g}: this launcher has no GPUs to assign")
    names = [around.nodes[node] for node in leased.nodes]
    variables = job_variables(
        job, site_path=around.site_path, attempt=job.attempt, token=leased.token, path=around.base["PATH"]
    )
    variables.update(run_variables(names, len(around.nodes), around.job_mode))
    environ = ChainMap(variables, around.base)
    words = command_line(leased.program, job, environ)
    envscript = leased.program.envscript if leased.program is not None else ""
    needs, ignore_sigpipe = "", False
    if leased.need.mpi:
        words = _script_words(leased, words)
        # Behind an envscript, PATH is not known before.
        needs = "" if envscript else words[0]
    command = with_envscript(words, envscript, environ)
    if leased.need.mpi:
        if isinstance(around.mpi, NoMpi):
            raise ValidationError(f"an MPI run needs an MPI run command: {around.mpi.reason}")
        run = _mpi_run(job, [] if around.local else names, variables)
        command = around.mpi.command(run, command)
        ignore_sigpipe = around.mpi.ignore_sigpipe
    output = output_name(job.name)
    # On the only node the agent keeps the books, and starts the next one when there is room.
    share = leased.need.share if len(around.nodes) == 1 else 0.0
    return Start(
        Order.START, leased.run_id, command, variables, job.working_directory, output, needs, ignore_sigpipe, share
    )


def _script_words(leased: LeasedJob, words: list[str]) -> list[str]:
    # Only where the interpreter is ours to choose: the first word of the user's command was a script.
    if leased.program is None or words[0] != leased.program.python:
        return words
    ranks = (leased.job.num_nodes or 1) * (leased.job.ranks_per_node or 1)
    return aborting_python(words, ranks, _has_mpi4py)


def _mpi_run(job: job_pb2.Job, nodes: Sequence[str], variables: Mapping[str, str]) -> MpiRun:
    return MpiRun(
        node_count=job.num_nodes or 1,
        ranks_per_node=job.ranks_per_node or 1,
        nodes=tuple(nodes),
        threads_per_rank=job.threads_per_rank or 1,
        threads_per_core=job.threads_per_core or 1,
        depth=job.cpu_affinity == job_pb2.Job.DEPTH,
        flags=tuple(split(job.mpi_flags)),
        variables=tuple(variables),
    )
