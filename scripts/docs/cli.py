"""The reference of the command line, from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from balsam_cli.group import COMMANDS
from balsam_cli.main import cli
from scripts.docs.protos import cell


def page() -> str:
    """Every command, with its arguments and options, as Markdown."""
    parts = [
        "# Every command and option",
        "Options may be written with `_` for `-`, and shortened as long as they are clear. Every command that prints "
        "data takes `--json`: one JSON document on stdout, and nothing else. Ids may be shortened to any unique "
        "prefix. The exit status is 0 when it was done, 1 when it was refused or failed (one line on stderr says what "
        "was wrong and what to do), 2 when it was used wrongly.",
    ]
    for section, names in COMMANDS.items():
        parts.append(f"## {section}")
        for name, summary in names.items():
            parts += _command(name, summary)
    return "\n\n".join(parts) + "\n"


def _command(name: str, summary: str) -> Iterator[str]:
    context = click.Context(cli, info_name="balsam")
    command = cli.get_command(context, name)
    assert command is not None, name
    inner = click.Context(command, info_name=name, parent=context)
    yield f"### balsam {name}"
    yield f"    {_usage(command, inner)}"
    yield _text(command.help or summary)
    rows = [found for one in command.get_params(inner) if (found := one.get_help_record(inner)) is not None]
    lines = [f"| `{option}` | {cell(_plain(said))} |" for option, said in rows]
    yield "\n".join(["| option | |", "| --- | --- |", *lines])


def _usage(command: click.Command, context: click.Context) -> str:
    return " ".join([context.command_path, *command.collect_usage_pieces(context)])


def _text(text: str) -> str:
    r"""A help text: what follows a line with ``\b`` alone is shown as it is."""
    blocks = []
    for block in inspect.cleandoc(text).split("\n\n"):
        head, _, rest = block.partition("\n")
        blocks.append("\n".join(f"    {line.strip()}" for line in rest.splitlines()) if head == "\b" else _plain(block))
    return "\n\n".join(blocks)


def _plain(text: str) -> str:
    """Text in which nothing is Markdown by accident."""
    return text.replace("*", "\\*").replace("[", "\\[").replace("<", "&lt;")
