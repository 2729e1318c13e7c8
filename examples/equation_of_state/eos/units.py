"""Conversions that need no library."""

from __future__ import annotations

GPA_PER_EV_PER_CUBIC_ANGSTROM = 160.21766208
"""One eV/Å³ in GPa (CODATA 2014, as in ASE)."""


def lattice_constant(volume: float) -> float:
    """Edge of the cubic cell of an fcc crystal [Å] with this volume per atom [Å³]."""
    return float((4 * volume) ** (1 / 3))
