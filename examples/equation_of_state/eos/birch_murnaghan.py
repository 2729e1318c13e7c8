"""Birch–Murnaghan equations of state, fitted by linear least squares.

In x = V^(-2/3) the third-order Birch–Murnaghan energy (F. Birch, Phys. Rev. 71, 809 (1947)) is a cubic
polynomial, so the fit has one solution and needs no first guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import Polynomial

from eos.units import GPA_PER_EV_PER_CUBIC_ANGSTROM, lattice_constant


class NoMinimum(ValueError):
    """The energies that were fitted have no minimum."""


@dataclass(frozen=True)
class EquationOfState:
    """An energy E(V) per atom, by its minimum and the derivatives there."""

    volume: float
    """Volume per atom at the minimum [Å³]."""
    energy: float
    """Energy per atom at the minimum [eV]."""
    bulk_modulus: float
    """B = V d²E/dV² at the minimum [GPa]."""
    bulk_modulus_derivative: float
    """dB/dP at the minimum."""
    rms: float = 0.0
    """Root mean square of what the fit leaves [eV/atom]."""

    @property
    def lattice_constant(self) -> float:
        """Edge of the cubic fcc cell at the minimum [Å]."""
        return lattice_constant(self.volume)

    def energy_at(self, volumes: np.ndarray) -> np.ndarray:
        """Energies per atom [eV] at these volumes per atom [Å³]."""
        y = (self.volume / np.asarray(volumes)) ** (2 / 3)
        scale = 9 * self.volume * self.bulk_modulus / (16 * GPA_PER_EV_PER_CUBIC_ANGSTROM)
        shape = (y - 1) ** 3 * self.bulk_modulus_derivative + (y - 1) ** 2 * (6 - 4 * y)
        return np.asarray(self.energy + scale * shape)


def fit(volumes: Sequence[float], energies: Sequence[float]) -> EquationOfState:
    """The equation of state nearest to these energies [eV/atom] at these volumes [Å³/atom].

    Raises:
        NoMinimum: the polynomial falls or rises throughout.
        ValueError: fewer than four different volumes.
    """
    if len(set(volumes)) < 4:
        raise ValueError(f"four parameters need at least four volumes, not {len(set(volumes))}")
    v, e = np.asarray(volumes, float), np.asarray(energies, float)
    # Volumes in units of their mean keep the powers near 1.
    unit = float(v.mean())
    x = (unit / v) ** (2 / 3)
    polynomial = Polynomial.fit(x, e, 3).convert()
    x0 = _minimum(polynomial)
    rms = float(np.sqrt(np.mean((polynomial(x) - e) ** 2)))
    slope2, slope3 = (float(polynomial.deriv(n)(x0)) for n in (2, 3))
    # With x = (unit/V)^(2/3) and E'(x0) = 0:
    #   V² E''(V)  = 4/9 x² E''(x)
    #   V³ E'''(V) = -8/27 x³ E'''(x) - 20/9 x² E''(x)
    #   B = V E''(V),  dB/dP = -1 - V E'''(V) / E''(V)
    volume = unit * x0**-1.5
    return EquationOfState(
        volume=volume,
        energy=float(polynomial(x0)),
        bulk_modulus=4 / 9 * x0**2 * slope2 / volume * GPA_PER_EV_PER_CUBIC_ANGSTROM,
        bulk_modulus_derivative=4 + 2 / 3 * x0 * slope3 / slope2,
        rms=rms,
    )


def _minimum(polynomial: Polynomial) -> float:
    """Where a cubic has its minimum, at a positive argument."""
    for root in map(complex, polynomial.deriv().roots()):
        if abs(root.imag) < 1e-9 and root.real > 0 and float(polynomial.deriv(2)(root.real)) > 0:
            return root.real
    raise NoMinimum("the energies have no minimum in the volumes scanned, nor near them")
