"""The services of a site as processes: started, found, asked for their health, stopped."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from balsam import locks, rpc, stores
from balsam.commands import base_environment
from balsam.errors import SiteError, Unavailable
from balsam.logs import open_plain
from balsam.site import ENV_SITE, Site
from balsam_cli import process
from balsam_cli.terminal import note

START_SECONDS = 120.0
"""How long a service may take until it answers: the first start of a version may migrate a large database."""
SILENT_SECONDS = 8.0
"""How long one that was up already may take to answer again, before it is said that it does not."""
STOP_SECONDS = 30.0
_POLL_SECONDS = 0.02
_PATIENCE_SECONDS = 1.0  # after which a person is told what takes so long


@dataclass(frozen=True)
class Service:
    """A service: its name, and the module that is it."""

    name: str
    module: str
    title: str
    number: int = 1
    """Of several job stores."""


JOBSTORE = Service(stores.FIRST, "balsam_jobstore", "job store")
SCHEDULER = Service("scheduler", "balsam_scheduler", "scheduler")


def services_of(site: Site) -> tuple[Service, ...]:
    """The services of a site, in the order in which they are started."""
    return (*job_stores(site), SCHEDULER)


def job_stores(site: Site) -> tuple[Service, ...]:
    """The job stores that the settings ask for, and others that run, of settings of before."""
    try:
        wanted = site.settings.job_stores
    except SiteError:
        wanted = 1
    running = [service for service in stores.known(site)[1:] if stores.is_alive(site, service)]
    return (JOBSTORE, *_numbered({*map(stores.name, range(2, wanted + 1)), *running}))


def started_services(site: Site) -> tuple[Service, ...]:
    """The services of a site that were started and not stopped since, in order; the first job store and the scheduler
    always. Reads no settings, which costs a command 5 ms."""
    return (*_started_job_stores(site), SCHEDULER)


def _started_job_stores(site: Site) -> tuple[Service, ...]:
    others = stores.known(site)[1:]
    return (JOBSTORE, *_numbered(name for name in others if site.read_info(name) or stores.is_alive(site, name)))


def _numbered(names: Iterable[str]) -> list[Service]:
    numbers = sorted(int(name.rpartition("-")[2]) for name in names)
    return [Service(stores.name(number), JOBSTORE.module, f"job store {number}", number) for number in numbers]


def a_job_store_runs(site: Site) -> bool:
    """Whether there is a job store to be asked; it may not answer yet.

    Raises:
        SiteError: it runs on another host.
    """
    return any(find(site, service).state != "down" for service in _started_job_stores(site))


@dataclass(frozen=True)
class Status:
    """What is known of a service: ``up``, ``silent`` (its process lives, and does not answer yet), or ``down``."""

    service: Service
    state: str
    pid: int = 0
    host: str = ""
    version: str = ""
    start_time: datetime.datetime | None = None


def find(site: Site, service: Service) -> Status:
    """Whether somebody holds the service's lock, and what they say of themselves; nothing is contacted.

    Raises:
        SiteError: it runs on another host.
    """
    said = site.read_info(service.name)
    # The lock ends with its holder, and a service has it before it can say anything: it decides who is there.
    holder = locks.holder(site.run / f"{service.name}.lock")
    host = said.get("host")
    if not isinstance(host, str):  # it says nothing, or is damaged
        host = holder.host if holder else ""
    if host and host != socket.gethostname():
        raise rpc.runs_elsewhere(site, host, service.name)
    if holder is None:
        return Status(service, "down")
    if said.get("pid") != holder.pid:  # of one that was killed before
        said = {}
    since = _moment(said.get("start_time"))
    return Status(service, "silent", holder.pid, host, str(said.get("version", "")), since)


def _moment(started: object) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromtimestamp(float(str(started)), datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return None  # damaged; a service that lives writes it again within seconds


def probe(site: Site, service: Service, timeout: float = 5.0) -> Status:
    """As `find`, and ``up`` if it answers its health check within `timeout` seconds."""
    status = find(site, service)
    if status.state == "down" or not answers(site, service, timeout):
        return status
    return replace(status, state="up")


def answers(site: Site, service: Service, timeout: float) -> bool:
    """Whether the health check says that it serves."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from balsam.rpc import CHANNEL_OPTIONS

    with grpc.insecure_channel(site.address(service.name), options=CHANNEL_OPTIONS) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def ask_site(site: Site) -> Any:
    """What the job store says of itself and the site (a GetSiteResponse)."""
    return rpc.ask_site(site, retry_seconds=0)


def start_all(site: Site) -> list[Status]:
    """Starts what does not run, and returns when all answer; ``state`` is "started", or "up" if it was.

    Raises:
        SiteError: a service does not start; the message is the last line of its log.
    """
    site.make_run()
    with _one_at_a_time(site):
        return [_ensure(site, service) for service in services_of(site)]


def _ensure(site: Site, service: Service) -> Status:
    status = probe(site, service)
    if status.state == "up":
        return status
    if status.state == "silent":
        # One that still starts has not said yet since when it serves.
        wait_until_up(site, service, None, SILENT_SECONDS if status.start_time else START_SECONDS)
        return probe(site, service)
    child = spawn(site, service)
    wait_until_up(site, service, child)
    # The child is meant to outlive us: without this, Python warns that it still runs.
    child.returncode = 0
    return replace(find(site, service), state="started")


def spawn(site: Site, service: Service, *, foreground: bool = False) -> subprocess.Popen[bytes]:
    """Starts the process of a service: of its own session, with none of our descriptors, in `/`."""
    # A run that happens to start its site's services must not hand its own credential to them.
    environ = base_environment(os.environ)
    environ.pop(ENV_SITE, None)
    command = [sys.executable, "-m", service.module, "--site", str(site.path)]
    if service.number > 1:
        command += ["--number", str(service.number)]
    with _console(site, service, foreground) as console:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            cwd="/",
            env=environ,
            start_new_session=True,
        )


@contextlib.contextmanager
def _console(site: Site, service: Service, foreground: bool) -> Iterator[IO[bytes] | None]:
    if foreground:
        yield None
        return
    # What is printed before the log is open: an import error, a missing library.
    site.log.mkdir(mode=0o700, exist_ok=True)
    path = console_file(site, service)
    if path.exists() and path.stat().st_size:
        path.replace(path.with_name(f"{path.name}.1"))  # the last words of one that crashed
    with open(open_plain(path, os.O_APPEND), "ab") as file:  # appended to: it is emptied when it has grown
        yield file


def console_file(site: Site, service: Service) -> Path:
    """Where a service in the background prints what is not for its log."""
    return site.log / f"{service.name}.out"


def wait_until_up(
    site: Site, service: Service, child: subprocess.Popen[bytes] | None, seconds: float = START_SECONDS
) -> None:
    """Returns when the service answers; `child` is its process if it is ours. Waits `seconds` for that.

    Raises:
        SiteError: it ended; the message is what it said last.
        Unavailable: it does not answer in time.
    """
    start, told = time.monotonic(), False
    while (waited := time.monotonic() - start) < seconds:
        if waited > _PATIENCE_SECONDS and sys.stderr.isatty() and not told:
            note(f"waiting for the {service.title} ...")
            told = True
        if child is not None and child.poll() is not None:
            if locks.holder(site.run / f"{service.name}.lock") is not None:
                child = None  # another was first: of an `up` that was killed
                continue
            raise SiteError(f"the {service.title} does not start: {last_words(site, service)}")
        status = find(site, service)
        if status.state != "down" and answers(site, service, 1.0):
            return
        if child is None and status.state == "down":
            raise SiteError(f"the {service.title} ended while it started: {last_words(site, service)}")
        time.sleep(_POLL_SECONDS)
    said = rpc.does_not_answer(f"the {service.title}", status.pid, status.host)
    raise Unavailable(
        f"{said}; `balsam down` ends it (by force after {STOP_SECONDS:.0f} s), then `balsam up` starts it anew",
        reason="DEADLINE",
    )


def last_words(site: Site, service: Service) -> str:
    """The last line that a service printed, else of its log."""
    for file in (console_file(site, service), site.log / f"{service.name}.log"):
        with contextlib.suppress(OSError):
            lines = [line for line in file.read_text(errors="replace").splitlines() if line.strip()]
            if lines:
                title = service.title.removesuffix(f" {service.number}")
                return lines[-1].strip().removeprefix(f"balsam {title}: ").removeprefix("balsam: ")
    return f"it said nothing; see {site.log}"


def stop_all(site: Site) -> list[tuple[Service, int, bool]]:
    """Stops what runs, the last started first: (service, pid, whether it had to be killed)."""
    site.make_run()
    stopped = []
    with _one_at_a_time(site):
        for service in reversed(services_of(site)):
            status = find(site, service)
            if status.pid:
                killed = process.stop(status.pid, service.module, STOP_SECONDS)
                stopped.append((service, status.pid, killed))
    return stopped


def move_database(site: Site, target: str) -> dict[str, Any]:
    """Moves the database of a site whose services are down, by the job store's own program; gives what it says.

    Raises:
        SiteError: it was not moved.
    """
    site.make_run()
    command = [sys.executable, "-m", "balsam_jobstore.moving", "--site", str(site.path)]
    with _one_at_a_time(site):
        # The address may hold a password, which an argument list must not.
        done = subprocess.run(
            command,
            input=target + "\n",
            capture_output=True,
            text=True,
            env=base_environment(os.environ),
            check=False,
        )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise SiteError(f"the database was not moved: {lines[-1]}")
    moved: dict[str, Any] = json.loads(done.stdout)
    return moved


@contextlib.contextmanager
def _one_at_a_time(site: Site) -> Iterator[None]:
    """Two `up` at once must not start two of each."""
    with open(site.run / "up.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def set_aside(site: Site) -> list[dict[str, str]]:
    """Rows of the database that the job store has set aside as damaged, by table: what they are, and why."""
    rows = []
    for file in sorted(site.set_aside.glob("*.json")):
        try:
            content = json.loads(file.read_text())
            table, why = content["table"], content["why"]
            job = content.get("job") or {}
            name = f"{job.get('name') or 'job'} ({str(job.get('job_id'))[:8]})" if table == "job" else file.stem
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            table, why, name = "row", "its file cannot be read", file.name
        rows.append({"table": table, "name": name, "why": why, "file": str(file)})
    return rows


def as_record(status: Status) -> dict[str, Any]:
    """A status as plain data for `--json`."""
    from balsam.convert import rfc3339

    return {
        "name": status.service.name,
        "state": status.state,
        "pid": status.pid or None,
        "host": status.host,
        "version": status.version,
        "start_time": rfc3339(status.start_time) if status.start_time else None,
    }
