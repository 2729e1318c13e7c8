"""`balsam run`: a site, its services, one job, a launcher for it, its output, its exit code."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any

from balsam.client import Client
from balsam.commands import output_name
from balsam.errors import BalsamError, NotAllowed, SiteError
from balsam.fields import JOB_FIELDS
from balsam.site import ENV_JOB_TOKEN, ENV_SITE, Site, find_site, make_site
from balsam.states import RUNNABLE, State
from balsam_cli import access, known_sites, services
from balsam_cli.follow import JobEnd
from balsam_cli.job_output import JobOutput, copy_output
from balsam_cli.terminal import note

_LEAVE_SECONDS = 10.0
"""How long to wait for the launcher to exit by itself after the job."""
_SETTLE_SECONDS = 1.0
"""How long after our launcher has exited another one may take to lease the job; then, how often that is looked at."""


class Interrupted(KeyboardInterrupt):
    """A signal came; its number is the argument."""


def run_one(fields: Mapping[str, Any], words: Sequence[str]) -> int:
    """Runs a command as a job and copies its output to stdout. Returns the exit status of the whole.

    Raises:
        NotAllowed: a job has asked for it.
    """
    if os.environ.get(ENV_JOB_TOKEN):
        raise NotAllowed("`balsam run` starts a launcher, which a job may not; use `balsam job` inside a job")
    site = _some_site()
    if site.endpoint() is not None:
        access.must_run(site)
    else:
        _start_services(site)
    job = _job(fields, words, str(uuid.uuid4()))
    try:
        with _signals_raise():
            return _exit_status(_run(Client(site), job))
    except Interrupted as interruption:
        return 128 + int(interruption.args[0])


def _start_services(site: Site) -> None:
    for status in services.start_all(site):
        if status.state == "started":
            note(f"{status.service.title} started for {site.path}")


def _run(store: Client, job: Mapping[str, Any]) -> Mapping[str, Any]:
    """Runs the job to its end, whatever comes between: it is killed when we cannot wait for it. Returns its values."""
    offset = _bytes_there_already(job)
    store.jobs.create([job])
    end = JobEnd(store, job["job_id"])
    grace = store.site.settings.kill_grace_seconds
    with tempfile.TemporaryFile() as console:
        launcher = _start_launcher(store.site, job["workflow"], console)
        try:
            if not _follow(store, end, launcher, offset):
                raise _given_up(store, end.job_id, _last_line(console))
        except BaseException as problem:
            # An interruption, a reader that went away, a full disk: nobody would see the rest of the output.
            with contextlib.suppress(BalsamError):
                store.jobs.kill([end.job_id], message=_why(problem))
            _leave(launcher, grace + _LEAVE_SECONDS)
            raise
        finally:
            end.close()
        _leave(launcher, _LEAVE_SECONDS)
    return end.job


def _why(problem: BaseException) -> str:
    return "balsam run was interrupted" if isinstance(problem, KeyboardInterrupt) else f"balsam run ended: {problem}"


def _bytes_there_already(job: Mapping[str, Any]) -> int:
    """Output that an earlier job left in a directory of the user's: runs append to it."""
    try:
        return (Path(job["user_workdir"]) / output_name(job["name"])).stat().st_size
    except (KeyError, OSError):
        return 0


def _some_site() -> Site:
    """The site in use, else the one in the user's data directory, made when it is not there."""
    try:
        return find_site()
    except SiteError:
        if os.environ.get(ENV_SITE):
            raise
    path = known_sites.user_directory() / "site"
    with known_sites.locked():
        try:
            return find_site(path)
        except SiteError:
            site = make_site(path)
    known_sites.remember(site)
    note(f"made the site {site.path}")
    return site


def _job(fields: Mapping[str, Any], words: Sequence[str], job_id: str) -> dict[str, Any]:
    """The job: without an application, in a workflow of its own unless the user named one."""
    first = words[0]
    # A word without a separator is looked up on PATH; a path is meant from here, not from where the job runs.
    if "/" in first and not first.startswith("~"):
        first = os.path.abspath(first)
    args = JOB_FIELDS["args"].check(shlex.join([first, *words[1:]]))
    name = os.path.basename(first) or "job"
    return {"name": name, "workflow": f"run/{job_id[:8]}", "input_files": "*", **fields, "job_id": job_id, "args": args}


def _start_launcher(site: Site, workflow: str, console: IO[bytes]) -> subprocess.Popen[bytes]:
    """A launcher for this workflow: of its own session, so that a Ctrl-C reaches it through us only."""
    return subprocess.Popen(
        [sys.executable, "-m", "balsam_launcher", "--site", str(site.path), "--wf-filter", workflow],
        stdin=subprocess.DEVNULL,
        stdout=console,
        stderr=console,
        start_new_session=True,
    )


def _last_line(console: IO[bytes]) -> str:
    console.seek(0)
    lines = console.read().decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _follow(store: Client, end: JobEnd, launcher: subprocess.Popen[bytes], offset: int) -> bool:
    """Copies the output until the job has ended (true), or nobody is left who would run it (false)."""
    look_again = 0.0
    stuck = False

    def ended(seconds: float) -> bool:
        nonlocal look_again, stuck
        if end.wait(seconds):
            return True
        if launcher.poll() is None:
            return False
        # Our launcher is gone, and the end of the job may be on its way; or another launcher has the job.
        now = time.monotonic()
        if now > look_again:
            stuck = look_again > 0 and not _goes_on(store, end.job_id)
            look_again = now + _SETTLE_SECONDS
        return stuck

    output = JobOutput(store, store.jobs.get(end.job_id), offset)
    copy_output(lambda: iter(output.read, b""), ended)
    return not stuck


def _goes_on(store: Client, job_id: str) -> bool:
    """Whether somebody is at work on the job, or will be without a launcher."""
    job = store.jobs.get(job_id)
    return bool(job.get("leased")) or State[job["state"]] not in RUNNABLE | {State.AWAITING_PARENTS}


def _given_up(store: Client, job_id: str, said: str) -> BalsamError:
    job = store.jobs.get(job_id)
    reason = said.removeprefix("balsam launcher: ") or job.get("message", "")
    return BalsamError(
        f"no launcher could run the job, which was {job['state']}{f': {reason}' if reason else ''};"
        f" see `balsam show {job_id[:8]}` and {store.site.log}"
    )


def _leave(launcher: subprocess.Popen[bytes], seconds: float) -> None:
    """Waits until the launcher has exited; one that has found other work of the same workflow goes on."""
    try:
        launcher.wait(seconds)
    except subprocess.TimeoutExpired:
        note(f"the launcher (pid {launcher.pid}) goes on with other jobs of the workflow")
        launcher.returncode = 0


def _exit_status(job: Mapping[str, Any]) -> int:
    """The exit code of the job's run; 1 where it failed without one. Says why on stderr."""
    state, code = job["state"], job.get("exit_code")
    if state != State.JOB_FINISHED.name:
        note(f"balsam: job {job['job_id'][:8]} is {state}: {job.get('message', '').partition(chr(10))[0]}")
    if code is not None and (code or state == State.JOB_FINISHED.name):
        return int(code)
    return 0 if state == State.JOB_FINISHED.name else 1


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Signals that mean "stop" raise Interrupted inside."""

    def on_signal(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
