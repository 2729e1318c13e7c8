"""The comparison with the reference, and what is written of it."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from eos import report
from eos.metals import METALS


def fit_data(metal: str, a: float = 4.0, b: float = 100.0) -> dict[str, Any]:
    return {
        "metal": metal,
        "round": 1,
        "converged": True,
        "lattice_constant": a,
        "bulk_modulus": b,
        "bulk_modulus_derivative": 5.0,
    }


REFERENCES = {metal: {"lattice_constant": 4.0, "bulk_modulus": 100.0} for metal in METALS}
UNIVERSAL = {
    "k": -0.005,
    "rms": 0.002,
    "points_of_ranks": [95, 94],
    "metals": {metal: {"cohesive_energy": 3.5, "length": 0.25, "bulk_modulus_derivative": 4.9} for metal in METALS},
}


def rows_with(changed: dict[str, Any]) -> list[report.Row]:
    fits = [changed if metal == changed["metal"] else fit_data(metal) for metal in METALS]
    return report.rows(fits, REFERENCES, UNIVERSAL)


def test_values_within_the_tolerances_pass() -> None:
    assert report.deviations(rows_with(fit_data("Cu", a=4.0199, b=97.1))) == []


def test_lattice_constant_too_far_off_is_named_with_both_values() -> None:
    (sentence,) = report.deviations(rows_with(fit_data("Cu", a=4.0201)))
    assert sentence == "Cu: lattice constant 4.0201 Å is +0.50% from the reference 4.0000 Å; 0.5% is allowed"


def test_bulk_modulus_too_far_off_is_named_with_both_values() -> None:
    (sentence,) = report.deviations(rows_with(fit_data("Pt", b=96.9)))
    assert sentence == "Pt: bulk modulus 96.90 GPa is -3.10% from the reference 100.00 GPa; 3% is allowed"


def test_value_that_is_not_a_number_does_not_pass() -> None:
    assert len(report.deviations(rows_with(fit_data("Ni", a=math.nan, b=math.nan)))) == 2


def test_fit_that_has_not_converged_is_no_result() -> None:
    with pytest.raises(report.Incomplete, match="no converged fit of Ag"):
        rows_with(fit_data("Ag") | {"converged": False})


def test_missing_reference_is_named() -> None:
    references = {metal: data for metal, data in REFERENCES.items() if metal not in ("Al", "Pt")}
    with pytest.raises(report.Incomplete, match="no reference of Al, Pt"):
        report.rows([fit_data(metal) for metal in METALS], references, UNIVERSAL)


def test_tables_show_every_metal_with_its_deviation() -> None:
    results = rows_with(fit_data("Au", a=4.002))
    console = Console(width=110, file=io.StringIO(), record=True)
    console.print(report.results_table(results))
    console.print(report.universal_table(results))
    lines = console.export_text().splitlines()
    assert [line for line in lines if "Au" in line and "+0.050%" in line and "4.08" in line]
    assert all(sum(metal in line.split() for line in lines) == 2 for metal in METALS)
    assert any("Ec (eV)" in line for line in lines)


def test_caption_says_how_many_ranks_found_what() -> None:
    assert report.universal_caption(UNIVERSAL) == (
        "fitted on 2 MPI ranks: k = -0.0050 (Rydberg 0, Rose 0.05), rms 0.20% of Ec"
    )


def test_files_hold_every_row(tmp_path: Path) -> None:
    results = rows_with(fit_data("Al"))
    as_json, as_csv = report.write(results, UNIVERSAL, tmp_path)
    assert [row["metal"] for row in json.loads(as_json.read_text())["metals"]] == list(METALS)
    with open(as_csv, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["reference_lattice_constant"]) for row in rows] == [4.0] * len(METALS)
