"""Open MPI, which Debian's `openmpi-bin` brings beside the MPICH of the environment of the tests."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from tests.support.components import missing

PROGRAM = "mpiexec.openmpi"


def use_open_mpi(monkeypatch: pytest.MonkeyPatch) -> str:
    """Lets Open MPI run as root, and mpi4py use its library; gives the path of its run command."""
    program = shutil.which(PROGRAM)
    if program is None:
        missing("Open MPI", f"there is no {PROGRAM}; `make system` as root installs it")
    for name in ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"):
        monkeypatch.setenv(name, "1")
    # Two runs that begin at once fail where both make this directory, and the last to end removes it if it is empty.
    sessions = Path(tempfile.gettempdir(), f"ompi.{socket.gethostname()}.{os.getuid()}")
    sessions.mkdir(mode=0o700, exist_ok=True)
    (sessions / "kept").touch()
    monkeypatch.setenv("MPI4PY_MPIABI", "openmpi")
    monkeypatch.setenv("MPI4PY_LIBMPI", "libmpi.so.40")
    return program
