"""The layers: services meet over gRPC only."""

from __future__ import annotations

import subprocess
import sys

import pytest

from scripts.check_imports import PACKAGES, ROOT, main, violations


def test_no_service_imports_another(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("package", "source", "names"),
    [
        ("balsam_scheduler", "from balsam_jobstore import store", ["balsam_jobstore"]),
        ("balsam_launcher", "import os, balsam_scheduler.rules", ["balsam_scheduler"]),
        ("balsam", "def late():\n    from balsam_cli.main import main", ["balsam_cli"]),
        ("balsam_cli", "from balsam_jobstore import store", ["balsam_jobstore"]),
        ("balsam_cli", "from balsam_launcher.main import main", []),
        ("balsam_cli", "import balsam_scheduler.batch\nfrom balsam_scheduler.batch.submitting import submit", []),
        ("balsam_cli", "from balsam_scheduler import batch", []),
        ("balsam_cli", "from balsam_web.serving import serve", []),
        ("balsam_web", "from balsam_cli.watch import Changes", ["balsam_cli"]),
        ("balsam_cli", "from balsam_scheduler.batches import service", ["balsam_scheduler"]),
        ("balsam_cli", "from balsam_scheduler.service import run", ["balsam_scheduler"]),
        ("balsam_jobstore", "from balsam_jobstore import store\nimport balsam.states", []),
        ("balsam_jobstore", "from . import store", []),
    ],
)
def test_imports_across_services_are_found(package: str, source: str, names: list[str]) -> None:
    assert [name for _, name in violations(package, source)] == names


def test_every_package_is_checked() -> None:
    there = {path.parent.name for path in ROOT.glob("*/*/__init__.py")} | {
        path.parent.name for path in ROOT.glob("services/*/*/__init__.py")
    }
    assert {name for name in there if name.startswith("balsam")} == set(PACKAGES)


def test_submitting_loads_nothing_of_a_service() -> None:
    """The CLI imports it."""
    heavy = {"sqlalchemy", "grpc", "grpc.aio", "asyncio", "jinja2", "balsam_scheduler.service"}
    code = "import sys, balsam_scheduler.batch.submitting, balsam_scheduler.batch.cancelling;"
    code += f"print(*{heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("package", ["balsam.site", "balsam.rpc", "balsam.fields"])
def test_the_library_is_cheap_to_import(package: str) -> None:
    """It is imported by every script of every job and by every MPI rank."""
    heavy = {"sqlalchemy", "alembic", "rich", "click", "mpi4py", "numpy", "grpc"}
    code = f"import sys, {package}; print(*{heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
