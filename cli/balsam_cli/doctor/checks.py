"""The checks there are, in the order in which they are told."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

from balsam_cli.doctor import certificates, database, files, host, running, storage
from balsam_cli.doctor.examination import Check
from balsam_cli.doctor.finding import Finding
from balsam_cli.doctor.patient import Patient

_Look = Callable[[Patient], Iterable[Finding]]

_CHECKS: tuple[tuple[str, _Look, float], ...] = (
    ("settings", files.check_settings, 20.0),
    ("permissions", files.check_permissions, 20.0),
    ("directories", files.check_directories, 20.0),
    ("certificates", certificates.check_certificates, 20.0),
    ("sockets", running.check_sockets, 20.0),
    ("file systems", storage.check_file_system, 20.0),
    ("space", storage.check_space, 20.0),
    ("file locks", files.check_file_locks, 45.0),
    ("file times", files.check_file_times, 20.0),
    ("database", database.check_database, database.SECONDS),
    ("services", running.check_services, 30.0),
    ("leftovers", running.check_leftovers, 20.0),
    ("sessions", running.check_sessions, 20.0),
    ("clock", running.check_clock, 20.0),
    ("mpi", host.check_mpi, 60.0),
    ("batch system", host.check_batch, 45.0),
    ("limits", host.check_limits, 20.0),
)


def checks_of(patient: Patient) -> list[Check]:
    """All of them, for a site."""
    return [Check(name, functools.partial(look, patient), seconds) for name, look, seconds in _CHECKS]
