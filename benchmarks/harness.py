"""A site as users have it: services and a launcher in processes of their own, in a directory that nothing was in.

Directories are deleted by who made the scratch directory, after the last measurement: ext4 makes files much more slowly
for a while after a large deletion.
"""

from __future__ import annotations

import compileall
import contextlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

import balsam
from balsam import stores
from balsam.client import Client
from balsam.errors import SiteError
from balsam.settings import Settings
from balsam.site import Site, make_site
from balsam_jobstore.postgres import Cluster
from balsam_jobstore.postgres_programs import find_programs
from benchmarks import checks
from benchmarks.campaigns import noop_jobs, run_until_seen
from benchmarks.figures import Figure, Series, Skipped, WrongResult
from benchmarks.profiles import Profiler

BALSAM = [str(Path(sys.executable).with_name("balsam"))]
"""The command as it is installed: what a person calls."""
_STOP_SECONDS = 60.0
_PACKAGES = ("balsam", "balsam_cli", "balsam_jobstore", "balsam_launcher", "balsam_scheduler")


def compile_sources() -> None:
    """Compiles our packages, as pip does with what it installs.

    An editable install is compiled by whoever imports it first; where that is forbidden (PYTHONDONTWRITEBYTECODE, as in
    many containers) each process would compile everything again, for 30 to 50 ms that no user waits for.
    """
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        for place in (spec and spec.submodule_search_locations) or ():
            compileall.compile_dir(place, quiet=1)


def environment(scratch: Path, **more: str) -> dict[str, str]:
    """What programs of ours get: nothing of the user's own sites, and no trace of ours in the user's list of them."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BALSAM_")}
    kept = {name: value for name, value in os.environ.items() if name == "BALSAM_PG_BIN"}
    return inherited | kept | {"XDG_DATA_HOME": str(scratch / "user")} | more


class RunningSite:
    """A site whose services run, and its launcher if it has one."""

    def __init__(self, site: Site, client: Client, environ: dict[str, str]) -> None:
        self.site = site
        self.client = client
        self.environ = environ
        self.launcher: subprocess.Popen[bytes] | None = None

    def command(self, *words: str) -> str:
        """What a `balsam` command prints. Raises WrongResult if it fails."""
        done = subprocess.run([*BALSAM, *words], env=self.environ, capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip()[-1000:]
            raise WrongResult(f"`balsam {' '.join(words)}` ended with {done.returncode}: {said}")
        return done.stdout

    def pid(self, service: str) -> int:
        """Process id of a service."""
        return int(self.site.read_info(service)["pid"])

    def services(self) -> dict[str, psutil.Process]:
        """What there is of job store, scheduler, launcher and node agent, by name."""
        found = {name: psutil.Process(self.pid(name)) for name in ("jobstore", "scheduler")}
        if self.launcher is not None:
            found["launcher"] = psutil.Process(self.launcher.pid)
            for child in _descendants(found["launcher"]):
                if _runs_module(child, "balsam_launcher.agent"):
                    found["agent"] = child
        return found

    def processes(self) -> list[psutil.Process]:
        """All processes of the site: the services, what they have started, and a private PostgreSQL server."""
        pids = [self.site.read_info(name).get("pid") for name in (*stores.known(self.site), "scheduler")]
        pids.append(self.launcher.pid if self.launcher else None)
        pids.append(self.cluster().pid() if self.site.settings.database == "postgres" else None)
        roots = []
        for pid in filter(None, pids):
            with contextlib.suppress(psutil.NoSuchProcess):
                roots.append(psutil.Process(pid))
        return list({process.pid: process for root in roots for process in (root, *_descendants(root))}.values())

    def cluster(self) -> Cluster:
        """The private PostgreSQL server of the site."""
        return Cluster(self.site.database / "postgres", self.site.run)

    def start_launcher(self, *options: str) -> None:
        """Starts a launcher that stays, and returns when it has run a first job: everything is loaded and connected."""
        self.spawn_launcher(*options)
        run_until_seen(self.client, noop_jobs(self.client, 1, "warm-up"))

    def spawn_launcher(self, *options: str, environ: Mapping[str, str] | None = None) -> None:
        """Starts a launcher that stays, with variables beside those of all programs."""
        with (self.site.log / "launcher.console").open("ab") as console:
            self.launcher = subprocess.Popen(
                [*BALSAM, "launcher", "--persistent", *options],
                env={**self.environ, **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    def kill_launcher(self) -> None:
        """Ends it at once, with what it runs, and removes what that leaves."""
        if self.launcher is None:
            return
        self.launcher.kill()
        self.launcher.wait()
        for left in self.site.run.glob(f"launcher-{self.launcher.pid}.*"):
            left.unlink()
        self.launcher = None

    def stop_launcher(self) -> None:
        """Stops the launcher, if there is one."""
        if self.launcher is None:
            return
        self.launcher.terminate()
        try:
            self.launcher.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.launcher.kill()
            self.launcher.wait()
        self.launcher = None

    def close(self) -> None:
        """Stops everything; what does not stop is killed. Raises WrongResult if `balsam down` fails."""
        every = self.processes()
        self.stop_launcher()
        self.client.close()
        try:
            self.command("down")
        finally:
            for process in every:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _runs_module(process: psutil.Process, module: str) -> bool:
    try:
        return module in process.cmdline()
    except psutil.NoSuchProcess:
        return False


class Bench:
    """What a workload is given: the database, the number of rounds, fresh sites, and a place for its figures.

    Args:
        scratch: directory for everything that is written.
        database: `sqlite` or `postgres`.
        repeats: how many rounds.
        small: sizes for a few seconds, which show that it works and not how fast it is.
        profiler: takes profiles of the services while something is timed.
        progress: tells each value on stderr as it comes.
        job_stores: how many serve a site over PostgreSQL.
    """

    def __init__(
        self,
        scratch: Path,
        database: str,
        *,
        repeats: int = 3,
        small: bool = False,
        profiler: Profiler | None = None,
        progress: bool = False,
        job_stores: int = 1,
    ) -> None:
        self.job_stores = 1 if database == "sqlite" else job_stores
        self.scratch = scratch
        self.database = database
        self.repeats = repeats
        self.small = small
        self.series: list[Series] = []
        self._profiler = profiler
        self._progress = progress
        self._numbers: dict[str, int] = {}
        self._round = 0
        if database == "postgres":
            try:
                find_programs()
            except SiteError as error:
                raise Skipped(f"no PostgreSQL here: {error}") from None

    def size(self, full: int, small: int) -> int:
        """How many of something: `full`, or `small` where that is enough."""
        return small if self.small else full

    def rounds(self) -> Iterator[int]:
        """The numbers of the rounds, from 1."""
        for number in range(1, self.repeats + 1):
            self._round = number
            yield number

    def record(self, figure: Figure, value: float, limit: float | None = None) -> None:
        """Takes what one round has given, and the figure's limit in the same round, both in the figure's unit."""
        if (limit is None) == bool(figure.limit):
            raise ValueError(f"{figure.key}: its limit is {figure.limit or 'nothing'}, and {limit} was measured")
        known = [series for series in self.series if series.figure == figure]
        series = known[0] if known else Series(figure, self.database)
        if not known:
            self.series.append(series)
        series.rounds.append(value)
        if limit is not None:
            series.limits.append(limit)
        if self._progress:
            beside = "" if limit is None else f"  ({figure.limit}: {limit:,.4g})"
            number = len(series.rounds)
            print(
                f"  {self.database} {number}/{self.repeats}  {figure.title}: {value:,.4g} {figure.unit}{beside}",
                file=sys.stderr,
                flush=True,
            )

    def fresh(self, name: str) -> Path:
        """Path of a directory or file that does not exist yet."""
        number = self._numbers[name] = self._numbers.get(name, 0) + 1
        return self.scratch / f"{name}-{number}"

    @contextlib.contextmanager
    def site(self, *, launcher: bool = False, **settings: Any) -> Iterator[RunningSite]:
        """A fresh site whose services run, with a launcher if asked for. Afterwards nothing of it runs.

        Args:
            launcher: whether one is started.
            settings: further ones of the site.

        Raises:
            WrongResult: a service has logged a traceback.
        """
        chosen = Settings(database=self.database, job_stores=self.job_stores, **settings)
        site = make_site(self.fresh("site"), chosen)
        environ = environment(self.scratch, BALSAM_DB_PATH=str(site.path))
        running = RunningSite(site, balsam.connect(site.path), environ)
        try:
            running.command("up")
            if launcher:
                running.start_launcher()
            yield running
        finally:
            running.close()
        checks.no_tracebacks(site)

    @contextlib.contextmanager
    def profiled(self, running: RunningSite, name: str) -> Iterator[None]:
        """What is done meanwhile goes into a profile of each service, where profiles are asked for."""
        if self._profiler is None:
            yield
            return
        with self._profiler.profiles(running.services(), f"{name}-{self.database}-{self._round}"):
            yield


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values do not exceed; `share` is in 0 to 1."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, int(share * len(ordered) + 0.999999) - 1))]
