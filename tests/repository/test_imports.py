"""The layers: services meet over gRPC only, and within each nothing imports upwards."""

from __future__ import annotations

import subprocess
import sys
from fnmatch import fnmatchcase

import pytest

from scripts.check_imports import PACKAGES, ROOT, layer_of, main, modules, upwards, violations
from scripts.layers import LAYERS


def test_the_code_keeps_to_its_layers(capsys: pytest.CaptureFixture[str]) -> None:
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


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("balsam_jobstore.jobs", "from balsam_jobstore.server import convert", "of the layer server above it"),
        ("balsam_jobstore.jobs", "def late():\n    from balsam_jobstore import store", "of the layer store above it"),
        ("balsam_jobstore.jobs", "from balsam.v1 import job_pb2", "verbs does without balsam.v1"),
        ("balsam_jobstore.server.jobs", "import sqlalchemy as sa", "server does without sqlalchemy"),
        ("balsam_jobstore.server.jobs", "text = 'SELECT key FROM job'", "server does without SQL"),
        ("balsam_jobstore.server.jobs", "f'UPDATE job SET {text}'", "server does without SQL"),
        ("balsam_launcher.placement", "import os.path", "core does without os"),
        ("balsam_launcher.agent", "from balsam_launcher.launcher import Launcher", "of the layer launcher above it"),
        ("balsam_scheduler.batch.planning", "from balsam_scheduler.batch import rounds", "of the layer batch above it"),
        ("balsam_cli.tree", "from balsam_cli.commands.ls import command", "of the layer commands above it"),
        ("balsam.states", "from balsam import Job", ""),
        ("balsam.job_calls", "from balsam.job import Job", "of the layer interface above it"),
        ("balsam.job_calls", "from balsam.client import Client", ""),
        ("balsam_jobstore.server.jobs", "from balsam_jobstore import jobs\nfrom balsam.v1 import job_pb2", ""),
        ("balsam_jobstore.server.jobs", "'select one of these, from a table'", ""),
    ],
)
def test_imports_upwards_are_found(module: str, source: str, said: str) -> None:
    package, _, name = module.partition(".")
    found = [what for _, what in upwards(package, name, source)]
    assert len(found) == bool(said)
    assert said in "".join(found)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_has_a_layer_and_every_name_in_the_table_is_a_module(package: str) -> None:
    there = [module for module in modules(package) if module]
    for module in there:
        layer_of(package, module)
    for layer in LAYERS[package]:
        alone = [pattern for pattern in layer.modules if not any(fnmatchcase(module, pattern) for module in there)]
        assert alone == [], f"{package}, layer {layer.name}"


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
