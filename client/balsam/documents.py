"""What a file of TOML, JSON or YAML holds. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from typing import Any


def parse(data: bytes, kind: str) -> Any:
    """What a document holds.

    Args:
        data: the whole of it, in UTF-8.
        kind: one of `KINDS`.

    Raises:
        ValueError: it is not valid; says why and where, not in which file.
    """
    try:
        return KINDS[kind](data.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is not UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _json(text: str) -> Any:
    import json

    return json.loads(text)


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


KINDS: Mapping[str, Callable[[str], Any]] = {"toml": tomllib.loads, "json": _json, "yaml": _yaml, "yml": _yaml}
"""Kind, as names of files end -> what reads it."""
