"""gRPC without its own words on stderr: what is wrong with a connection our errors say, in one line.

Of each handshake that fails gRPC prints a line, whatever is made of it. It reads how much it may say from the
environment when it is loaded, and only then; and what we start, the jobs among it, must not inherit that from us.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType

ENV_VERBOSITY = "GRPC_VERBOSITY"
"""Of gRPC; who has set it wants to hear something."""


def keep_grpc_quiet() -> None:
    """From now on, when gRPC is loaded in this process, it is loaded so that it prints nothing."""
    if ENV_VERBOSITY not in os.environ and "grpc" not in sys.modules:
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Comes before the finders of Python, once."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != "grpc":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = _silent(spec.loader.exec_module)  # type: ignore[method-assign,assignment]
        return spec


def _silent(load: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    def loaded(module: ModuleType) -> None:
        os.environ[ENV_VERBOSITY] = "NONE"
        try:
            load(module)
        finally:
            os.environ.pop(ENV_VERBOSITY, None)

    return loaded
