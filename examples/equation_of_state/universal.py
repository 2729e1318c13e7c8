"""Fits the universal binding curve to all metals at once, on the ranks of one MPI run.

Reads the ``eos_METAL.json`` of the fits from its working directory, where Balsam linked them. Every rank computes
its share of the binding energies, from squeezed crystals to crystals pulled far apart, and keeps them; in each
Gauss–Newton step the ranks add up their normal equations with Allreduce. `eos.universal_curve` has the formulas
and their source.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from eos import emt
from eos import universal_curve as uc

SCALED_DISTANCES = np.linspace(-0.6, 2.0, 27)
"""Where the binding curve is computed, in lengths l of each metal from its minimum. Beyond, EMT's own cutoff
(half-way between the third and the fourth neighbours of an Al, Ag or Au crystal) shapes the curve."""


def read_fits(directory: Path) -> list[dict[str, Any]]:
    """What the converged fits wrote, in alphabetical order of the metals."""
    fits = [json.loads(file.read_text()) for file in sorted(directory.glob("eos_*.json"))]
    if not fits:
        raise FileNotFoundError(f"no eos_*.json in {directory}: no fit has converged")
    return fits


def first_guess(fits: list[dict[str, Any]]) -> uc.Universal:
    """Rose's curve, each metal scaled by what its equation of state says."""
    cohesive = np.array([-fit["eos"]["energy"] for fit in fits])
    radius = np.array([uc.sphere_radius(fit["eos"]["volume"]) for fit in fits])
    stiffness = [fit["eos"]["bulk_modulus"] for fit in fits]
    length = np.array([uc.scaling_length(*row) for row in zip(cohesive, radius, stiffness, strict=True)])
    return uc.Universal(uc.ROSE_K, cohesive, radius, length)


def share(fits: list[dict[str, Any]], guess: uc.Universal, rank: int, ranks: int) -> uc.Points:
    """The binding energies of one rank: every `ranks`-th point, so that each has a part of every metal."""
    metal, a = (grid.ravel() for grid in np.meshgrid(np.arange(len(fits)), SCALED_DISTANCES, indexing="ij"))
    metal, a = metal[rank::ranks], a[rank::ranks]
    radius = guess.radius[metal] + a * guess.length[metal]
    energy = [emt.energy(fits[int(m)]["metal"], uc.sphere_volume(r)) for m, r in zip(metal, radius, strict=True)]
    return uc.Points(metal, radius, np.array(energy))


def fit_together(fits: list[dict[str, Any]], comm: MPI.Comm) -> dict[str, Any] | None:
    """The curve and the points in its units, on rank 0; None on the others. Called by all ranks."""

    def total(values: np.ndarray) -> np.ndarray:
        sums = np.empty_like(values)
        comm.Allreduce(values, sums, MPI.SUM)
        return sums

    guess = first_guess(fits)
    mine = share(fits, guess, comm.rank, comm.size)
    curve = uc.fit(mine, guess, total)
    scaled = {
        "metal": [fits[int(m)]["metal"] for m in mine.metal],
        "distance": list((mine.radius - curve.radius[mine.metal]) / curve.length[mine.metal]),
        "energy": list(mine.energy / curve.cohesive[mine.metal]),
    }
    parts = comm.gather(scaled)
    if parts is None:
        return None
    points = {key: [value for part in parts for value in part[key]] for key in scaled}
    return {**_described(fits, curve), "points": points, "points_of_ranks": [len(part["metal"]) for part in parts]}


def _described(fits: list[dict[str, Any]], curve: uc.Universal) -> dict[str, Any]:
    metals = {
        fit["metal"]: {
            "cohesive_energy": float(curve.cohesive[i]),
            "radius": float(curve.radius[i]),
            "length": float(curve.length[i]),
            "bulk_modulus_derivative": float(curve.bulk_modulus_derivative[i]),
        }
        for i, fit in enumerate(fits)
    }
    return {"k": curve.k, "rms": curve.rms, "steps": curve.steps, "metals": metals}


def main() -> None:
    """Fits on all ranks; rank 0 writes ``universal.json`` and this job's data."""
    result = fit_together(read_fits(Path.cwd()), MPI.COMM_WORLD)
    if result is None:
        return
    Path("universal.json").write_text(json.dumps(result))
    _store({key: value for key, value in result.items() if key != "points"})
    ranks = len(result["points_of_ranks"])
    print(f"{ranks} ranks: k = {result['k']:.4f}, rms {result['rms']:.2%} of Ec, {result['steps']} steps")


def _store(result: dict[str, Any]) -> None:
    # One rank talks to Balsam: the others need not import its client.
    from balsam.launcher.dag import current_job
    from eos.jobs import require

    job = require(current_job)
    job.data.update(result)
    job.save()


if __name__ == "__main__":
    main()
