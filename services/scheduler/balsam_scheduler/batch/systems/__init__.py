"""The batch systems there are, and the one that is used."""

from __future__ import annotations

import os
import shutil

from balsam.errors import NotFound
from balsam_scheduler.batch import calls
from balsam_scheduler.batch.answers import InVain, System
from balsam_scheduler.batch.systems import slurm
from balsam_scheduler.batch.systems.cobalt import Cobalt
from balsam_scheduler.batch.systems.flux import Flux
from balsam_scheduler.batch.systems.local import Local
from balsam_scheduler.batch.systems.lsf import Lsf
from balsam_scheduler.batch.systems.pbs import Pbs
from balsam_scheduler.batch.systems.slurm import Slurm

SYSTEMS: dict[str, System] = {system.name: system for system in (Slurm(), Pbs(), Lsf(), Cobalt(), Flux(), Local())}
"""Name, as in the setting `batch_system` -> the system."""

_SIGNS = (
    ("slurm", ("sbatch", "squeue")),
    ("lsf", ("bsub", "bjobs")),
    # Its qsub and qstat have the names of those of PBS.
    ("cobalt", ("qsub", "cqstat")),
    ("pbs", ("qsub", "qstat")),
    # Last: it also runs inside of allocations of others.
    ("flux", ("flux",)),
)
"""Which commands tell that a system is here; the first of which all are found."""


def choose(setting: str, path: str | None = None, run: calls.Run = calls.run) -> System:
    """The batch system to submit to.

    Args:
        setting: the setting `batch_system`; ``auto``: the one whose commands are found, else ``local``.
        path: where commands are looked for; None: PATH.
        run: runs one of them where it is not clear whether they belong to a cluster.
    """
    if setting != "auto":
        return SYSTEMS[setting]
    path = os.environ.get("PATH", os.defpath) if path is None else path
    for name, programs in _SIGNS:
        is_there = all(shutil.which(program, path=path) for program in programs)
        if is_there and (name != "slurm" or slurm.has_cluster(os.environ, run)):
            return SYSTEMS[name]
    return SYSTEMS["local"]


def in_vain(name: str, reason: str) -> InVain | None:
    """What the reason for which a launch waits means, where that does not go away by itself.

    Args:
        name: of the batch system; one that this version does not know says nothing.
        reason: of the batch system; more may follow it, after a colon.
    """
    system = SYSTEMS.get(name)
    return system.in_vain(reason) if system is not None else None


def named(name: str) -> System:
    """The batch system of a launch. Raises NotFound."""
    if name not in SYSTEMS:
        raise NotFound(f"batch_system = {name!r}: this version knows {', '.join(SYSTEMS)}", field="batch_system")
    return SYSTEMS[name]
