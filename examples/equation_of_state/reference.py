"""Computes what the campaign is compared with: ASE's own cell relaxation of one metal.

Argument: METAL.
"""

from __future__ import annotations

import sys

from balsam.launcher.dag import current_job
from eos import emt, rounds
from eos.jobs import require
from eos.units import lattice_constant


def main(metal: str) -> None:
    """Writes `lattice_constant` [Å] and `bulk_modulus` [GPa] of the relaxed cell to this job's data."""
    job = require(current_job)
    lowest, highest, _ = rounds.COARSE
    volume = emt.relaxed_volume(metal, start=(lowest + highest) / 2, fmax=1e-4)
    job.data["lattice_constant"] = lattice_constant(volume)
    job.data["bulk_modulus"] = emt.bulk_modulus(metal, volume)
    job.save()
    print(f"{metal}: a = {job.data['lattice_constant']:.4f} Å, B = {job.data['bulk_modulus']:.1f} GPa")


if __name__ == "__main__":
    main(*sys.argv[1:])
