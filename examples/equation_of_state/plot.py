"""Draws the equations of state, and how they fall on one curve, as ``equation_of_state.png``.

Reads ``eos_METAL.json`` and ``universal.json`` from the working directory, where Balsam linked them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from eos.birch_murnaghan import EquationOfState
from eos.universal_curve import ROSE_K, scaled_energy

COLOURS = {
    "Al": "#7f7f7f",
    "Cu": "#c8642c",
    "Ag": "#5b8fc9",
    "Au": "#d9a400",
    "Ni": "#2f7d4f",
    "Pd": "#8e5bb5",
    "Pt": "#23394f",
}
FITTED_WIDTH = 0.05
"""The fitted equations are drawn for V0 (1 ± this): a bit more than the volumes of the last scan."""
HIGHEST_SHOWN = -2.0
"""Energies [eV/atom] above this, of crystals squeezed or pulled far, are left out."""


def draw_equations_of_state(axes: Axes, fits: list[dict[str, Any]], universal: dict[str, Any]) -> None:
    """E(V) of every metal: scanned energies, the fitted equation, and the universal curve scaled to it."""
    for fit in fits:
        _draw_metal(axes, fit, universal)
    axes.set_xlabel("volume per atom  (Å³)")
    axes.set_ylabel("energy per atom, relative to the free atom  (eV)")
    axes.set_title("Equations of state of the EMT potential", fontsize=11)
    axes.set_ylim(min(fit["eos"]["energy"] for fit in fits) - 0.35, HIGHEST_SHOWN)
    _legend_of_marks(axes)


def _draw_metal(axes: Axes, fit: dict[str, Any], universal: dict[str, Any]) -> None:
    found, colour = EquationOfState(**fit["eos"]), COLOURS[fit["metal"]]
    *earlier, last = fit["scans"]
    wide = np.linspace(fit["scans"][0]["volumes"][0], fit["scans"][0]["volumes"][-1], 200)
    axes.plot(wide, _scaled_back(universal, fit["metal"], wide), color=colour, linewidth=0.8, alpha=0.6)
    near = found.volume * np.linspace(1 - FITTED_WIDTH, 1 + FITTED_WIDTH, 100)
    axes.plot(near, found.energy_at(near), color=colour, linewidth=2.2)
    for scan in earlier:
        axes.plot(scan["volumes"], scan["energies"], "o", color=colour, markersize=4.5, markerfacecolor="white")
    axes.plot(last["volumes"], last["energies"], "o", color=colour, markersize=5, markeredgecolor="white")
    axes.annotate(
        fit["metal"],
        (found.volume, found.energy),
        xytext=(0, -17),
        textcoords="offset points",
        ha="center",
        color=colour,
        fontweight="bold",
    )


def _scaled_back(universal: dict[str, Any], metal: str, volumes: np.ndarray) -> np.ndarray:
    """Energies [eV/atom] that the universal curve gives a metal at these volumes [Å³]."""
    own = universal["metals"][metal]
    radius = (3 * volumes / (4 * np.pi)) ** (1 / 3)
    a = (radius - own["radius"]) / own["length"]
    return np.asarray(own["cohesive_energy"] * scaled_energy(a, universal["k"]))


def _legend_of_marks(axes: Axes) -> None:
    marks: dict[str, dict[str, Any]] = {
        "scanned volume": {"marker": "o", "markerfacecolor": "white", "linestyle": ""},
        "volume of the last scan": {"marker": "o", "linestyle": ""},
        "Birch–Murnaghan fit": {"linewidth": 2.2},
        "universal curve, scaled": {"linewidth": 0.8},
    }
    handles = [Line2D([], [], color="#444444", markersize=4.5, label=label, **mark) for label, mark in marks.items()]
    axes.legend(handles=handles, frameon=False, fontsize=8.5, loc="lower left")


def draw_universal_curve(axes: Axes, universal: dict[str, Any]) -> None:
    """All metals in units of their cohesive energy and length, with the common curve and that of Rose."""
    points = universal["points"]
    metals = np.array(points["metal"])
    distance, energy = np.array(points["distance"]), np.array(points["energy"])
    a = np.linspace(distance.min(), distance.max(), 300)
    axes.plot(a, scaled_energy(a, ROSE_K), "--", color="#999999", linewidth=1.2, label=f"Rose et al., k = {ROSE_K}")
    label = f"fitted to all, k = {universal['k']:.3f}".replace("-", "−")
    axes.plot(a, scaled_energy(a, universal["k"]), color="black", linewidth=1.2, label=label)
    for metal in sorted(set(metals)):
        chosen = metals == metal
        look: dict[str, Any] = {"color": COLOURS[str(metal)], "markersize": 4, "alpha": 0.8, "markeredgewidth": 0}
        axes.plot(distance[chosen], energy[chosen], "o", label=metal, **look)
    axes.set_xlabel("scaled distance  $(r - r_0) / l$")
    axes.set_ylabel("scaled energy  $E / E_\\mathrm{c}$")
    axes.set_title(f"All metals on one curve, rms {universal['rms']:.2%} of the cohesive energy", fontsize=11)
    axes.legend(frameon=False, fontsize=8.5, ncols=2)


def draw(fits: list[dict[str, Any]], universal: dict[str, Any], target: Path) -> None:
    """Writes the figure to `target`."""
    style: Any = {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#eeeeee",
        "font.size": 9.5,
    }
    with plt.rc_context(style):
        figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.6), layout="constrained")
        draw_equations_of_state(left, fits, universal)
        draw_universal_curve(right, universal)
        figure.savefig(target, dpi=150)
        plt.close(figure)


def main() -> None:
    """Draws what the working directory holds."""
    fits = [json.loads(file.read_text()) for file in sorted(Path.cwd().glob("eos_*.json"))]
    universal = json.loads(Path("universal.json").read_text())
    draw(fits, universal, Path("equation_of_state.png"))
    print(f"equation_of_state.png: {len(fits)} metals")


if __name__ == "__main__":
    main()
