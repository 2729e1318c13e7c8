"""Starts the scans of one metal: adds a job for each volume, and the fit of their energies.

Arguments: METAL LOWEST HIGHEST POINTS, the volumes per atom in Å³.
"""

from __future__ import annotations

import sys

from balsam.launcher.dag import current_job
from eos.jobs import add_round, require
from eos.rounds import spread


def main(metal: str, lowest: str, highest: str, points: str) -> None:
    """Adds the first scan from inside this running job."""
    job = require(current_job)
    volumes = spread(float(lowest), float(highest), int(points))
    add_round(job, metal, 0, volumes)
    job.data.update(metal=metal, volumes=volumes)
    job.save()
    print(f"{metal}: added {points} volumes from {lowest} to {highest} Å³/atom, and their fit")


if __name__ == "__main__":
    main(*sys.argv[1:])
