"""Pre- and post-processing scripts: their environment, their log, and what it means how they end."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from balsam import failpoints
from balsam.commands import (
    POSTPROCESS_LOG,
    PREPROCESS_LOG,
    base_environment,
    describe_exit,
    job_variables,
    read_tail,
    script_command,
    script_variables,
)
from balsam.processes import oom_kills
from balsam.states import State
from balsam.v1.lease_pb2 import Grant, Program
from balsam_scheduler.limits import Limit, TimedOut
from balsam_scheduler.programs import Call, CannotStart, Runner, open_output


class StepFailed(Exception):
    """A step of a job failed; the text says why, for people."""


@dataclass(frozen=True)
class Script:
    """A script of a job.

    Attributes:
        title: what people call it: ``preprocess`` or ``postprocess``.
        command: its command line.
        log_name: the file in the working directory that takes its output.
        error: it is called to handle RUN_ERROR.
        timeout: it is called to handle RUN_TIMEOUT.
    """

    title: str
    command: str
    log_name: str
    error: bool = False
    timeout: bool = False


def script_for(state: State, program: Program) -> Script:
    """The script that a job in `state` needs."""
    if state is State.STAGED_IN:
        return Script("preprocess", program.preprocess, PREPROCESS_LOG)
    return Script(
        "postprocess",
        program.postprocess,
        POSTPROCESS_LOG,
        error=state is State.RUN_ERROR,
        timeout=state is State.RUN_TIMEOUT,
    )


def environment(script: Script, grant: Grant, site_path: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """All variables of a script; `environ` are those of the process that runs it."""
    base = base_environment(environ)
    own = job_variables(
        grant.job, site_path=site_path, attempt=grant.script_attempt, token=grant.token, path=base["PATH"]
    )
    return base | own | script_variables(timeout=script.timeout, error=script.error)


def run_script(
    script: Script, grant: Grant, python: str, directory: Path, site_path: Path, runner: Runner, limit: Limit
) -> None:
    """Runs a script in the working directory.

    Args:
        script: the script.
        grant: its job.
        python: interpreter for `.py` files.
        directory: the working directory.
        site_path: the site.
        runner: runs it.
        limit: its time limit.

    Raises:
        StepFailed: it cannot be started, ended with another code than 0, or passed its limit.
        Stopped: it was stopped on demand.
        ValueError: its command does not split into words.
        OSError: its log cannot be written.
    """
    variables = environment(script, grant, site_path, os.environ)
    command = script_command(script.command, python, variables)
    log_file = directory / script.log_name
    output = open_output(log_file)
    try:
        start = os.fstat(output).st_size
        killed_before = oom_kills()
        call = Call(command, directory, variables, output, grant.job.job_id, grant.script_attempt)
        code = runner.run(call, limit)
        failpoints.hit("scheduler.after-script")
    except CannotStart as error:
        raise StepFailed(f"{script.title} cannot be started: {error}") from None
    except TimedOut:
        raise StepFailed(
            f"{script.title} was stopped at its limit of {limit.seconds:g} s (the setting script_timeout_seconds)"
            + last_lines(log_file, start)
        ) from None
    finally:
        os.close(output)
    if code != 0:
        ended = describe_exit(code, out_of_memory=oom_kills() > killed_before)
        raise StepFailed(f"{script.title} failed: {ended}{last_lines(log_file, start)}")


def last_lines(log_file: Path, start: int) -> str:
    """What a program wrote last into its log, as the end of a message; empty if nothing."""
    tail = read_tail(log_file, since=start)
    return f"\n{tail}" if tail else ""
