"""The notebook runs from its first cell to its last, over a site of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.pages import environment, stop_sites

NOTEBOOK = Path(__file__).parents[2] / "examples" / "campaign.ipynb"


def test_the_notebook_runs_a_campaign(short_directory: Path) -> None:
    copy = short_directory / "campaign.ipynb"
    copy.write_bytes(NOTEBOOK.read_bytes())
    environ = environment(short_directory) | {
        "JUPYTER_PLATFORM_DIRS": "1",
        "IPYTHONDIR": str(short_directory / "ipython"),
    }
    command = [f"{Path(sys.executable).parent}/jupyter-execute", "--inplace", "--timeout=100", str(copy)]
    try:
        done = subprocess.run(
            command, cwd=short_directory, env=environ, capture_output=True, text=True, timeout=110, check=False
        )
    finally:
        stop_sites(short_directory)
    assert done.returncode == 0, done.stdout + done.stderr
    printed = outputs(copy)
    assert "30 jobs finished" in printed
    assert "0.1  0.5591" in printed  # C. M. Bender and T. T. Wu, Phys. Rev. 184, 1231 (1969): 0.559146
    assert pictures(copy) == 1


def test_what_is_checked_in_has_no_output() -> None:
    """So that changes can be read, and no path of somebody's machine is in it."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def pictures(notebook: Path) -> int:
    """How many pictures its cells show."""
    cells = json.loads(notebook.read_text())["cells"]
    return sum("image/png" in output.get("data", ()) for cell in cells for output in cell.get("outputs", ()))


def outputs(notebook: Path) -> str:
    """All that the cells have printed."""
    cells = json.loads(notebook.read_text())["cells"]
    found = [output for cell in cells for output in cell.get("outputs", ())]
    return "".join("".join(output.get("text", ())) for output in found)
