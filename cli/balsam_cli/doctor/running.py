"""Checks of what runs: services, sessions, what dead processes left, and clocks."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from balsam import stores
from balsam.errors import BalsamError, SiteError
from balsam.version import VERSION
from balsam_cli import process, services
from balsam_cli.doctor.finding import Finding, note, ok, problem, quoted
from balsam_cli.doctor.patient import Patient
from balsam_cli.text import count

_HEALTH_SECONDS = 5.0
_LONGEST_SOCKET = 100  # bytes; the system's limit is 107
_LAUNCHER = re.compile(r"launcher-(\d+)\.(?:json|sock|lock)")
_CLOCK_SECONDS = 0.2
_CLOCK_TOLERANCE = 0.05


def check_sockets(patient: Patient) -> Iterator[Finding]:
    """Their paths are short enough."""
    run = patient.site.run
    length = len(os.fsencode(run / "launcher-1234567890.sock"))
    if length > _LONGEST_SOCKET:
        text = f"paths of sockets in {run} have {length} bytes, and may have {_LONGEST_SOCKET}"
        yield problem("sockets", text, "export XDG_RUNTIME_DIR=/run/user/$(id -u); balsam up")
    elif run.parent != patient.site.path:
        text = f"in {run}, since {patient.site.path}/run is too long a path; every shell needs the same XDG_RUNTIME_DIR"
        yield note("sockets", text)
    else:
        yield ok("sockets", f"in {run}, paths of at most {length} bytes")


def check_services(patient: Patient) -> Iterator[Finding]:
    """Job store and scheduler run, answer, and are of this version."""
    site = patient.site
    try:
        found = [services.probe(site, service, _HEALTH_SECONDS) for service in services.services_of(site)]
    except SiteError as error:
        host = str(site.read_info("jobstore").get("host") or site.read_info("scheduler").get("host"))
        gone = " ".join(quoted(site.run / f"{service.name}.json") for service in services.services_of(site))
        yield problem(
            "services", str(error), f"ssh {host} balsam doctor", f"rm -f {gone}    # if {host} is gone for good"
        )
        return
    text = ", ".join(_described(status) for status in found)
    old = [status for status in found if status.state != "down" and status.version != VERSION]
    if any(status.state == "silent" for status in found):
        yield problem("services", f"{text}: a process lives and does not answer", "balsam down; balsam up")
    elif old:
        yield problem("services", f"{text}: this command is version {VERSION}", "balsam down; balsam up")
    elif any(status.state == "down" for status in found):
        yield note("services", text, "balsam up")
    else:
        yield ok("services", f"{text}; version {VERSION}")


def _described(status: services.Status) -> str:
    if status.state == "down":
        return f"{status.service.title} down"
    version = "" if status.version == VERSION else f", version {status.version}"
    return f"{status.service.title} {status.state} (pid {status.pid}{version})"


def check_sessions(patient: Patient) -> Iterator[Finding]:
    """Launchers and schedulers at work live; one that does not will lose its jobs to others."""
    from balsam.rpc import Connection
    from balsam.v1 import session_service_pb2
    from balsam.v1.session_service_pb2_grpc import SessionServiceStub

    try:
        is_down = not services.a_job_store_runs(patient.site)
    except SiteError:
        is_down = True
    if is_down:
        yield note("sessions", "not known where no job store runs")
        return
    connection = Connection(patient.site, retry_seconds=0)
    try:
        request = session_service_pb2.ListSessionsRequest()
        answer = connection.call(SessionServiceStub, "ListSessions", request, timeout=_HEALTH_SECONDS)
    except BalsamError as error:
        yield problem("sessions", str(error), "balsam down; balsam up")
        return
    finally:
        connection.close()
    lease = patient.settings.lease_seconds
    ending = []
    fixes = []
    for session in answer.sessions:
        state = _process_state(session.pid) if session.host == socket.gethostname() else "elsewhere"
        if state in ("dead", "stopped"):
            ending.append(f"the process {session.pid} of a session with {count(session.leases, 'lease')} is {state}")
        if state == "stopped":
            fixes.append(f"kill -CONT {session.pid}")
    text = f"{count(len(answer.sessions), 'session')}, {sum(s.leases for s in answer.sessions):,} jobs leased"
    if ending:
        yield note("sessions", f"{'; '.join(ending)}: it loses them within {lease:g} s", *fixes)
    else:
        yield ok("sessions", text)


def _process_state(pid: int) -> str:
    try:
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "dead"
    return "dead" if letter in "ZX" else "stopped" if letter == "T" else "alive"


def check_leftovers(patient: Patient) -> Iterator[Finding]:
    """Sockets, files and locks in run/, and whether their processes live."""
    run = patient.site.run
    if not run.is_dir():
        yield ok("leftovers", "none: nothing has run yet")
        return
    stale = []
    held: list[tuple[str, int]] = []
    listening = _listeners(run)
    for path in sorted(run.iterdir()):
        alive = _is_alive(patient, path)
        if path.suffix == ".sock" and path in listening and alive is False:
            held.append((path.name, listening[path]))
        elif alive is False and path.suffix in (".json", ".sock"):
            stale.append(path)
    for path, pid in _lock_holders(run).items():
        if _is_alive(patient, path.with_suffix(".json")) is False:
            held.append((path.name, pid))
    if held:
        names = ", ".join(f"{name} by {f'pid {pid}' if pid else 'another user'}" for name, pid in held)
        pids = sorted({str(pid) for _, pid in held if pid})
        fixes = (f"ps -fp {','.join(pids)}", f"kill {' '.join(pids)}; balsam up") if pids else ("sudo ss -xlp",)
        yield problem("leftovers", f"held by processes that do not say what they are: {names}", *fixes)
    elif stale:
        names = ", ".join(path.name for path in stale[:5]) + (" and more" if len(stale) > 5 else "")
        service = any(not _LAUNCHER.fullmatch(path.name) for path in stale)
        remove = "rm -f " + " ".join(map(quoted, stale))
        yield note("leftovers", f"of processes that are dead: {names}", "balsam up" if service else remove)
    else:
        yield ok("leftovers", f"none in {run}")


def _is_alive(patient: Patient, path: Path) -> bool | None:
    """Whether the process lives that a file in run/ belongs to; None: it belongs to none that we know."""
    match = _LAUNCHER.fullmatch(path.name)
    if match:
        return process.is_running(int(match[1]), "balsam_launcher")
    for service in services.services_of(patient.site):
        if path.stem == service.name and path.suffix in (".json", ".sock"):
            info = patient.site.read_info(service.name)
            if info.get("host", socket.gethostname()) != socket.gethostname():
                return None
            pid = info.get("pid", 0)
            return isinstance(pid, int) and process.is_running(pid, service.module)
    return None


def _listeners(run: Path) -> dict[Path, int]:
    """Unix sockets in a directory on which somebody listens -> pid, 0 where it is not ours to know."""
    import psutil

    found: dict[Path, int] = {}
    for connection in psutil.net_connections("unix"):
        if isinstance(connection.laddr, str) and connection.laddr.startswith(f"{run}/"):
            found.setdefault(Path(connection.laddr), connection.pid or 0)
    return found


def _lock_holders(run: Path) -> dict[Path, int]:
    """Lock files of services in a directory that are locked -> pid of the holder; see /proc/locks in proc(5)."""
    files = {
        path.stat().st_ino: path
        for path in run.glob("*.lock")
        if path.stem == "scheduler" or stores.is_store(path.stem)
    }
    found = {}
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if len(words) >= 6 and words[1] == "FLOCK" and words[5].rpartition(":")[2].isdecimal():
            path = files.get(int(words[5].rpartition(":")[2]))
            # Files of other file systems have the same numbers.
            if path is not None and _has_open(int(words[4]), path):
                found[path] = int(words[4])
    return found


def _has_open(pid: int, path: Path) -> bool:
    try:
        return any(os.path.samefile(entry, path) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.exists())
    except OSError:
        return False


def check_clock(patient: Patient) -> Iterator[Finding]:
    """This host's clock goes, forward, and as fast as time. The job store runs here and has the same one."""
    drifts = []
    for _ in range(3):
        drifts.append(measured_drift(time.time, time.monotonic, time.sleep))
        if abs(drifts[-1]) <= _CLOCK_TOLERANCE:
            yield ok("clock", "goes steadily; the job store, on this host, has the same")
            return
    text = f"this host's clock went {drifts[-1]:+.3f} s in {_CLOCK_SECONDS:g} s beside its steady one: it is being set"
    yield note("clock", f"{text}. Leases do not mind; times of jobs will be off", "timedatectl status")


def measured_drift(clock: Callable[[], float], steady: Callable[[], float], sleep: Callable[[float], None]) -> float:
    """How much a clock gains on a steady one in a moment [s]."""
    clock_before, steady_before = clock(), steady()
    sleep(_CLOCK_SECONDS)
    return (clock() - clock_before) - (steady() - steady_before)
