"""The reference of the protos: their structure from the generated code, their comments from the files."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROTOS = ROOT / "protos" / "balsam" / "v1"

_OPENED = re.compile(r"(message|enum|service|oneof|rpc)\s+(\w+).*\{\}?$")
_NAMED = re.compile(r"(?:rpc\s+(\w+)\s*\()|(?:(?:[\w.<>, ]+\s)?(\w+)\s*=\s*\d+\s*;)")


def files() -> list[str]:
    """The names of the proto files, in order."""
    return sorted(path.name for path in PROTOS.glob("*.proto"))


def comments(file: str) -> dict[str, str]:
    """Full name within the package (``Job.State.CREATED``) -> the comment before it; of the package itself: ``""``.

    A oneof is no scope, as in protobuf itself: its members are the message's.
    """
    found: dict[str, str] = {}
    scope: list[str] = []
    pending: list[str] = []
    for line in map(str.strip, (PROTOS / file).read_text().splitlines()):
        if line.startswith("//"):
            pending.append(line.removeprefix("//").removeprefix(" "))
            continue
        opened, named = _OPENED.match(line), _NAMED.match(line)
        if line.startswith("package "):
            found[""] = "\n".join(pending)
        elif opened:
            inside = opened[1] == "oneof"
            scope.append("" if inside else opened[2])
            found[_full(scope if not inside else [*scope, opened[2]])] = "\n".join(pending)
            if line.endswith("}"):
                scope.pop()
        elif line.startswith("}"):
            scope.pop()
        elif named:
            found[_full([*scope, named[1] or named[2]])] = "\n".join(pending)
        pending = []
    return found


def _full(names: list[str]) -> str:
    return ".".join(name for name in names if name)


def page() -> str:
    """The reference, as Markdown: services first, then what else there is."""
    ordered = sorted(files(), key=lambda file: (not file.endswith("_service.proto"), file))
    parts = [
        "# Protos",
        "What crosses a process boundary: package `balsam.v1`, in `protos/balsam/v1`. A service of Balsam takes each "
        "call with the metadata `authorization: Bearer TOKEN`; "
        "[clients in other languages](../guides/other-languages.md) shows how. An error has a status code and one "
        "`google.rpc.ErrorInfo` of the domain `balsam`, whose `reason` is stable.",
        *(part for file in ordered for part in _file(file)),
    ]
    return "\n\n".join(parts) + "\n"


def _file(file: str) -> Iterator[str]:
    descriptor = importlib.import_module(f"balsam.v1.{file.removesuffix('.proto')}_pb2").DESCRIPTOR
    said = comments(file)
    yield f"## {file}"
    yield said[""]
    for service in descriptor.services_by_name.values():
        yield f"### {service.name}"
        yield said[service.name]
        rows = [(_rpc(method), said[f"{service.name}.{method.name}"]) for method in service.methods]
        yield _table(("rpc", "what it does"), rows)
    for message in descriptor.message_types_by_name.values():
        yield from _message(message, said, "")
    for enum in descriptor.enum_types_by_name.values():
        yield from _enum(enum, said, "")


def _rpc(method: Any) -> str:
    given, got = (
        f"{'stream ' if streams else ''}{kind.name}"
        for kind, streams in (
            (method.input_type, method.client_streaming),
            (method.output_type, method.server_streaming),
        )
    )
    return f"`{method.name}({given})` → `{got}`"


def _message(message: Any, said: dict[str, str], outer: str) -> Iterator[str]:
    name = outer + message.name
    yield f"### {name}"
    yield said[name]
    rows = [(f"`{field.name}`", _type(field), said[f"{name}.{field.name}"]) for field in message.fields]
    if rows:
        yield _table(("field", "type", "what it is"), rows)
    for enum in message.enum_types:
        yield from _enum(enum, said, f"{name}.")
    for inner in message.nested_types:
        if not inner.GetOptions().map_entry:
            yield from _message(inner, said, f"{name}.")


def _enum(enum: Any, said: dict[str, str], outer: str) -> Iterator[str]:
    name = outer + enum.name
    yield f"### {name}"
    yield said[name]
    rows = [(f"`{value.name}` = {value.number}", said[f"{name}.{value.name}"]) for value in enum.values]
    yield _table(("value", "what it means"), rows)


_SCALARS = {1: "double", 3: "int64", 5: "int32", 8: "bool", 9: "string", 12: "bytes", 13: "uint32", 4: "uint64"}


def _type(field: Any) -> str:
    kind = field.message_type or field.enum_type
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = field.message_type.fields
        return f"map of {_type(key)} to {_type(value)}"
    text = kind.full_name.removeprefix("balsam.v1.") if kind is not None else _SCALARS[field.type]
    if field.containing_oneof is not None and not field.containing_oneof.name.startswith("_"):
        return f"{text}, one of `{field.containing_oneof.name}`"
    if _is_repeated(field):
        return f"{text}, repeated"
    return f"{text}, optional" if field.has_presence and kind is None else text


def _is_repeated(field: Any) -> bool:
    """Newer versions of protobuf warn of `label`, and older ones have nothing else."""
    known = getattr(field, "is_repeated", None)
    return bool(known) if known is not None else field.label == field.LABEL_REPEATED


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(map(cell, row))} |" for row in lines)


def cell(text: str) -> str:
    """A text as a cell of a Markdown table: one line, in which `|` and `<` stand for themselves."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
