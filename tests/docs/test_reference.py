"""The references leave nothing out: everything that there is, is on them, with a text."""

from __future__ import annotations

import dataclasses
import importlib

import click
import pytest

from balsam.fields import APPLICATION_FIELDS, JOB_FIELDS, LAUNCH_FIELDS
from balsam.settings import Settings
from balsam_cli.main import cli
from scripts.docs import cli as commands
from scripts.docs import protos, tables


def test_every_command_and_every_option_is_there() -> None:
    page = commands.page()
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        (part,) = [part for part in page.split("\n### ") if part.startswith(f"balsam {name}\n")]
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert option.opts[0] in part, f"{name} {option.opts[0]}"


def test_examples_of_a_command_are_shown_as_they_are() -> None:
    assert (
        "\n    balsam job --name scan-{i} --workflow scan --array 0-99 --app sim --args --seed={i}\n" in commands.page()
    )


@pytest.mark.parametrize("table", [JOB_FIELDS, APPLICATION_FIELDS, LAUNCH_FIELDS])
def test_every_field_is_there(table: dict[str, object]) -> None:
    assert [name for name in table if f"| `{name}` | " not in tables.fields_page()] == []


def test_every_setting_is_there() -> None:
    names = [field.name for field in dataclasses.fields(Settings)]
    assert [name for name in names if f"| `{name}` | " not in tables.settings_page()] == []


@pytest.mark.parametrize("file", protos.files())
def test_everything_in_a_proto_has_its_comment(file: str) -> None:
    descriptor = importlib.import_module(f"balsam.v1.{file.removesuffix('.proto')}_pb2").DESCRIPTOR
    said = protos.comments(file)
    names = [""]
    for service in descriptor.services_by_name.values():
        names += [service.name, *(f"{service.name}.{method.name}" for method in service.methods)]
    waiting = [("", message) for message in descriptor.message_types_by_name.values()]
    while waiting:
        outer, message = waiting.pop()
        name = f"{outer}{message.name}"
        names += [name, *(f"{name}.{field.name}" for field in message.fields)]
        for enum in message.enum_types:
            names += [f"{name}.{enum.name}", *(f"{name}.{enum.name}.{value.name}" for value in enum.values)]
        waiting += [(f"{name}.", inner) for inner in message.nested_types if not inner.GetOptions().map_entry]
    assert [name for name in names if not said.get(name)] == []


def test_the_page_of_the_protos_shows_types_and_streams() -> None:
    page = protos.page()
    assert "`WatchEvents(WatchEventsRequest)` → `stream WatchEventsResponse`" in page
    assert "| `environ_vars` | map of string to string |" in page
    assert "| `parents` | string, repeated |" in page
    assert "| `exit_code` | int32, optional |" in page
    assert "| `filter` | Filter, one of `kind` | Every job that matches. |" in page
