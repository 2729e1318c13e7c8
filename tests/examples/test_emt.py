"""Energies, pressures and relaxed cells, each checked against another way to compute it."""

from __future__ import annotations

import pytest
from ase import units
from ase.calculators.emt import EMT
from ase.lattice.cubic import FaceCenteredCubic

from eos import emt
from eos.metals import EXPERIMENT, METALS
from eos.units import GPA_PER_EV_PER_CUBIC_ANGSTROM


def test_unit_of_pressure_is_that_of_ase() -> None:
    assert pytest.approx(1 / units.GPa, rel=1e-9) == GPA_PER_EV_PER_CUBIC_ANGSTROM


def test_energy_is_that_of_the_cubic_cell_less_four_free_atoms() -> None:
    cell = FaceCenteredCubic("Pd", latticeconstant=3.9)
    cell.calc = EMT()
    free_atom = 3.90  # eV: the parameter E0 of palladium, with its sign turned
    expected = cell.get_potential_energy() / 4 - free_atom
    assert emt.energy("Pd", 3.9**3 / 4) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("symbol", METALS)
def test_pressure_is_minus_the_slope_of_the_energy(symbol: str) -> None:
    volume, step = 14.0, 1e-3
    slope = (emt.energy(symbol, volume + step) - emt.energy(symbol, volume - step)) / (2 * step)
    assert emt.pressure(symbol, volume) == pytest.approx(-slope * GPA_PER_EV_PER_CUBIC_ANGSTROM, abs=1e-3)


def test_relaxed_cell_has_no_pressure_wherever_it_starts() -> None:
    volumes = [emt.relaxed_volume("Au", start) for start in (15.0, 18.0)]
    assert volumes[0] == pytest.approx(volumes[1], rel=1e-5)
    assert emt.pressure("Au", volumes[0]) == pytest.approx(0, abs=0.01)


def test_bulk_modulus_hardly_depends_on_the_step() -> None:
    volume = emt.relaxed_volume("Ni", 11.0)
    assert emt.bulk_modulus("Ni", volume, 1e-3) == pytest.approx(emt.bulk_modulus("Ni", volume, 1e-4), rel=1e-5)


def test_every_metal_has_measured_values() -> None:
    assert set(METALS) == set(EXPERIMENT)
