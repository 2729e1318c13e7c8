"""Keeps a step worker beside the launcher: scripts and staging of its user's jobs, in its user's account.

The scheduler works in the account of the site's owner, and does them for the owner's jobs only, and for those of users
whom the owner trusts. For others this process does it: the scheduler's own code, started as one, which ends with us.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

from balsam import rpc
from balsam.commands import base_environment
from balsam.site import ENV_TOKEN_FILE, Site
from balsam_launcher import traces
from balsam_launcher.leftovers import KEPT
from balsam_launcher.options import LauncherOptions

log = logging.getLogger("balsam.launcher")

_PAUSE_SECONDS = 1.0
_YOUNG_SECONDS = 5.0
_MOST_YOUNG_DEATHS = 5
_PATIENCE_SECONDS = 10.0
"""What a step worker needs to end beside the grace of its scripts."""
_OWNER = "owner"


class StepKeeper:
    """The step worker, whichever process it is.

    Args:
        command: its words.
        environ: its environment.
        log_file: takes what its Python may print when it fails.
        grace_seconds: of scripts that are stopped.
        on_hopeless: called when several in a row have died soon after they were started.
    """

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        log_file: Path,
        grace_seconds: float,
        *,
        on_hopeless: Callable[[], None],
    ) -> None:
        self._command = list(command)
        self._environ = dict(environ)
        self._log_file = log_file
        self._grace_seconds = grace_seconds
        self._on_hopeless = on_hopeless
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def start(self) -> None:
        """Starts it; from then on there is always one."""
        self._task = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Has it stop its scripts, which are given back, and end."""
        self._closing = True
        if self._task is None:
            return
        if self._process is None or self._process.stdin is None:
            self._task.cancel()
        else:
            self._process.stdin.close()
        done, _ = await asyncio.wait((self._task,), timeout=self._grace_seconds + _PATIENCE_SECONDS)
        if not done and self._process is not None:
            self._process.kill()
            await asyncio.wait((self._task,))

    async def _keep(self) -> None:
        deaths = 0
        while not self._closing:
            began = time.monotonic()
            how = await self._ended()
            if self._closing:
                return
            log.error("the process for scripts and staging ended: %s; see %s", how, self._log_file)
            deaths = deaths + 1 if time.monotonic() - began < _YOUNG_SECONDS else 0
            if deaths == _MOST_YOUNG_DEATHS:
                self._on_hopeless()
                return
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _ended(self) -> str:
        """Starts one, waits for its end, and gives how it ended."""
        try:
            with open(self._log_file, "ab") as output:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=output,
                    env=self._environ,
                    # What a terminal or a batch system sends to our group is for us to handle.
                    start_new_session=True,
                )
        except OSError as error:
            return f"it cannot be started: {error.strerror}"
        pid = self._process.pid
        KEPT.add(pid)
        try:
            return f"exit status {await self._process.wait()}"
        finally:
            KEPT.discard(pid)
            self._process = None


async def _is_owners(site: Site) -> bool:
    """Whether our jobs are those of the site's owner."""
    if site.is_own and not os.environ.get(ENV_TOKEN_FILE):
        return True
    answer = await asyncio.to_thread(rpc.ask_site, site)
    return bool(answer.role == _OWNER)


@contextlib.asynccontextmanager
async def beside(site: Site, options: LauncherOptions, *, on_hopeless: Callable[[str], None]) -> AsyncIterator[None]:
    """Around the work of a launcher: a step worker, where the scheduler does not do all that its jobs need.

    Args:
        site: the site.
        options: of the launcher.
        on_hopeless: called with the reason when none can be kept running.

    Raises:
        BalsamError: the job store refuses to say who we are.
    """
    if not options.trusted_users and await _is_owners(site):
        yield
        return
    name = traces.steps_log_name(site)
    log_file = site.log / f"{name}.log"
    command = [sys.executable, "-P", "-m", "balsam_scheduler", f"--site={site.path}", f"--steps={name}"]
    keeper = StepKeeper(
        [*command, *(f"--trust={user}" for user in options.trusted_users)],
        base_environment(os.environ),
        log_file,
        site.settings.kill_grace_seconds,
        on_hopeless=lambda: on_hopeless(f"scripts and staging cannot be done; see {log_file}"),
    )
    keeper.start()
    try:
        yield
    finally:
        await keeper.close()
