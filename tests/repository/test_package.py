"""The distribution: one version, and everything in the wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from balsam.version import VERSION
from scripts.check_imports import PACKAGES, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_there_is_one_version() -> None:
    assert PROJECT["project"]["version"] == VERSION


def test_the_changelog_names_the_version_or_what_is_to_come() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{VERSION}]" in changelog or "## [Unreleased]" in changelog


def test_every_dependency_has_its_reason() -> None:
    """In docs/dependencies.md."""
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    extras = PROJECT["project"]["optional-dependencies"]
    named = {_name(text) for texts in (PROJECT["project"]["dependencies"], *extras.values()) for text in texts}
    assert sorted(name for name in named - {"balsam"} if f"`{name}`" not in reasons) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_typed_and_packed(package: str) -> None:
    directory = f"{PACKAGES[package]}/{package}"
    build = PROJECT["tool"]["hatch"]["build"]
    assert (ROOT / directory / "py.typed").exists()
    assert directory in build["targets"]["wheel"]["packages"]
    assert PACKAGES[package] in build["dev-mode-dirs"]


@pytest.mark.slow
def test_the_wheel_holds_every_source_file_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())

    sources = {
        str(file.relative_to(ROOT / root))
        for package, root in PACKAGES.items()
        for file in (ROOT / root / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    scripts = {name for name in packed if ".data/scripts/" in name}
    assert {name for name in packed - scripts if ".dist-info/" not in name} == sources
    assert {Path(name).name for name in scripts} == {file.name for file in (ROOT / "cli" / "shell").iterdir()}


def _name(requirement: str) -> str:
    return re.split(r"[\[<>=~ ]", requirement)[0]
