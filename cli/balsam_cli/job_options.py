"""The options of `job`, `run` and `mkchild`: the fields of a job, from the one table of fields."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import click

from balsam.errors import ValidationError
from balsam.fields import JOB_FIELDS, Field, Kind, Phase
from balsam_cli.command import BooleanOption, WordsOption

F = TypeVar("F", bound=Callable[..., Any])

# What else may be written for a field.
_ALIASES = {
    "workflow": ("--wf",),
    "application": ("--app",),
    "environ_vars": ("--env",),
    "wall_time_minutes": ("--wall-minutes",),
    "stage_in_url": ("--url-in",),
    "stage_out_url": ("--url-out",),
    "post_error_handler": ("--post-handle-error",),
    "post_timeout_handler": ("--post-handle-timeout",),
}
_WORDS = {"description", "args", "parents", "input_files", "stage_out_files"}
_METAVARS = {
    Kind.TEXT: "TEXT",
    Kind.INTEGER: "N",
    Kind.NUMBER: "X",
    Kind.ENVIRON: "A=1",
    Kind.JSON: "JSON",
    Kind.IDS: "ID...",
    Kind.ID: "UUID",
    Kind.LAUNCH: "LAUNCH",
}
_DOCS = {
    "args": "command-line arguments, one or more words, joined by blanks",
    "environ_vars": "environment variable, repeatable; or A=1:B=2",
    "parents": "ids of the jobs that must finish first, one or more",
    "input_files": "glob patterns of parents' files to link in; default *",
}
_LIST_OF_VARIABLES = "environ_vars"
_PAIR = re.compile(r"[A-Za-z_]\w*=")


def settable() -> list[Field]:
    """The fields that a new job can be given."""
    return [field for field in JOB_FIELDS.values() if field.phase is not Phase.NEVER and field.name != "state"]


def job_options(*, without: Sequence[str] = ()) -> Callable[[F], F]:
    """Decorates a command with an option for every field but those in `without`."""

    def decorate(function: F) -> F:
        for field in reversed([field for field in settable() if field.name not in without]):
            if field.name == "auto_timeout_retry":
                function = _NO_RETRY(function)
            function = _option(field)(function)
        return function

    return decorate


_NO_RETRY: Callable[[Any], Any] = click.option(
    "--disable-auto-timeout-retry", is_flag=True, help="The same as --no-auto-timeout-retry."
)


def _option(field: Field) -> Callable[[F], F]:
    names = ["--" + field.name.replace("_", "-"), *_ALIASES.get(field.name, ())]
    text = _DOCS.get(field.name, field.doc)
    if field.kind is Kind.BOOLEAN:
        default = "; default true" if field.default else ""
        return click.option(*names, field.name, cls=BooleanOption, help=f"{_sentence(text)}{default}.")
    shown = f"; default {field.default}" if field.default and field.name not in _DOCS else ""
    if field.name in _WORDS:
        metavar = "ID..." if field.kind is Kind.IDS else "WORD..."
        return click.option(*names, field.name, cls=WordsOption, metavar=metavar, help=f"{_sentence(text)}{shown}.")
    return click.option(
        *names,
        field.name,
        metavar=_METAVARS[field.kind],
        multiple=field.name == _LIST_OF_VARIABLES,
        help=f"{_sentence(text)}{shown}.",
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def given_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """Field -> checked value, for the options that were given. Parents stay as they were written (prefixes).

    Raises:
        ValidationError: a value is not valid for its field.
    """
    fields: dict[str, Any] = {}
    if options.get("disable_auto_timeout_retry"):
        fields["auto_timeout_retry"] = False
    for field in settable():
        value = options.get(field.name)
        if value is None or value == ():
            continue
        if field.name == "parents":
            fields["parents"] = list(split_ids(value))
        elif field.name == _LIST_OF_VARIABLES:
            fields[field.name] = _variables(field, value)
        else:
            fields[field.name] = field.check(" ".join(value) if isinstance(value, tuple) else value)
    return fields


def split_ids(words: Sequence[str]) -> Iterator[str]:
    """Ids from words: `A B`, `A,B` or a JSON list as in 0.x.

    Raises:
        ValidationError: what starts like a list is none.
    """
    for word in words:
        if word.lstrip().startswith("["):
            try:
                yield from map(str, json.loads(word))
            except ValueError as error:
                raise ValidationError(f"parents = {word!r}: is not a JSON list: {error}", field="parents") from None
        else:
            yield from word.replace(",", " ").split()


def _variables(field: Field, words: Sequence[str]) -> dict[str, str]:
    """Variables from words: one `A=1` each, whose value may hold `:` when no `NAME=` follows it."""
    variables: dict[str, str] = {}
    for word in words:
        variables |= _one_variable(field, word)
    return dict(field.check(variables))


def _one_variable(field: Field, word: str) -> dict[str, str]:
    name, equals, value = word.partition("=")
    # --env PATH=/a:/b is one variable; --env A=1:B=2 is two, as in the field itself.
    if equals and not all(_PAIR.match(part) for part in value.split(":")[1:]):
        return {name: value}
    return dict(field.check(word))
