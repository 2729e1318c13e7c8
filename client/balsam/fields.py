"""The fields of jobs, applications and launches: one table for the API, the command line and the job store.

A value is checked where it is given (so that the caller sees the error at once) and again where it is stored.
What few values need is imported where it is used: this is part of each script of a job.
"""

from __future__ import annotations

import enum
import functools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from balsam.errors import ValidationError
from balsam.states import State

MAX_NAME_BYTES = 200
MAX_TEXT_BYTES = 65_536
MAX_ARGS_BYTES = 131_072  # the kernel's limit for one word of a command line
MAX_DATA_BYTES = 1_048_576
MAX_DATA_DEPTH = 200  # levels; what JSON parsers take beyond some hundred depends on who calls them from where
MAX_PARENTS = 100_000
MAX_VARIABLES = 10_000
MAX_ENVIRON_BYTES = 1_048_576  # of all variables; the system takes about twice that, with the arguments
MAX_INT = 2**31 - 1

# In JSON text a NUL is \\u0000 behind an even number of backslashes.
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")

CPU_AFFINITIES = ("none", "depth")
JOB_MODES = ("auto", "mpi", "serial")
LAUNCH_STATES = ("PENDING_SUBMISSION", "QUEUED", "RUNNING", "UNKNOWN", "ENDED", "SUBMIT_FAILED", "CANCELLED")
"""Where a launch may stand; the numbers of ``balsam.v1.Launch.State``, from 1, are in this order."""
BATCH_SYSTEMS = ("slurm", "pbs", "lsf", "cobalt", "flux", "local")
"""What launches are submitted to; `local` starts them as processes of this host."""
LAUNCH_OVER = frozenset({"ENDED", "SUBMIT_FAILED", "CANCELLED"})
"""The states of a launch that will run nothing any more."""


class Kind(enum.Enum):
    """What a field holds, in Python."""

    TEXT = "text"
    INTEGER = "whole number"
    NUMBER = "number"
    BOOLEAN = "true or false"
    ENVIRON = "variables"
    JSON = "JSON object"
    IDS = "list of job ids"
    ID = "job id"
    LAUNCH = "launch id, or none"
    STATE = "state"
    TIME = "time"


class Phase(enum.Enum):
    """Until when a field may be changed."""

    ALWAYS = "always"
    BEFORE_RUN = "not while the job is RUNNING"
    NEVER = "read-only"
    CREATION = "fixed at creation"


@dataclass(frozen=True)
class Field:
    """One field: its name, kind, default, bounds, and when it may change."""

    name: str
    kind: Kind
    default: Any
    doc: str
    phase: Phase = Phase.BEFORE_RUN
    least: float = 0
    most: float = MAX_INT
    max_bytes: int = MAX_TEXT_BYTES
    choices: tuple[str, ...] = ()

    @functools.cached_property
    def check(self) -> Callable[[Any], Any]:
        """Gives a value, converted where that is exact.

        Raises:
            ValidationError: it is not a valid value of this field.
        """
        return functools.partial(_CHECKS[self.kind], self)

    def error(self, value: Any, what: str) -> ValidationError:
        """An error that names this field and the value."""
        shown = repr(value)
        if len(shown) > 80:
            shown = shown[:77] + "..."
        return ValidationError(f"{self.name} = {shown}: {what}", field=self.name)


def _text(field: Field, value: Any) -> str:
    if not isinstance(value, str):
        raise field.error(value, "must be a text")
    try:
        size = len(value) if value.isascii() else len(value.encode())
    except UnicodeEncodeError:
        raise field.error(value, "holds a lone surrogate, which is no text") from None
    if size > field.max_bytes:
        raise field.error(value, f"is {size} bytes long; at most {field.max_bytes} are allowed")
    if "\0" in value:
        raise field.error(value, "holds a NUL character")
    if field.choices and value not in field.choices:
        raise field.error(value, f"must be one of {', '.join(field.choices)}")
    extra = _TEXT_RULES.get(field.name)
    if extra and value:
        extra(field, value)
    return value


def _name_part(field: Field, value: str) -> None:
    if value in (".", ".."):
        raise field.error(value, "must not be a directory link")
    if not value.isprintable() and any(ord(c) < 32 or 127 <= ord(c) < 160 for c in value):
        raise field.error(value, "holds a control character")
    if value != value.strip():
        raise field.error(value, "starts or ends with a blank")


def _job_name(field: Field, value: str) -> None:
    if "/" in value:
        raise field.error(value, "must not hold '/'")
    _name_part(field, value)


def _workflow(field: Field, value: str) -> None:
    if value.startswith("/"):
        raise field.error(value, "must not be absolute")
    for part in value.split("/"):
        if not part:
            raise field.error(value, "has an empty part")
        if len(part.encode()) > MAX_NAME_BYTES:
            raise field.error(value, f"has a part of more than {MAX_NAME_BYTES} bytes")
        _name_part(field, part)


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_QUOTING = re.compile(r"""["'\\]""")


def _words(field: Field, value: str) -> None:
    if not _QUOTING.search(value):
        return  # always splits; shlex takes 50 times as long to find that out
    import shlex

    try:
        shlex.split(value)
    except ValueError as error:
        raise field.error(value, f"does not split into words: {error}") from None


def _url(field: Field, value: str) -> None:
    from balsam import urls

    wrong = urls.complaint(value, target=field.name == "stage_out_url")
    if wrong:
        raise field.error(value, wrong)


def _patterns(field: Field, value: str) -> None:
    _words(field, value)
    if "/" not in value and ".." not in value:
        return
    import shlex

    for pattern in shlex.split(value):
        if pattern.startswith("/") or ".." in pattern.split("/"):
            raise field.error(pattern, "leads out of the job's directory; use a pattern relative to it, without '..'")


def _one_word(field: Field, value: str) -> None:
    """It becomes a word of a command of the batch system, or of a line that this reads."""
    if value.startswith("-"):
        raise field.error(value, "must not begin with '-', or it would be taken for an option")
    if not value.isprintable() or " " in value:
        raise field.error(value, "must hold no blanks or control characters")


def _no_control(field: Field, value: str) -> None:
    if not value.isprintable():
        raise field.error(value, "holds a control character")


def _absolute(field: Field, value: str) -> None:
    if not value.startswith("/"):
        raise field.error(value, "must be an absolute path")
    if ".." in value.split("/"):
        raise field.error(value, "must not hold '..'")
    if _CONTROL.search(value):
        raise field.error(value, "holds a control character")


_TEXT_RULES = {
    "name": _job_name,
    "workflow": _workflow,
    "args": _words,
    "mpi_flags": _words,
    "executable": _words,
    "preprocess": _words,
    "postprocess": _words,
    "input_files": _patterns,
    "stage_out_files": _patterns,
    "stage_in_url": _url,
    "stage_out_url": _url,
    "user_workdir": _absolute,
    "scheduler_id": _one_word,
    "project": _one_word,
    "queue": _one_word,
    "wf_filter": _no_control,
}


def _integer(field: Field, value: Any) -> int:
    number = value if type(value) is int else _whole(field, value)
    if number < field.least:
        raise field.error(value, f"must be at least {int(field.least)}")
    if number > field.most:
        raise field.error(value, f"must be at most {int(field.most)}")
    return number


def _whole(field: Field, value: Any) -> int:
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            raise field.error(value, "must be a whole number") from None
    is_whole = value.is_integer() if isinstance(value, float) else hasattr(value, "__index__")
    if isinstance(value, bool) or not is_whole:
        raise field.error(value, "must be a whole number")
    return int(value)


def _number(field: Field, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise field.error(value, "must be a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise field.error(value, "must be a number") from None
    if not math.isfinite(number):
        raise field.error(value, "must be a finite number")
    if not field.least <= number <= field.most:
        raise field.error(value, f"must be between {field.least:g} and {field.most:g}")
    return number


_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _boolean(field: Field, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    if type(value) is int and value in (0, 1):
        return bool(value)
    raise field.error(value, "must be true or false")


def _environ(field: Field, value: Any) -> dict[str, str]:
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        pairs: Iterable[tuple[str, Any]] = [_pair(field, value, item) for item in value.split(":") if item]
    elif isinstance(value, Mapping):
        pairs = value.items()
    else:
        raise field.error(value, "must look like 'A=1:B=2', or be a dict")
    clean: dict[str, str] = {}
    size = 0
    for name, text in pairs:
        if not isinstance(name, str) or not name or "=" in name:
            raise field.error(name, "is not the name of a variable")
        if " " in name or _CONTROL.search(name):
            raise field.error(name, "is not the name of a variable: it holds a blank or a control character")
        if isinstance(text, (int, float)) and not isinstance(text, bool):
            text = str(text)
        if not isinstance(text, str):
            raise field.error(text, f"the value of {name} must be a text")
        for part in (name, text):
            size += _plain_text(field, part)
        clean[name] = text
    if len(clean) > MAX_VARIABLES or size > MAX_ENVIRON_BYTES:
        raise ValidationError(
            f"{field.name}: {len(clean)} variables of {size} bytes; at most {MAX_VARIABLES} variables of "
            f"{MAX_ENVIRON_BYTES} bytes are allowed; put more into a file",
            field=field.name,
        )
    return clean


def _plain_text(field: Field, text: str) -> int:
    """The size of a text [bytes]."""
    if "\0" in text:
        raise field.error(text, "holds a NUL character")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise field.error(text, "holds a lone surrogate, which is no text") from None
    if size > field.max_bytes:
        raise field.error(text, f"is {size} bytes long; at most {field.max_bytes} are allowed")
    return size


def _pair(field: Field, value: str, item: str) -> tuple[str, str]:
    name, equals, text = item.partition("=")
    if not equals:
        raise field.error(value, f"{item!r} is no NAME=VALUE; a value with ':' in it needs the dict form")
    return name, text


def _json(field: Field, value: Any) -> dict[str, Any]:
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value, parse_constant=lambda name: _no_constant(field, name))
        except RecursionError:
            raise field.error(value, "is nested too deeply") from None
        except ValueError as error:
            if isinstance(error, ValidationError):
                raise
            raise field.error(value, f"is not JSON: {error}") from None
    if not isinstance(value, Mapping):
        raise field.error(value, "must be a JSON object, that is a dict")
    encode_json(field, value)
    return dict(value)


def _no_constant(field: Field, name: str) -> Any:
    raise field.error(name, "is not allowed in JSON")


def encode_json(field: Field, value: Mapping[str, Any]) -> str:
    """The text of a JSON object.

    Raises:
        ValidationError: it holds NaN, NUL or lone surrogates, is nested too deeply, or is too large.
    """
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        size = len(text.encode())
        if text.count("[") + text.count("{") > MAX_DATA_DEPTH:
            _check_depth(value, MAX_DATA_DEPTH)
    except UnicodeEncodeError:
        raise field.error(value, "holds a lone surrogate, which is no text") from None
    except RecursionError:
        raise field.error(value, "is nested too deeply") from None
    except (TypeError, ValueError) as error:
        raise field.error(value, f"cannot be stored as JSON: {error}") from None
    if size > field.max_bytes:
        raise field.error(value, f"is {size} bytes as JSON; at most {field.max_bytes} are allowed")
    if _ESCAPED_NUL.search(text):
        raise field.error(value, "holds a NUL character")
    return text


def _check_depth(value: Any, left: int) -> None:
    if left == 0:
        raise RecursionError
    for part in value.values() if isinstance(value, Mapping) else value:
        if isinstance(part, (Mapping, list, tuple)):
            _check_depth(part, left - 1)


_CANONICAL_ID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def check_id(value: Any, field: str = "job_id") -> str:
    """A job id in its canonical form.

    Raises:
        ValidationError: it is not a UUID.
    """
    if type(value) is str and _CANONICAL_ID.fullmatch(value):
        return value  # as nearly all are
    import uuid

    try:
        return str(value if isinstance(value, uuid.UUID) else uuid.UUID(value))
    except (ValueError, TypeError, AttributeError):
        raise ValidationError(f"{field} = {value!r:.80}: is not a job id (a UUID)", field=field) from None


def _launch(field: Field, value: Any) -> int | None:
    if hasattr(value, "launch_id"):
        value = value.launch_id
        if value is None:
            raise field.error(value, "this launch is not stored yet; save() it first")
    return None if value is None or value == "" else _integer(field, value)


def _id(field: Field, value: Any) -> str:
    return check_id(value, field.name)


def _ids(field: Field, value: Any) -> list[str]:
    if isinstance(value, str):
        try:
            value = json.loads(value or "[]")
        except ValueError:
            value = value.split()
    if value is None:
        return []
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise field.error(value, "must be a list of job ids")
    ids = [check_id(getattr(item, "job_id", item), field.name) for item in value]
    if len(ids) > MAX_PARENTS:
        raise field.error(len(ids), f"has more than {MAX_PARENTS} ids")
    return list(dict.fromkeys(ids))


def _state(field: Field, value: Any) -> str:
    name = value.name if isinstance(value, State) else value
    if not isinstance(name, str) or name not in State.__members__:
        raise field.error(value, f"must be one of {', '.join(State.__members__)}")
    return name


def _time(field: Field, value: Any) -> Any:
    return value


_CHECKS = {
    Kind.TEXT: _text,
    Kind.INTEGER: _integer,
    Kind.NUMBER: _number,
    Kind.BOOLEAN: _boolean,
    Kind.ENVIRON: _environ,
    Kind.JSON: _json,
    Kind.IDS: _ids,
    Kind.ID: _id,
    Kind.LAUNCH: _launch,
    Kind.STATE: _state,
    Kind.TIME: _time,
}


def _table(*fields: Field) -> dict[str, Field]:
    return {field.name: field for field in fields}


JOB_FIELDS = _table(
    Field("job_id", Kind.ID, "", "identity, a UUID", Phase.CREATION),
    Field("name", Kind.TEXT, "", "gives the working directory", Phase.ALWAYS, max_bytes=MAX_NAME_BYTES),
    Field("workflow", Kind.TEXT, "", "groups jobs; may nest with /", Phase.ALWAYS, max_bytes=1000),
    Field("description", Kind.TEXT, "", "free text", Phase.ALWAYS),
    Field("application", Kind.TEXT, "", "name of a registered application", max_bytes=MAX_NAME_BYTES),
    Field("args", Kind.TEXT, "", "command-line arguments", max_bytes=MAX_ARGS_BYTES),
    Field("environ_vars", Kind.ENVIRON, {}, "environment variables, A=1:B=2", max_bytes=MAX_ARGS_BYTES),
    Field("data", Kind.JSON, {}, "your own data, a JSON object", Phase.ALWAYS, max_bytes=MAX_DATA_BYTES),
    Field("parents", Kind.IDS, [], "ids of the jobs that must finish first", Phase.ALWAYS),
    Field("wait_for_parents", Kind.BOOLEAN, True, "false: parents give data flow only"),
    Field("input_files", Kind.TEXT, "", "glob patterns of parents' files to link in"),
    Field("stage_in_url", Kind.TEXT, "", "where input files come from"),
    Field("stage_out_url", Kind.TEXT, "", "where output files go to"),
    Field("stage_out_files", Kind.TEXT, "", "glob patterns of the files that go there"),
    Field("user_workdir", Kind.TEXT, "", "absolute path that overrides the working directory", max_bytes=4000),
    Field("wall_time_minutes", Kind.INTEGER, 1, "expected length of a run [minutes]", Phase.ALWAYS),
    Field("num_nodes", Kind.INTEGER, 1, "nodes of the run", least=1),
    Field("coschedule_num_nodes", Kind.INTEGER, 0, "extra nodes reserved beside it"),
    Field("ranks_per_node", Kind.INTEGER, 1, "MPI ranks on each node", least=1),
    Field("threads_per_rank", Kind.INTEGER, 1, "threads of each rank", least=1),
    Field("threads_per_core", Kind.INTEGER, 1, "threads on each core", least=1),
    Field("cpu_affinity", Kind.TEXT, "none", "binding: none or depth", choices=CPU_AFFINITIES),
    Field("mpi_flags", Kind.TEXT, "", "extra flags of the MPI run command"),
    Field("node_packing_count", Kind.INTEGER, 1, "how many serial jobs share a node", least=1),
    Field("gpus_per_rank", Kind.NUMBER, 0.0, "GPUs of each rank", most=1024),
    Field("priority", Kind.INTEGER, 0, "higher starts first", Phase.ALWAYS, least=-MAX_INT),
    Field("post_error_handler", Kind.BOOLEAN, False, "postprocess handles RUN_ERROR", Phase.ALWAYS),
    Field("post_timeout_handler", Kind.BOOLEAN, False, "postprocess handles RUN_TIMEOUT", Phase.ALWAYS),
    Field("auto_timeout_retry", Kind.BOOLEAN, True, "run again after RUN_TIMEOUT", Phase.ALWAYS),
    Field("max_restarts", Kind.INTEGER, 3, "restarts after a lost launcher or node", Phase.ALWAYS),
    Field("queued_launch", Kind.LAUNCH, None, "id of the batch launch that it is bound to", Phase.ALWAYS, least=1),
    Field("state", Kind.STATE, "CREATED", "where the job stands", Phase.ALWAYS),
    Field("owner", Kind.TEXT, "", "user whose account runs it", Phase.NEVER),
    Field("create_time", Kind.TIME, None, "when it was recorded", Phase.NEVER),
    Field("attempt", Kind.INTEGER, 0, "how often it was handed to a launcher", Phase.NEVER),
    Field("exit_code", Kind.INTEGER, None, "exit code of the last run", Phase.NEVER),
    Field("working_directory", Kind.TEXT, "", "where it runs", Phase.NEVER),
    Field("message", Kind.TEXT, "", "message of the last event", Phase.NEVER),
    Field("revision", Kind.INTEGER, 0, "rises with every change", Phase.NEVER),
    Field("restarts", Kind.INTEGER, 0, "how often a launcher or node was lost under it", Phase.NEVER),
    Field("leased", Kind.BOOLEAN, False, "a launcher or a script holds it", Phase.NEVER),
    Field("timeouts", Kind.INTEGER, 0, "real time-outs in a row", Phase.NEVER),
    Field("node", Kind.TEXT, "", "first node of the last run, where that failed", Phase.NEVER),
)
"""Every field of a job, by name, in the order of the documentation."""

APPLICATION_FIELDS = _table(
    Field("name", Kind.TEXT, "", "unique name", Phase.CREATION, max_bytes=MAX_NAME_BYTES),
    Field("executable", Kind.TEXT, "", "first part of the command line", max_bytes=MAX_ARGS_BYTES),
    Field("description", Kind.TEXT, "", "free text"),
    Field("preprocess", Kind.TEXT, "", "command run before the first run", max_bytes=MAX_ARGS_BYTES),
    Field("postprocess", Kind.TEXT, "", "command run after the run", max_bytes=MAX_ARGS_BYTES),
    Field("envscript", Kind.TEXT, "", "bash script sourced before the application"),
    Field("python", Kind.TEXT, "", "interpreter that registered it", Phase.NEVER),
    Field("owner", Kind.TEXT, "", "user who registered it", Phase.NEVER),
    Field("create_time", Kind.TIME, None, "when it was recorded", Phase.NEVER),
    Field("revision", Kind.INTEGER, 0, "rises with every change", Phase.NEVER),
)
"""Every field of an application, by name."""

LAUNCH_FIELDS = _table(
    Field("launch_id", Kind.INTEGER, None, "identity, a number", Phase.NEVER),
    Field("scheduler_id", Kind.TEXT, "", "how the batch system names it", max_bytes=MAX_NAME_BYTES),
    Field("project", Kind.TEXT, "", "project that is charged", max_bytes=MAX_NAME_BYTES),
    Field("queue", Kind.TEXT, "", "queue or partition", max_bytes=MAX_NAME_BYTES),
    Field("nodes", Kind.INTEGER, 1, "number of nodes", least=1),
    Field("wall_minutes", Kind.INTEGER, 60, "time limit [minutes]", least=1),
    Field("job_mode", Kind.TEXT, "auto", "auto, mpi or serial", choices=JOB_MODES),
    Field("wf_filter", Kind.TEXT, "", "takes jobs of this workflow only; a glob", max_bytes=1000),
    Field("sched_flags", Kind.TEXT, "", "further options of the submission"),
    Field("command", Kind.TEXT, "", "what is submitted", max_bytes=MAX_ARGS_BYTES),
    Field("state", Kind.TEXT, LAUNCH_STATES[0], "where the launch stands", choices=LAUNCH_STATES),
    Field("prescheduled_only", Kind.BOOLEAN, False, "takes only the jobs that are bound to it"),
    Field("from_balsam", Kind.BOOLEAN, True, "false: it was found in the batch system"),
    Field("owner", Kind.TEXT, "", "user who recorded it", Phase.NEVER),
    Field("create_time", Kind.TIME, None, "when it was recorded", Phase.NEVER),
    Field("revision", Kind.INTEGER, 0, "rises with every change", Phase.NEVER),
    Field("message", Kind.TEXT, "", "why it stands where it stands"),
    Field("batch_system", Kind.TEXT, "", "batch system that it was submitted to", choices=("", *BATCH_SYSTEMS)),
)
"""Every field of a launch, by name."""


def unknown_field(name: str, table: Mapping[str, Field], kind: str) -> ValidationError:
    """The error for a field that does not exist, with the nearest names and all of them."""
    import difflib

    shown = name[:80]
    near = difflib.get_close_matches(shown, table, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ValidationError(
        f"{shown!r} is not a field of {kind}{hint} (fields: {', '.join(table)})",
        reason="UNKNOWN_FIELD",
        field=shown or "field",
    )
