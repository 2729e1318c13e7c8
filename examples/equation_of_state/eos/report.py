"""The results of the campaign: compared with the reference, as a table, as files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from eos.metals import EXPERIMENT, METALS

LATTICE_TOLERANCE = 0.005
"""Largest deviation of a lattice constant from the reference, as a part of it."""
BULK_TOLERANCE = 0.03
"""Largest deviation of a bulk modulus from the reference, as a part of it."""


@dataclass(frozen=True)
class Row:
    """One metal: lattice constants in Å, bulk moduli in GPa, deviations as parts of the reference."""

    metal: str
    scans: int
    lattice_constant: float
    reference_lattice_constant: float
    lattice_deviation: float
    experimental_lattice_constant: float
    bulk_modulus: float
    reference_bulk_modulus: float
    bulk_deviation: float
    experimental_bulk_modulus: float
    cohesive_energy: float
    """Ec of the universal curve [eV/atom]."""
    length: float
    """l of the universal curve [Å]."""
    bulk_modulus_derivative: float
    """dB/dP of the fit of E(V)."""
    universal_bulk_modulus_derivative: float
    """dB/dP of the universal curve."""


class Incomplete(ValueError):
    """Some result is missing."""


def rows(
    fits: Iterable[Mapping[str, Any]], references: Mapping[str, Mapping[str, Any]], universal: Mapping[str, Any]
) -> list[Row]:
    """One row per metal, from the data of the fits, of the references (by metal) and of the universal curve.

    Raises:
        Incomplete: a metal has no converged fit, no reference, or no place on the curve.
    """
    converged = {fit["metal"]: fit for fit in fits if fit.get("converged")}
    curve = universal.get("metals", {})
    for name, found in (("converged fit", converged), ("reference", references), ("universal curve", curve)):
        missing = [metal for metal in METALS if metal not in found]
        if missing:
            raise Incomplete(f"no {name} of {', '.join(missing)}")
    return [_row(metal, converged[metal], references[metal], curve[metal]) for metal in METALS]


def _row(metal: str, fit: Mapping[str, Any], reference: Mapping[str, Any], curve: Mapping[str, Any]) -> Row:
    measured = EXPERIMENT[metal]
    return Row(
        metal=metal,
        scans=fit["round"] + 1,
        lattice_constant=fit["lattice_constant"],
        reference_lattice_constant=reference["lattice_constant"],
        lattice_deviation=fit["lattice_constant"] / reference["lattice_constant"] - 1,
        experimental_lattice_constant=measured.lattice_constant,
        bulk_modulus=fit["bulk_modulus"],
        reference_bulk_modulus=reference["bulk_modulus"],
        bulk_deviation=fit["bulk_modulus"] / reference["bulk_modulus"] - 1,
        experimental_bulk_modulus=measured.bulk_modulus,
        cohesive_energy=curve["cohesive_energy"],
        length=curve["length"],
        bulk_modulus_derivative=fit["bulk_modulus_derivative"],
        universal_bulk_modulus_derivative=curve["bulk_modulus_derivative"],
    )


def deviations(results: Sequence[Row]) -> list[str]:
    """What is farther from the reference than allowed, one sentence each."""
    found = []
    for row in results:
        # Not `>`: a value that is not a number must not pass.
        if not abs(row.lattice_deviation) <= LATTICE_TOLERANCE:
            found.append(
                f"{row.metal}: lattice constant {row.lattice_constant:.4f} Å is {row.lattice_deviation:+.2%} from "
                f"the reference {row.reference_lattice_constant:.4f} Å; {LATTICE_TOLERANCE:.1%} is allowed"
            )
        if not abs(row.bulk_deviation) <= BULK_TOLERANCE:
            found.append(
                f"{row.metal}: bulk modulus {row.bulk_modulus:.2f} GPa is {row.bulk_deviation:+.2%} from "
                f"the reference {row.reference_bulk_modulus:.2f} GPa; {BULK_TOLERANCE:.0%} is allowed"
            )
    return found


def results_table(results: Sequence[Row]) -> Table:
    """Lattice constants and bulk moduli against the reference and experiment."""
    table = Table(box=None)
    table.add_column("metal", style="bold")
    compared = ("relaxed", "deviation", "measured")
    for heading in ("scans", "a (Å)", *compared, "B (GPa)", *compared):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in results:
        table.add_row(
            row.metal,
            str(row.scans),
            f"{row.lattice_constant:.4f}",
            f"{row.reference_lattice_constant:.4f}",
            _percent(row.lattice_deviation, LATTICE_TOLERANCE),
            f"{row.experimental_lattice_constant:.2f}",
            f"{row.bulk_modulus:.1f}",
            f"{row.reference_bulk_modulus:.1f}",
            _percent(row.bulk_deviation, BULK_TOLERANCE),
            f"{row.experimental_bulk_modulus:.1f}",
        )
    return table


def universal_table(results: Sequence[Row]) -> Table:
    """What the MPI job found."""
    table = Table(box=None)
    table.add_column("metal", style="bold")
    for heading in ("Ec (eV)", "l (Å)", "dB/dP of the curve", "dB/dP of E(V)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in results:
        table.add_row(
            row.metal,
            f"{row.cohesive_energy:.3f}",
            f"{row.length:.4f}",
            f"{row.universal_bulk_modulus_derivative:.2f}",
            f"{row.bulk_modulus_derivative:.2f}",
        )
    return table


def universal_caption(universal: Mapping[str, Any]) -> str:
    """The curve that all metals share, in one line."""
    ranks, k, rms = len(universal["points_of_ranks"]), universal["k"], universal["rms"]
    return f"fitted on {ranks} MPI ranks: k = {k:.4f} (Rydberg 0, Rose 0.05), rms {rms:.2%} of Ec"


def _percent(part: float, tolerance: float) -> str:
    text = f"{part:+.3%}"
    return text if abs(part) <= tolerance else f"[red]{text}[/red]"


def write(results: Sequence[Row], universal: Mapping[str, Any], directory: Path) -> list[Path]:
    """Writes ``results.json`` and ``results.csv``; gives their paths."""
    as_json, as_csv = directory / "results.json", directory / "results.csv"
    content = {"metals": [asdict(row) for row in results], "universal": dict(universal)}
    as_json.write_text(json.dumps(content, indent=1) + "\n")
    with open(as_csv, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=[*Row.__dataclass_fields__])
        writer.writeheader()
        writer.writerows(asdict(row) for row in results)
    return [as_json, as_csv]
