"""The slow path: what is done for a job in each state that needs work."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from balsam.commands import (
    ENV_ATTEMPT,
    ENV_JOB_ID,
    POSTPROCESS_LOG,
    PREPROCESS_LOG,
    clean_tail,
    describe_exit,
    helper_environment,
    output_name,
)
from balsam.directories import by_descriptor, open_below, open_directory, stranger
from balsam.errors import BalsamError
from balsam.site import Site
from balsam.states import State
from balsam.v1.lease_pb2 import Grant, Program
from balsam_scheduler.globbing import split_patterns
from balsam_scheduler.limits import Limit, Stopped, TimedOut
from balsam_scheduler.linking import link_parents
from balsam_scheduler.parents import FindParents
from balsam_scheduler.places import hide_password
from balsam_scheduler.programs import Call, CannotStart, Runner
from balsam_scheduler.scripts import StepFailed, run_script, script_for
from balsam_scheduler.staging import CopyFailed, Tools, stage_in, stage_out

_SAID_BYTES = 1_000_000
_LINGER_SECONDS = 2.0  # rsync may end before its ssh has passed on what the other host says

log = logging.getLogger("balsam.scheduler")


@dataclass(frozen=True)
class Outcome:
    """What became of a step: the state that the job enters, and why."""

    state: State
    message: str = ""


@dataclass(frozen=True)
class Step:
    """One step of one job."""

    grant: Grant
    program: Program
    limit: Limit


class Steps:
    """Does steps, from any thread.

    Args:
        site: the site.
        runner: runs scripts and the programs that copy files.
        find_parents: tells where parents have their files.
    """

    def __init__(self, site: Site, runner: Runner, find_parents: FindParents) -> None:
        self._site = site
        self._runner = runner
        self._find_parents = find_parents
        self._by_state: dict[State, Callable[[Step], Outcome]] = {
            State.READY: self._stage_in,
            State.STAGED_IN: self._preprocess,
            State.RUN_DONE: self._postprocess,
            State.POSTPROCESSED: self._stage_out,
            State.RUN_ERROR: self._handle,
            State.RUN_TIMEOUT: self._handle,
        }

    def do(self, step: Step) -> Outcome:
        """Does what a job's state asks for. Whatever goes wrong is the outcome of this one job.

        Raises:
            Stopped: the step was stopped on demand.
        """
        state = State(step.grant.job.state)
        title = _TITLES.get(state, state.name)
        copies = state in _STAGING
        step.limit.begin(self._site.settings.staging_timeout_seconds if copies else None)
        try:
            return self._by_state[state](step)
        except Stopped:
            raise
        except (StepFailed, CopyFailed) as error:
            reason = str(error)
        except TimedOut:
            setting = "staging_timeout_seconds" if copies else "script_timeout_seconds"
            reason = f"{title} was stopped at its limit of {step.limit.seconds:g} s (the setting {setting})"
        except OSError as error:
            reason = f"{title} failed: {describe_os_error(error)}"
        except (ValueError, BalsamError) as error:
            reason = f"{title} failed: {error}"
        except Exception as error:
            log.exception("job %s in %s", step.grant.job.job_id, state.name)
            reason = f"{title} failed: {type(error).__name__}: {error} (see the scheduler's log)"
        return Outcome(State.FAILED, hide_password(reason))

    # The steps

    def _stage_in(self, step: Step) -> Outcome:
        job = step.grant.job
        with self._working_directory(step) as directory:
            if job.stage_in_url:
                stage_in(job.stage_in_url, directory, job.job_id, self._tools(step))
            patterns = split_patterns(job.input_files)
            if patterns and job.parents:
                parents = self._find_parents(job.parents, step.limit)
                own_files = {PREPROCESS_LOG, POSTPROCESS_LOG, output_name(job.name)}
                link_parents(directory, parents, patterns, own_files, step.limit.check)
        return Outcome(State.STAGED_IN)

    def _preprocess(self, step: Step) -> Outcome:
        self._run_script(step)
        return Outcome(State.PREPROCESSED)

    def _postprocess(self, step: Step) -> Outcome:
        self._run_script(step)
        return Outcome(State.POSTPROCESSED)

    def _handle(self, step: Step) -> Outcome:
        """The script must move the job by itself. Where it has, the job store drops what is said here."""
        self._run_script(step)
        job = step.grant.job
        before = f": {job.message}" if job.message else ""
        return Outcome(
            State.FAILED,
            f"postprocess handled {State(job.state).name} and left the state as it was{before}",
        )

    def _stage_out(self, step: Step) -> Outcome:
        job = step.grant.job
        patterns = split_patterns(job.stage_out_files)
        with self._working_directory(step, make=False) as directory:
            left_out = stage_out(job.stage_out_url, directory, patterns, job.job_id, self._tools(step))
        return Outcome(State.JOB_FINISHED, _about(left_out))

    # What they share

    @contextlib.contextmanager
    def _working_directory(self, step: Step, *, make: bool = True) -> Iterator[Path]:
        """The working directory, made where there is none, by a path that stays its own whatever others put there.

        Links among the directories of other jobs must not lead this one elsewhere; one of the user's choice may be.
        """
        job = step.grant.job
        directory = Path(job.working_directory)
        if job.user_workdir:
            descriptor = open_directory(directory, make=make)
        elif directory.is_relative_to(self._site.data):
            below = directory.relative_to(self._site.data)
            descriptor = open_below(self._site.data, os.fspath(below), make=make)
        else:
            raise StepFailed(f"the working directory {directory} is not under {self._site.data}")
        with by_descriptor(descriptor, directory) as here:
            # What is only read may be of whoever ran the job.
            other = make and not job.user_workdir and stranger(descriptor, self._site.data)
            if other:
                raise StepFailed(f"the working directory {directory} belongs to {other}")
            yield here

    def _run_script(self, step: Step) -> None:
        script = script_for(State(step.grant.job.state), step.program)
        with self._working_directory(step) as directory:
            run_script(script, step.grant, step.program.python, directory, self._site.path, self._runner, step.limit)

    def _tools(self, step: Step) -> Tools:
        def run(command: list[str], directory: Path, standard_input: str) -> None:
            self._run_program(step, command, directory, standard_input)

        return Tools(run, step.limit.check)

    def _run_program(self, step: Step, command: list[str], directory: Path, standard_input: str) -> None:
        """Runs a program that copies files; what it says is part of the reason where it fails."""
        mark = {ENV_JOB_ID: step.grant.job.job_id, ENV_ATTEMPT: str(step.grant.script_attempt)}
        with tempfile.TemporaryFile() as output:
            call = Call(
                command,
                directory,
                helper_environment(os.environ) | mark,
                output.fileno(),
                step.grant.job.job_id,
                step.grant.script_attempt,
                standard_input.encode(),
                linger_seconds=_LINGER_SECONDS,
            )
            try:
                code = self._runner.run(call, step.limit)
            except CannotStart as error:
                raise StepFailed(f"{command[0]} cannot be started: {error}") from None
            if code != 0:
                said = clean_tail(os.pread(output.fileno(), _SAID_BYTES, 0))
                name = "fsspec" if command[0] == sys.executable else command[0]
                raise CopyFailed(f"copying with {name} failed: {describe_exit(code)}\n{said}".rstrip(), code)


_STAGING = (State.READY, State.POSTPROCESSED)

_TITLES = {
    State.READY: "stage-in",
    State.STAGED_IN: "preprocess",
    State.RUN_DONE: "postprocess",
    State.POSTPROCESSED: "stage-out",
    State.RUN_ERROR: "postprocess",
    State.RUN_TIMEOUT: "postprocess",
}


def describe_os_error(error: OSError) -> str:
    """What the system says, and of which file."""
    text = error.strerror or str(error)
    # Where there are two, the second is the one that was to be written.
    file = error.filename2 or error.filename
    return f"{file}: {text}" if file else text


_MOST_NAMED = 10


def _about(left_out: list[str]) -> str:
    if not left_out:
        return ""
    more = len(left_out) - _MOST_NAMED
    names = ", ".join(left_out[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"not staged out, since they lead out of the working directory or are no plain files: {names}"
