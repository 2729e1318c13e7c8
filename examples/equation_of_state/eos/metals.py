"""The metals of the campaign, and what experiments say of them."""

from __future__ import annotations

from typing import NamedTuple

METALS = ("Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt")
"""The fcc metals that ASE's EMT potential describes."""


class Measured(NamedTuple):
    """Values at room temperature."""

    lattice_constant: float
    """Edge of the cubic cell [Å]."""
    bulk_modulus: float
    """Isothermal bulk modulus [GPa]."""


EXPERIMENT = {
    "Al": Measured(4.05, 72.2),
    "Cu": Measured(3.61, 137.0),
    "Ag": Measured(4.09, 100.7),
    "Au": Measured(4.08, 173.2),
    "Ni": Measured(3.52, 186.0),
    "Pd": Measured(3.89, 180.8),
    "Pt": Measured(3.92, 278.3),
}
"""C. Kittel, Introduction to Solid State Physics, 8th ed. (Wiley, 2005): chapter 1, table 3 (crystal
structures), and chapter 3, table 3 (bulk moduli). For information: EMT is not fitted to all of them."""
