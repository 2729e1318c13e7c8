"""Files of jobs: `[[app]]` and `[[job]]` tables in TOML, or the same as YAML or JSON."""

from __future__ import annotations

import graphlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from balsam import documents
from balsam.errors import InvalidParentsError, ValidationError
from balsam.fields import APPLICATION_FIELDS, JOB_FIELDS, Field, Phase, unknown_field

_SECTIONS = ("app", "job")


@dataclass(frozen=True)
class JobFile:
    """What a file holds, checked: fields of applications, and of jobs with their ids, parents first."""

    applications: list[dict[str, Any]]
    jobs: list[dict[str, Any]]
    order: list[str]
    """Ids of the jobs in the order of the file."""


def read(path: Path) -> JobFile:
    """Reads a file; its name's ending says the format.

    Raises:
        ValidationError: it is not valid; the message names file, entry and field.
        OSError: it cannot be read.
    """
    return parse(_load(path), path.name)


def _load(path: Path) -> Any:
    kind = path.suffix.removeprefix(".")
    data = path.read_bytes()
    if kind not in documents.KINDS:
        raise ValidationError(f"{path}: the name must end in .toml, .yaml or .json")
    try:
        return documents.parse(data, kind)
    except ValueError as error:
        raise ValidationError(f"{path}: {error}") from None


def parse(document: Any, where: str) -> JobFile:
    """The jobs of a parsed file; `where` names it in errors.

    Raises:
        ValidationError: a table or key is unknown, a value does not fit, or a parent is not in the file.
    """
    if not isinstance(document, Mapping) or not document:
        raise ValidationError(f"{where}: holds no [[app]] and no [[job]] tables")
    for key in document:
        if key not in _SECTIONS:
            raise ValidationError(f"{where}: unknown table {key!r} (tables: {', '.join(_SECTIONS)})")
    applications = [
        _checked(table, APPLICATION_FIELDS, "an application", f"{where}: app {number}")
        for number, table in enumerate(_tables(document, "app", where), start=1)
    ]
    drafts = _tables(document, "job", where)
    ids = [str(uuid.uuid4()) for _ in drafts]
    names = _names(drafts, ids)
    jobs = [
        _job(table, one, names, f"{where}: job {number}")
        for number, (table, one) in enumerate(zip(drafts, ids, strict=True), start=1)
    ]
    order = [str(job["job_id"]) for job in jobs]
    return JobFile(applications, _parents_first(jobs, where), order)


def _tables(document: Mapping[str, Any], section: str, where: str) -> list[Mapping[str, Any]]:
    tables = document.get(section, [])
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise ValidationError(f"{where}: {section} must be a list of tables, written [[{section}]] in TOML")
    return tables


def _names(drafts: list[Mapping[str, Any]], ids: list[str]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for draft, one in zip(drafts, ids, strict=True):
        names.setdefault(str(draft.get("name", "")), []).append(str(draft.get("job_id") or one))
    return names


def _job(table: Mapping[str, Any], one: str, names: Mapping[str, list[str]], where: str) -> dict[str, Any]:
    parents = table.get("parents", [])
    if not isinstance(parents, list):
        raise ValidationError(f"{where}: parents = {parents!r}: must be a list of names in this file, or ids")
    resolved = [_parent(str(parent), names, where) for parent in parents]
    return _checked({"job_id": one, **table, "parents": resolved}, JOB_FIELDS, "a job", where)


def _parent(parent: str, names: Mapping[str, list[str]], where: str) -> str:
    found = names.get(parent, [])
    if len(found) > 1:
        raise InvalidParentsError(f"{where}: parent {parent!r}: {len(found)} jobs in this file have that name")
    if found:
        return found[0]
    try:
        return str(uuid.UUID(parent))
    except ValueError:
        raise InvalidParentsError(
            f"{where}: parent {parent!r} is neither the name of a job in this file nor an id"
        ) from None


def _checked(table: Mapping[str, Any], fields: Mapping[str, Field], kind: str, where: str) -> dict[str, Any]:
    values = {}
    try:
        for name, value in table.items():
            if name not in fields:
                raise unknown_field(name, fields, kind)
            if fields[name].phase is Phase.NEVER:
                raise fields[name].error(value, "is read-only")
            values[name] = fields[name].check(value)
    except ValidationError as error:
        raise ValidationError(f"{where}: {error}", reason=error.reason, field=error.field) from None
    return values


def _parents_first(jobs: list[dict[str, Any]], where: str) -> list[dict[str, Any]]:
    by_id = {job["job_id"]: job for job in jobs}
    if len(by_id) < len(jobs):
        raise ValidationError(f"{where}: two jobs have the same job_id")
    graph = {one: [parent for parent in job["parents"] if parent in by_id] for one, job in by_id.items()}
    try:
        return [by_id[one] for one in graphlib.TopologicalSorter(graph).static_order()]
    except graphlib.CycleError as error:
        path = " -> ".join(by_id[one].get("name") or one for one in reversed(error.args[1]))
        raise InvalidParentsError(f"{where}: jobs wait for each other: {path}", reason="CYCLE") from None
