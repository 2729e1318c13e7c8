"""The plan of the scans: which volumes come first, which come next, and when a metal is done."""

from __future__ import annotations

from collections.abc import Sequence

from eos.birch_murnaghan import EquationOfState, NoMinimum, fit
from eos.units import lattice_constant

COARSE = (9.0, 21.0, 7)
"""The first scan, the same for every metal: lowest and highest volume per atom [Å³], number of volumes."""
FINE_HALF_WIDTH = 0.04
"""A finer scan covers V (1 ± this) around the minimum found before."""
FINE_POINTS = 5
MAX_ROUNDS = 5
"""Scans of one metal, the first included."""

MAX_SPACING = 0.025
"""Converged: the two volumes that bracket the minimum are at most this part of its volume apart,"""
MAX_SHIFT = 0.01
"""the lattice constant [Å] moved at most so far since the scan before,"""
MAX_RMS = 1e-4
"""and the fit leaves at most this root mean square [eV/atom]."""


def spread(lowest: float, highest: float, points: int) -> list[float]:
    """Evenly spaced volumes [Å³], the ends included, rounded to 1e-6 Å³ so that they can be written as text."""
    step = (highest - lowest) / (points - 1)
    return [round(lowest + i * step, 6) for i in range(points)]


def try_fit(volumes: Sequence[float], energies: Sequence[float]) -> EquationOfState | None:
    """The equation of state, or None where the energies have no minimum between the volumes."""
    try:
        found = fit(volumes, energies)
    except NoMinimum:
        return None
    return found if min(volumes) < found.volume < max(volumes) else None


def doubts(volumes: Sequence[float], found: EquationOfState | None, before: float | None) -> list[str]:
    """Why another scan is needed; empty where the metal is done.

    `volumes` are those of this scan [Å³], `found` is its fit, `before` the volume at the minimum [Å³] that the
    scan before found.
    """
    if found is None:
        return ["the scan does not bracket the minimum"]
    above = min(v for v in volumes if v >= found.volume)
    below = max(v for v in volumes if v <= found.volume)
    reasons = []
    spacing = (above - below) / found.volume
    if spacing > MAX_SPACING:
        reasons.append(f"bracketed within {spacing:.1%}, not {MAX_SPACING:.1%}")
    if found.rms > MAX_RMS:
        reasons.append(f"rms of the fit is {found.rms * 1e3:.2g} meV, over {MAX_RMS * 1e3:.2g} meV")
    if before is not None:
        shift = abs(found.lattice_constant - lattice_constant(before))
        if shift > MAX_SHIFT:
            reasons.append(f"moved by {shift:.4f} Å, over {MAX_SHIFT} Å")
    return reasons


def next_volumes(volumes: Sequence[float], energies: Sequence[float], found: EquationOfState | None) -> list[float]:
    """The volumes of the next scan [Å³].

    Around the minimum where there is one; else as wide as before around the lowest energy.
    """
    if found is not None:
        centre, half = found.volume, found.volume * FINE_HALF_WIDTH
        return spread(centre - half, centre + half, FINE_POINTS)
    centre = min(zip(energies, volumes, strict=True))[1]
    half = (max(volumes) - min(volumes)) / 2
    return spread(max(centre - half, centre / 2), centre + half, len(volumes))
