"""The settings of a site: ``SITE/settings.toml``, with every key, its default, its unit and what it does."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from balsam import documents
from balsam.errors import SiteError, ValidationError


def _setting(
    default: Any, doc: str, *, least: float | None = None, most: float | None = None, choices: tuple[str, ...] = ()
) -> Any:
    return dataclasses.field(default=default, metadata={"doc": doc, "least": least, "most": most, "choices": choices})


BATCH_SYSTEMS = ("auto", "slurm", "pbs", "lsf", "cobalt", "flux", "local")
MPI_COMMANDS = ("auto", "mpich", "openmpi", "intelmpi", "srun", "aprun", "jsrun", "pals")


@dataclass(frozen=True)
class Settings:
    """What a site can be told. Times are in seconds, sizes in bytes, unless a name says otherwise."""

    database: str = _setting(
        "sqlite", "The database: `sqlite` (embedded), `postgres` (a private cluster in the site), or a URL."
    )
    job_stores: int = _setting(
        1, "Job stores that serve the site at once, on this host; more than one needs PostgreSQL.", least=1, most=8
    )
    listen: str = _setting(
        "",
        "HOST:PORT at which the job store listens with TLS, for other hosts and users; empty: on its Unix socket only. "
        "Change it with `balsam server --listen`, which makes the certificates too.",
    )
    listen_names: str = _setting(
        "",
        "Further names and addresses by which it is reached, for its certificate, separated by blanks; then "
        "`balsam server --new-certificate`.",
    )
    lease_seconds: float = _setting(
        60.0, "A launcher or scheduler that is not heard of for so long loses its jobs [s].", least=2
    )
    script_workers: int = _setting(
        0,
        "Scripts and stagings that run at once, in the scheduler and beside each launcher of another user than the "
        "owner; 0: as many as there are cores, at least 2, and 2 beside a launcher.",
        least=0,
    )
    script_timeout_seconds: float = _setting(
        300.0, "A pre- or post-processing script is stopped after so long [s].", least=1
    )
    staging_timeout_seconds: float = _setting(
        21_600.0, "The copying of one job's files is stopped after so long [s].", least=1
    )
    kill_grace_seconds: float = _setting(
        10.0, "Between SIGTERM and SIGKILL when a run or a script is stopped [s].", least=0
    )
    stop_margin_seconds: float = _setting(60.0, "A launcher stops so long before its allocation ends [s].", least=0)
    fit_by_history: float = _setting(
        0.0,
        "A launcher also starts a job whose wall_time_minutes does not fit in its time left, if this share of the runs "
        "of its application seen in the history ended in so long, for example 0.95; 0: wall_time_minutes alone counts.",
        least=0,
        most=1,
    )
    batch_system: str = _setting(
        "auto",
        "What launches are submitted to: auto (the one whose commands are on PATH, else local), slurm, pbs, lsf, "
        "cobalt, flux or local (processes of this host).",
        choices=BATCH_SYSTEMS,
    )
    mpi_command: str = _setting(
        "auto",
        "How MPI runs are started: auto, mpich, openmpi, intelmpi, srun, aprun, jsrun or pals.",
        choices=MPI_COMMANDS,
    )
    mpi_program: str = _setting("", "Path of the MPI run command; empty: the one that is found first on PATH.")
    mpi_options: str = _setting("", "Further words of every MPI run command, before the job's own mpi_flags.")
    cores_per_node: int = _setting(0, "Cores of each node that launchers use; 0: those that are found.", least=0)
    gpus_per_node: int = _setting(0, "GPUs of each node that launchers assign; 0: those that are found.", least=0)
    node_file: str = _setting(
        "", "File with the names of the nodes, one a line, where no batch system tells; or empty."
    )
    launcher_address: str = _setting(
        "", "Address at which other nodes of an allocation reach the launcher's host; empty: it is found."
    )
    token_days: int = _setting(90, "Days for which the token of a new user is good; 0: for ever.", least=0, most=36_500)
    audit_days: int = _setting(
        365,
        "Days for which the audit trail (`balsam server --audit`) keeps what is in no job's history; 0: for ever.",
        least=0,
        most=36_500,
    )
    trusted_owners: str = _setting(
        "",
        "Users whose jobs and scripts run in the account of the site's owner, separated by blanks: whoever is named "
        "here can do there what the owner can.",
    )
    shared_owners: str = _setting(
        "",
        "Users whose jobs launchers of other members may run, where these ask for it (`balsam launcher --trust`), "
        "separated by blanks: whoever runs a user's job can do in this site what that user can.",
    )
    log_level: str = _setting("INFO", "What the services log.", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    log_max_bytes: int = _setting(100_000_000, "A log file is rotated at this size [bytes].", least=10_000)
    log_backups: int = _setting(5, "Rotated log files that are kept.", least=0)


def load(path: Path) -> Settings:
    """Reads settings.

    Raises:
        SiteError: the file cannot be read, or holds a key or value that is not valid.
    """
    values = read_toml(path, "settings")
    if "database" not in values:
        # It has always been there. Without it, a site over PostgreSQL would get an empty database of another kind.
        raise SiteError(f"{path} was cut off: it does not say which `database` the site has; restore it or add that")
    return check(values, str(path))


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The values in a TOML file.

    Args:
        path: the file.
        what: what it holds, for people.

    Raises:
        SiteError: it cannot be read, or is no TOML.
    """
    try:
        values: dict[str, Any] = documents.parse(path.read_bytes(), "toml")
        return values
    except OSError as error:
        raise SiteError(f"cannot read the {what} {path}: {error.strerror}") from None
    except ValueError as error:
        raise SiteError(f"{path} is not valid TOML: {error}") from None


def check(values: dict[str, Any], where: str) -> Settings:
    """Settings from plain values; `where` names their origin in errors.

    Raises:
        SiteError: a key is unknown, or a value has the wrong type or is out of range.
    """
    settings = Settings(**checked(Settings, values, where))
    if settings.job_stores > 1 and settings.database.startswith("sqlite"):
        raise SiteError(
            f"{where}: job_stores = {settings.job_stores} needs a database that several processes can serve, and "
            "SQLite has one: set job_stores = 1, or move the site with `balsam migrate-db postgres`"
        )
    if settings.listen:
        from balsam.addresses import parse_address

        try:
            parse_address(settings.listen, f"{where}: listen =", settings.job_stores)
        except ValidationError as error:
            raise SiteError(str(error)) from None
    return settings


setting = _setting
"""A field of a dataclass that `checked` can check: its default, what it does, and the values that it may have."""


def checked(table: type[Any], values: dict[str, Any], where: str) -> dict[str, Any]:
    """Values for a dataclass of `setting` fields; `where` names their origin in errors.

    Raises:
        SiteError: a key is unknown, or a value has the wrong type or is out of range.
    """
    known = {field.name: field for field in dataclasses.fields(table) if "doc" in field.metadata}
    clean: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1) or sorted(known)
            raise SiteError(f"{where}: unknown setting {key!r}; did you mean {near[0]!r}?")
        field = known[key]
        kind = type(field.default)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            shown = "..." if key in _SECRET else repr(value)
            raise SiteError(f"{where}: {key} = {shown} must be {_KINDS[kind]}, for example {field.default!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise SiteError(f"{where}: {key} = {value!r} must be a finite number, for example {field.default!r}")
        least, most, choices = (field.metadata[name] for name in ("least", "most", "choices"))
        if least is not None and not value >= least:
            raise SiteError(f"{where}: {key} = {value!r} must be at least {least}")
        if most is not None and not value <= most:
            raise SiteError(f"{where}: {key} = {value!r} must be at most {most}")
        if choices and value not in choices:
            raise SiteError(f"{where}: {key} = {value!r} must be one of {', '.join(choices)}")
        clean[key] = value
    return clean


_SECRET = frozenset({"database"})
"""Settings that may hold a password: errors do not repeat them."""
_KINDS = {str: "a text", int: "a whole number", float: "a number"}


def render(settings: Settings) -> str:
    """The text of a settings file, each key under its explanation."""
    lines = ["# Settings of this Balsam site. Read when a service starts.\n"]
    for field in dataclasses.fields(Settings):
        value = getattr(settings, field.name)
        lines.append(f"# {field.metadata['doc']} Default: {json.dumps(field.default)}")
        lines.append(f"{field.name} = {json.dumps(value)}\n")
    return "\n".join(lines)


def replaced(text: str, name: str, value: str) -> str:
    """The text of a settings file with another value of a text setting; all else stays, comments too.

    Raises:
        SiteError: the setting is written in a way that this does not understand.
    """
    line = re.compile(rf"""^(\s*{name}\s*=\s*)("(?:[^"\\]|\\.)*"|'[^']*')""", re.MULTILINE)
    new, found = line.subn(lambda match: match[1] + json.dumps(value), text, count=1)
    if not found:
        new = f"{name} = {json.dumps(value)}\n{text}"
    try:
        same = tomllib.loads(new) == {**tomllib.loads(text), name: value}
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        shown = '"..."' if name in _SECRET and "://" in value else json.dumps(value)
        raise SiteError(f"the setting {name} cannot be changed in this file; write it as: {name} = {shown}")
    return new
