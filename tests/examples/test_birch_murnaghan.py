"""The linear fit of the Birch–Murnaghan equation of state."""

from __future__ import annotations

import numpy as np
import pytest
from ase.eos import EquationOfState as AseEquationOfState

from eos import emt
from eos.birch_murnaghan import EquationOfState, NoMinimum, fit
from eos.units import GPA_PER_EV_PER_CUBIC_ANGSTROM, lattice_constant

COPPER_LIKE = EquationOfState(volume=11.6, energy=-3.5, bulk_modulus=134.0, bulk_modulus_derivative=4.6)


def test_fit_finds_the_equation_that_made_the_energies() -> None:
    volumes = np.linspace(10, 13, 7)
    found = fit(list(volumes), list(COPPER_LIKE.energy_at(volumes)))
    assert found.volume == pytest.approx(COPPER_LIKE.volume, rel=1e-9)
    assert found.energy == pytest.approx(COPPER_LIKE.energy, abs=1e-10)
    assert found.bulk_modulus == pytest.approx(COPPER_LIKE.bulk_modulus, rel=1e-8)
    assert found.bulk_modulus_derivative == pytest.approx(COPPER_LIKE.bulk_modulus_derivative, rel=1e-6)
    assert found.rms < 1e-12


def test_fit_agrees_with_that_of_ase_on_emt_energies_of_silver() -> None:
    volumes = list(np.linspace(16.1, 17.4, 7))
    energies = [emt.energy("Ag", volume) for volume in volumes]
    found = fit(volumes, energies)
    volume, energy, stiffness = AseEquationOfState(volumes, energies, eos="birchmurnaghan").fit()
    assert found.volume == pytest.approx(volume, rel=1e-6)
    assert found.energy == pytest.approx(energy, abs=1e-7)
    assert found.bulk_modulus == pytest.approx(stiffness * GPA_PER_EV_PER_CUBIC_ANGSTROM, rel=1e-4)


def test_curve_goes_through_the_energies_that_were_fitted() -> None:
    volumes = np.linspace(11.1, 12.0, 5)
    energies = np.array([emt.energy("Cu", volume) for volume in volumes])
    assert fit(list(volumes), list(energies)).energy_at(volumes) == pytest.approx(energies, abs=1e-5)


def test_lattice_constant_is_the_edge_of_a_cube_of_four_atoms() -> None:
    assert COPPER_LIKE.lattice_constant**3 == pytest.approx(4 * 11.6)
    assert lattice_constant(16.0) == pytest.approx(4.0)


def test_energies_without_a_minimum_are_refused() -> None:
    with pytest.raises(NoMinimum):
        fit([10, 11, 12, 13], [-1, -2, -3, -4])


def test_too_few_volumes_are_refused_with_their_number() -> None:
    with pytest.raises(ValueError, match="not 3"):
        fit([10, 11, 12, 12], [0, 1, 2, 2])
