"""The options that are a job's fields."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest
from click.testing import CliRunner

from balsam.errors import ValidationError
from balsam.fields import JOB_FIELDS, Phase
from balsam_cli.command import Command
from balsam_cli.job_options import given_fields, job_options


def fields(*argv: str) -> dict[str, Any]:
    """What the options of `balsam job` give."""

    @click.command(cls=Command)
    @job_options()
    def command(**given: Any) -> None:
        click.echo(json.dumps(given_fields(given)))

    result = CliRunner().invoke(command, argv, catch_exceptions=False, standalone_mode=False)
    assert result.exception is None
    return dict(json.loads(result.output))


def test_every_field_that_can_be_given_has_an_option_with_its_doc() -> None:
    @click.command(cls=Command)
    @job_options()
    def command(**_given: Any) -> None: ...

    text = CliRunner().invoke(command, ["--help"]).output
    for field in JOB_FIELDS.values():
        if field.phase is not Phase.NEVER and field.name != "state":
            assert f"--{field.name.replace('_', '-')}" in text


def test_options_that_are_not_given_are_no_fields() -> None:
    assert fields() == {}


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--name", "hello", "--workflow", "Test"], {"name": "hello", "workflow": "Test"}),
        (["--args", "world!", "--ranks-per-node", "2"], {"args": "world!", "ranks_per_node": 2}),
        (["--args", "a", "b", "c"], {"args": "a b c"}),
        (["--app", "sim"], {"application": "sim"}),
        (["--env", "A=1", "--env", "B=x=y"], {"environ_vars": {"A": "1", "B": "x=y"}}),
        (["--env", "PATH=/a:/b"], {"environ_vars": {"PATH": "/a:/b"}}),
        (["--env", "URL=http://host:80/?q=1"], {"environ_vars": {"URL": "http://host:80/?q=1"}}),
        (["--environ-vars", "A=1:B=2"], {"environ_vars": {"A": "1", "B": "2"}}),
        (
            ["--url-in", "/data/in", "--url-out", "scp:host:/x"],
            {"stage_in_url": "/data/in", "stage_out_url": "scp:host:/x"},
        ),
        (["--input-files", "*.dat", "*.inp"], {"input_files": "*.dat *.inp"}),
        (["--post-handle-error", "--post-handle-timeout"], {"post_error_handler": True, "post_timeout_handler": True}),
        (["--disable-auto-timeout-retry"], {"auto_timeout_retry": False}),
        (["--no-auto-timeout-retry"], {"auto_timeout_retry": False}),
        (["--wait-for-parents", "false"], {"wait_for_parents": False}),
        (["--parents", "aa", "bb,cc"], {"parents": ["aa", "bb", "cc"]}),
        (["--parents", '["aa", "bb"]'], {"parents": ["aa", "bb"]}),
        (["--data", '{"x": [1, 2]}'], {"data": {"x": [1, 2]}}),
        (["--gpus-per-rank", "0.5"], {"gpus_per_rank": 0.5}),
        (["--args="], {"args": ""}),
    ],
)
def test_options_become_fields(argv: list[str], expected: dict[str, Any]) -> None:
    assert fields(*argv) == expected


@pytest.mark.parametrize(
    "argv",
    [
        ["--ranks-per-node", "two"],
        ["--num-nodes", "0"],
        ["--data", "[1]"],
        ["--data", "{"],
        ["--args", "don't"],
        ["--env", "A"],
        ["--name", "a/b"],
        ["--cpu-affinity", "scatter"],
        ["--parents", "[1"],
        ["--job-id", "42"],
    ],
)
def test_a_bad_value_is_refused_with_field_and_value(argv: list[str]) -> None:
    with pytest.raises(ValidationError) as caught:
        fields(*argv)
    assert caught.value.field
    assert argv[1][:5].strip("[") in str(caught.value)
