"""The universal binding curve, fitted by one process, by ranks in threads, and by ranks of mpiexec."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from eos import emt
from eos import universal_curve as uc

METALS = 3
TRUE = uc.Universal(
    k=0.03,
    cohesive=np.array([3.3, 2.9, 5.8]),
    radius=np.array([1.56, 1.59, 1.53]),
    length=np.array([0.48, 0.28, 0.24]),
)
START = uc.Universal(uc.ROSE_K, TRUE.cohesive * 1.02, TRUE.radius * 0.99, TRUE.length * 1.05)


def points_of(curve: uc.Universal) -> uc.Points:
    a = np.tile(np.linspace(-0.6, 2, 15), METALS)
    metal = np.repeat(np.arange(METALS), 15)
    radius = curve.radius[metal] + a * curve.length[metal]
    return uc.Points(metal, radius, curve.cohesive[metal] * uc.scaled_energy(a, curve.k))


def one_rank(values: np.ndarray) -> np.ndarray:
    return values


def part(points: uc.Points, rank: int, ranks: int) -> uc.Points:
    return uc.Points(points.metal[rank::ranks], points.radius[rank::ranks], points.energy[rank::ranks])


class Ranks:
    """An Allreduce between threads."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=30)
        self.parts: list[np.ndarray | None] = [None] * size

    def total(self, rank: int) -> uc.Sum:
        def add(values: np.ndarray) -> np.ndarray:
            self.parts[rank] = values
            self.barrier.wait()
            result = np.sum(self.parts, axis=0)
            self.barrier.wait()
            return np.asarray(result)

        return add


def assert_same(found: uc.Universal, expected: uc.Universal) -> None:
    assert found.k == pytest.approx(expected.k, abs=1e-8)
    for name in ("cohesive", "radius", "length"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-8)


def test_fit_finds_the_curve_that_made_the_energies() -> None:
    found = uc.fit(points_of(TRUE), START, one_rank)
    assert_same(found, TRUE)
    assert found.rms < 1e-8


def test_ranks_with_a_part_each_find_the_same_curve() -> None:
    points, ranks = points_of(TRUE), Ranks(3)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda rank: uc.fit(part(points, rank, 3), START, ranks.total(rank)), range(3)))
    for curve in found:
        assert_same(curve, TRUE)


def test_rank_without_its_part_of_the_sum_finds_another_curve() -> None:
    noisy = points_of(TRUE)
    noisy.energy[::2] *= 1.01
    whole = uc.fit(noisy, START, one_rank)
    alone = uc.fit(part(noisy, 0, 2), START, one_rank)
    assert abs(alone.k - whole.k) > 1e-4


def test_derivatives_are_those_of_the_residuals() -> None:
    points, weight = points_of(TRUE), np.ones(15 * METALS)
    x = np.concatenate([[START.k], START.cohesive, START.radius, START.length])
    _, jacobian = uc._linearized(points, x, METALS, weight)
    for i, step in enumerate(np.eye(len(x)) * 1e-6):
        above, below = (uc._linearized(points, x + sign * step, METALS, weight)[0] for sign in (1, -1))
        assert jacobian[:, i] == pytest.approx((above - below) / 2e-6, abs=1e-6)


def test_pressure_derivative_of_the_bulk_modulus_follows_from_the_curve() -> None:
    metal, h = 1, 1e-3
    radius = TRUE.radius[metal] + h * np.arange(-3, 4)
    volume = uc.sphere_volume(radius)
    a = (radius - TRUE.radius[metal]) / TRUE.length[metal]
    pressure = -np.gradient(TRUE.cohesive[metal] * uc.scaled_energy(a, TRUE.k), volume)
    stiffness = -volume * np.gradient(pressure, volume)
    slope = np.gradient(stiffness[2:5], pressure[2:5])[1]
    assert slope == pytest.approx(TRUE.bulk_modulus_derivative[metal], rel=0.01)


def test_length_follows_from_the_bulk_modulus() -> None:
    length = uc.scaling_length(cohesive=3.5, radius=1.4, bulk_modulus=134.0)
    h = 1e-4
    a = np.array([-h, 0, h]) / length
    second = np.diff(3.5 * uc.scaled_energy(a, 0.0), 2)[0] / h**2
    assert second / (12 * np.pi * 1.4) * uc.GPA_PER_EV_PER_CUBIC_ANGSTROM == pytest.approx(134.0, rel=1e-4)


def test_emt_metals_fall_on_rydbergs_curve() -> None:
    symbols = ("Cu", "Ag", "Pt")
    volumes = [emt.relaxed_volume(symbol, 15.0) for symbol in symbols]
    cohesive = np.array([-emt.energy(s, v) for s, v in zip(symbols, volumes, strict=True)])
    radius = np.array([uc.sphere_radius(v) for v in volumes])
    stiffness = [emt.bulk_modulus(s, v) for s, v in zip(symbols, volumes, strict=True)]
    length = np.array([uc.scaling_length(*row) for row in zip(cohesive, radius, stiffness, strict=True)])
    start = uc.Universal(uc.ROSE_K, cohesive, radius, length)
    shape = points_of(start)
    energy = [emt.energy(symbols[m], uc.sphere_volume(r)) for m, r in zip(shape.metal, shape.radius, strict=True)]
    found = uc.fit(uc.Points(shape.metal, shape.radius, np.array(energy)), start, one_rank)
    assert found.k == pytest.approx(0, abs=0.02)
    assert found.rms < 0.01
    assert found.length == pytest.approx(length, rel=0.02)


def test_sphere_of_an_atom_has_its_volume() -> None:
    assert uc.sphere_volume(uc.sphere_radius(16.7)) == pytest.approx(16.7)


def test_fit_that_does_not_settle_says_so() -> None:
    with pytest.raises(RuntimeError, match="did not converge in 1 "):
        uc.fit(points_of(TRUE), START, one_rank, max_steps=1)
