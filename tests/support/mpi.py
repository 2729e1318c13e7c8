"""Open MPI, which Debian's `openmpi-bin` brings beside the MPICH of the environment of the tests."""

from __future__ import annotations

import shutil

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
    monkeypatch.setenv("MPI4PY_MPIABI", "openmpi")
    monkeypatch.setenv("MPI4PY_LIBMPI", "libmpi.so.40")
    return program
