"""Checks the layers: no service imports another, the library imports none of them, nothing imports upwards in any.

Services meet over gRPC only, so that each can be restarted, replaced and scaled by itself. The layers of each package
are the table of ``scripts/layers.py``; what a layer does without (SQL, messages, all I/O) is checked as well, SQL also
where it is written as text.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":  # `python scripts/check_imports.py` finds the scripts beside it only
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.layers import FOR_TYPES, LAYERS, SQL, Layer

ROOT = Path(__file__).resolve().parent.parent

PACKAGES = {
    "balsam": "client",
    "balsam_jobstore": "services/jobstore",
    "balsam_scheduler": "services/scheduler",
    "balsam_launcher": "services/launcher",
    "balsam_cli": "cli",
    "balsam_web": "web",
}
"""Package -> the directory that it is in."""

EXCEPTIONS = {"balsam_cli": ("balsam_launcher", "balsam_scheduler.batch", "balsam_web")}
"""The command `balsam launcher` is the launcher, in the same process, and `balsam web` serves the page. Launches are
submitted and cancelled in the shell and the account of who asks for that, so by the command itself; the scheduler only
looks after them."""

_STATEMENT = re.compile(r"\s*(SELECT .+ FROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM|WITH \w+ AS \()", re.DOTALL)


def modules(package: str) -> dict[str, Path]:
    """The modules of a package, named without it (the package itself is ``""``), and their files."""
    root = ROOT / PACKAGES[package] / package
    files = {".".join(file.relative_to(root).with_suffix("").parts): file for file in sorted(root.rglob("*.py"))}
    return {re.sub(r"\.?__init__$", "", name): file for name, file in files.items()}


def layer_of(package: str, module: str) -> int:
    """The number of a module's layer, from the top: of several the first that names it.

    Raises:
        LookupError: no layer names it.
    """
    for number, layer in enumerate(LAYERS[package]):
        if layer.has(module):
            return number
    raise LookupError(f"{package}.{module} is in no layer: scripts/layers.py says where it belongs")


def imported(source: str) -> Iterator[tuple[int, str]]:
    """Line and full name of every import in a module, those inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def violations(package: str, source: str) -> list[tuple[int, str]]:
    """Lines of a module of `package` that import what it must not: packages of ours, other than itself and `balsam`."""
    forbidden = PACKAGES.keys() - {package, "balsam"}
    allowed = tuple(f"{name}." for name in EXCEPTIONS.get(package, ()))
    names = [(line, name) for line, name in imported(source) if not f"{name}.".startswith(allowed)]
    return [(line, name.partition(".")[0]) for line, name in names if name.partition(".")[0] in forbidden]


def upwards(package: str, module: str, source: str) -> list[tuple[int, str]]:
    """Lines of a module that reach above its layer, or for what its layer does without; and what is wrong with each.

    Args:
        package: one of ours.
        module: its name without the package.
        source: its text.

    Raises:
        LookupError: it is in no layer.
    """
    number = layer_of(package, module)
    layer = LAYERS[package][number]
    found = []
    for line, name in imported(source):
        above = _above(package, number, name)
        if above:
            found.append((line, f"{layer.name} must not import {name}, of the layer {above.name} above it"))
        elif any(f"{name}.".startswith(f"{other}.") for other in layer.without):
            found.append((line, f"{layer.name} does without {name}"))
    if layer.without >= SQL:
        found += [(line, f"{layer.name} does without SQL: {text[:40]!r}") for line, text in _statements(source)]
    return found


def _above(package: str, number: int, name: str) -> Layer | None:
    """The layer of what is imported, if that is above layer `number` of the same package."""
    if not name.startswith(f"{package}.") or name.rpartition(".")[0] in FOR_TYPES:
        return None
    there = modules(package)
    module = name.removeprefix(f"{package}.")
    while module and module not in there:
        module = module.rpartition(".")[0]
    other = layer_of(package, module) if module else number
    return LAYERS[package][other] if other < number else None


def _statements(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every string that is a statement of SQL."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _STATEMENT.match(node.value):
            yield node.lineno, node.value


def problems() -> Iterator[str]:
    """A line for each thing that is wrong in the code as it is."""
    for package in PACKAGES:
        for module, file in modules(package).items():
            source = file.read_text()
            found = [(line, f"{package} must not import {name}") for line, name in violations(package, source)]
            try:
                found += upwards(package, module, source) if module and not module.startswith("v1") else []
            except LookupError as error:
                found.append((1, str(error)))
            yield from (f"{file.relative_to(ROOT)}:{line}: {what}" for line, what in found)


def main() -> int:
    """Prints the violations; 1 if there are any."""
    found = list(problems())
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
