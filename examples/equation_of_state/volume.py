"""Computes the energy of one metal at one volume, and leaves it in the job's data.

Arguments: METAL VOLUME, the volume per atom in Å³.
"""

from __future__ import annotations

import sys

from balsam.launcher.dag import current_job
from eos.emt import energy
from eos.jobs import require


def main(metal: str, volume: str) -> None:
    """Writes `volume` [Å³/atom] and `energy` [eV/atom, relative to the free atom] to this job's data."""
    job = require(current_job)
    job.data["volume"] = float(volume)
    job.data["energy"] = energy(metal, float(volume))
    job.save()
    print(f"{metal}: {job.data['energy']:.6f} eV/atom at {volume} Å³/atom")


if __name__ == "__main__":
    main(*sys.argv[1:])
