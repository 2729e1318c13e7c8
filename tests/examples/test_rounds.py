"""The plan of the scans, run on real EMT energies without Balsam."""

from __future__ import annotations

import pytest

from eos import emt, rounds
from eos.birch_murnaghan import EquationOfState
from eos.metals import METALS
from eos.units import lattice_constant


def scan_until_done(symbol: str, volumes: list[float]) -> tuple[EquationOfState, int]:
    """What the campaign does for one metal: the last fit, and how many scans it took."""
    before = None
    for number in range(1, rounds.MAX_ROUNDS + 1):
        energies = [emt.energy(symbol, volume) for volume in volumes]
        found = rounds.try_fit(volumes, energies)
        if found is not None and not rounds.doubts(volumes, found, before):
            return found, number
        volumes = rounds.next_volumes(volumes, energies, found)
        before = found.volume if found is not None else None
    pytest.fail(f"{symbol} did not converge")


@pytest.mark.parametrize("symbol", METALS)
def test_scans_end_at_the_relaxed_cell(symbol: str) -> None:
    found, _ = scan_until_done(symbol, rounds.spread(*rounds.COARSE))
    volume = emt.relaxed_volume(symbol, 15.0)
    assert found.lattice_constant == pytest.approx(lattice_constant(volume), rel=0.005)
    assert found.bulk_modulus == pytest.approx(emt.bulk_modulus(symbol, volume), rel=0.03)


def test_some_metal_needs_more_scans_than_another() -> None:
    numbers = {symbol: scan_until_done(symbol, rounds.spread(*rounds.COARSE))[1] for symbol in ("Al", "Cu")}
    assert numbers == {"Al": 3, "Cu": 2}


@pytest.mark.parametrize("volumes", [rounds.spread(18, 24, 5), rounds.spread(8, 10, 5)])
def test_scan_beside_the_minimum_is_moved_until_it_brackets_it(volumes: list[float]) -> None:
    energies = [emt.energy("Cu", volume) for volume in volumes]
    assert rounds.try_fit(volumes, energies) is None
    found, _ = scan_until_done("Cu", volumes)
    assert found.lattice_constant == pytest.approx(3.590, abs=0.01)


def test_wide_spacing_is_a_doubt_even_when_the_fit_is_perfect() -> None:
    volumes = rounds.spread(9, 21, 7)
    perfect = EquationOfState(volume=15.5, energy=-3, bulk_modulus=100, bulk_modulus_derivative=5)
    assert rounds.doubts(volumes, perfect, None) == ["bracketed within 12.9%, not 2.5%"]


def test_rough_fit_and_moving_minimum_are_doubts() -> None:
    volumes = rounds.spread(14.4, 15.6, 5)
    rough = EquationOfState(volume=15.0, energy=-3, bulk_modulus=100, bulk_modulus_derivative=5, rms=0.002)
    assert rounds.doubts(volumes, rough, before=14.0) == [
        "rms of the fit is 2 meV, over 0.1 meV",
        "moved by 0.0890 Å, over 0.01 Å",
    ]


def test_volumes_include_both_ends_and_are_short_as_text() -> None:
    assert rounds.spread(9, 10, 4) == [9, 9.333333, 9.666667, 10]
