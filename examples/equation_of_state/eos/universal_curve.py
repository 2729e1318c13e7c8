"""The universal binding curve of metals, and its fit by Gauss–Newton steps shared between MPI ranks.

Rose, Smith, Guinea and Ferrante (Phys. Rev. B 29, 2963 (1984)) found that the binding energies of metals fall
on one curve, once the energy is measured in cohesive energies and the distance in a length l of each metal:

    E(r) = -Ec (1 + a + k a³) exp(-a),     a = (r - r0) / l,     l = sqrt(Ec / (12 π B r0)),

with r the radius of the sphere of one atom's volume (Wigner–Seitz) and k = 0.05 for first-principles energies.
k = 0 is Rydberg's function, on which EMT's cohesive energy is built, so k says how far the potential is
from metals as quantum mechanics has them. The curve fixes the pressure derivative of the bulk modulus:

    B' = 1 + (r0 / l) (2 + 6 k) / 3.

The fit has k in common and Ec, r0 and l for each metal. Every rank holds its own part of the energies; what the
ranks share in each step are the normal equations, summed over all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eos.units import GPA_PER_EV_PER_CUBIC_ANGSTROM

ROSE_K = 0.05

Sum = Callable[[np.ndarray], np.ndarray]
"""Adds up an array over all ranks, and gives every rank the same total (``MPI.Allreduce``)."""


@dataclass(frozen=True)
class Points:
    """Energies of some metals, or one rank's part of them: arrays of one length."""

    metal: np.ndarray
    """Which metal, as an index."""
    radius: np.ndarray
    """Radius of the sphere of one atom's volume [Å]."""
    energy: np.ndarray
    """Energy per atom relative to the free atom [eV]."""


@dataclass(frozen=True)
class Universal:
    """The curve: `k` for all, arrays of one value per metal."""

    k: float
    cohesive: np.ndarray
    """Ec [eV/atom]."""
    radius: np.ndarray
    """r0 [Å]."""
    length: np.ndarray
    """l [Å]."""
    rms: float = math.nan
    """Root mean square of the residuals, in cohesive energies."""
    steps: int = 0
    """Gauss–Newton steps taken."""

    @property
    def bulk_modulus_derivative(self) -> np.ndarray:
        """B' = dB/dP at the minimum, per metal."""
        return np.asarray(1 + self.radius / self.length * (2 + 6 * self.k) / 3)


def sphere_radius(volume: float) -> float:
    """Radius [Å] of the sphere of this volume [Å³]."""
    return float((3 * volume / (4 * math.pi)) ** (1 / 3))


def sphere_volume(radius: float) -> float:
    """Volume [Å³] of the sphere of this radius [Å]."""
    return 4 / 3 * math.pi * radius**3


def scaling_length(cohesive: float, radius: float, bulk_modulus: float) -> float:
    """l [Å] of a metal, from Ec [eV/atom], r0 [Å] and B [GPa]."""
    stiffness = bulk_modulus / GPA_PER_EV_PER_CUBIC_ANGSTROM
    return math.sqrt(cohesive / (12 * math.pi * stiffness * radius))


def scaled_energy(a: np.ndarray, k: float) -> np.ndarray:
    """The universal curve, in cohesive energies, at scaled distances `a`."""
    return np.asarray(-(1 + a + k * a**3) * np.exp(-a))


def fit(points: Points, start: Universal, total: Sum, max_steps: int = 50) -> Universal:
    """The curve nearest to the points of all ranks, each metal weighted by its first cohesive energy.

    Every rank calls this with its own points and the same start, and gets the same curve.

    Raises:
        RuntimeError: the steps did not become small.
    """
    metals = len(start.cohesive)
    weight = 1 / start.cohesive[points.metal]
    x = np.concatenate([[start.k], start.cohesive, start.radius, start.length])
    size = len(x)
    for step in range(1, max_steps + 1):
        residual, jacobian = _linearized(points, x, metals, weight)
        mine = np.column_stack([jacobian.T @ jacobian, jacobian.T @ residual])
        sums = total(np.concatenate([mine.ravel(), [residual @ residual, len(residual)]]))
        normal = sums[:-2].reshape(size, size + 1)
        move = np.linalg.solve(normal[:, :size], -normal[:, size])
        x = x + move
        if np.abs(move).max() < 1e-9:
            k, (cohesive, radius, length) = x[0], x[1:].reshape(3, metals)
            return Universal(float(k), cohesive, radius, length, math.sqrt(sums[-2] / sums[-1]), step)
    raise RuntimeError(f"the universal curve did not converge in {max_steps} Gauss–Newton steps")


def _linearized(points: Points, x: np.ndarray, metals: int, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted residuals, and their derivatives by k and the three parameters of each metal."""
    k, (cohesive, radius, length) = x[0], x[1:].reshape(3, metals)[:, points.metal]
    a = (points.radius - radius) / length
    decay = np.exp(-a)
    shape = (1 + a + k * a**3) * decay
    slope = -cohesive * (1 + 3 * k * a**2 - (1 + a + k * a**3)) * decay  # dE/da
    row = np.arange(len(a))
    jacobian = np.zeros((len(a), len(x)))
    jacobian[:, 0] = -cohesive * a**3 * decay
    jacobian[row, 1 + points.metal] = -shape
    jacobian[row, 1 + metals + points.metal] = -slope / length
    jacobian[row, 1 + 2 * metals + points.metal] = -slope * a / length
    return (-cohesive * shape - points.energy) * weight, jacobian * weight[:, None]
