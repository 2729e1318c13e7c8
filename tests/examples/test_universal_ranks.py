"""The universal curve on real MPI ranks, and the figure drawn of it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from eos import emt, rounds
from tests.examples.conftest import EXAMPLE

pytestmark = pytest.mark.mpi

PROGRAM = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from mpi4py import MPI
import universal
result = universal.fit_together(universal.read_fits(Path.cwd()), MPI.COMM_WORLD)
if result is not None:
    Path("universal.json").write_text(json.dumps(result))
"""


@pytest.fixture
def fits(tmp_path: Path) -> Path:
    """A directory with the fits of two metals, as the campaign's fits write them."""
    for metal, centre in (("Cu", 11.57), ("Pd", 14.59)):
        volumes = rounds.spread(centre * 0.96, centre * 1.04, 5)
        energies = [emt.energy(metal, volume) for volume in volumes]
        found = rounds.try_fit(volumes, energies)
        assert found is not None
        scans = [{"volumes": volumes, "energies": energies}]
        content = {"metal": metal, "eos": asdict(found), "scans": scans}
        (tmp_path / f"eos_{metal}.json").write_text(json.dumps(content))
    return tmp_path


def run_ranks(ranks: int, directory: Path) -> dict[str, Any]:
    mpiexec = Path(sys.executable).parent / "mpiexec"
    command = [str(mpiexec), "-n", str(ranks), sys.executable, "-m", "mpi4py", "-c", PROGRAM, str(EXAMPLE)]
    subprocess.run(command, cwd=directory, check=True, timeout=100)
    result: dict[str, Any] = json.loads((directory / "universal.json").read_text())
    return result


def test_any_number_of_ranks_finds_the_same_curve(fits: Path) -> None:
    one, three = run_ranks(1, fits), run_ranks(3, fits)
    assert one["points_of_ranks"] == [54]
    assert three["points_of_ranks"] == [18, 18, 18]
    assert three["k"] == pytest.approx(one["k"], abs=1e-9)
    for metal in ("Cu", "Pd"):
        assert three["metals"][metal] == pytest.approx(one["metals"][metal], rel=1e-9)


def test_figure_is_drawn_from_what_ranks_and_fits_wrote(fits: Path) -> None:
    run_ranks(2, fits)
    subprocess.run([sys.executable, EXAMPLE / "plot.py"], cwd=fits, check=True, timeout=100)
    picture = (fits / "equation_of_state.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000
