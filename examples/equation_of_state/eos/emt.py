"""Energies, pressures and relaxed cells of fcc metals with ASE's EMT potential.

The potential is that of K. W. Jacobsen, P. Stoltze and J. K. Nørskov, Surf. Sci. 366, 394 (1996). Only what a
function needs of ASE is imported, and where it is needed: most jobs of the campaign compute one energy, and
the imports are most of their time.
"""

from __future__ import annotations

from ase import Atoms
from ase.calculators.emt import EMT

from eos.units import GPA_PER_EV_PER_CUBIC_ANGSTROM, lattice_constant


def fcc_crystal(symbol: str, volume: float) -> Atoms:
    """The primitive fcc cell with one atom and this volume [Å³], with its EMT calculator."""
    half = lattice_constant(volume) / 2
    cell = [[0, half, half], [half, 0, half], [half, half, 0]]
    return Atoms(symbol, cell=cell, pbc=True, calculator=EMT())


def energy(symbol: str, volume: float) -> float:
    """Energy per atom [eV] of the crystal at this volume per atom [Å³], relative to the free atom."""
    free_atom = Atoms(symbol, calculator=EMT())
    return float(fcc_crystal(symbol, volume).get_potential_energy() - free_atom.get_potential_energy())


def pressure(symbol: str, volume: float) -> float:
    """Pressure [GPa] of the crystal at this volume per atom [Å³], from the trace of EMT's stress tensor."""
    stress = fcc_crystal(symbol, volume).get_stress()
    return float(-stress[:3].mean() * GPA_PER_EV_PER_CUBIC_ANGSTROM)


def relaxed_volume(symbol: str, start: float, fmax: float = 1e-4) -> float:
    """Volume per atom [Å³] where ASE's own cell relaxation ends.

    All six components of the strain are free. `start` is the first volume [Å³]; `fmax` [eV/Å] is the largest
    force on the cell at the end.

    Raises:
        RuntimeError: it did not converge in 200 steps.
    """
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    atoms = fcc_crystal(symbol, start)
    if not BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=fmax, steps=200):
        raise RuntimeError(f"the cell of {symbol} did not relax to {fmax} eV/Å in 200 steps")
    return float(atoms.get_volume())


def bulk_modulus(symbol: str, volume: float, step: float = 1e-3) -> float:
    """Bulk modulus [GPa], B = -V dP/dV, from pressures at V (1 - step) and V (1 + step).

    The central difference leaves an error of order step²: about 1e-6 of B with the step given.
    """
    below, above = (pressure(symbol, volume * (1 + sign * step)) for sign in (-1, 1))
    return (below - above) / (2 * step)
