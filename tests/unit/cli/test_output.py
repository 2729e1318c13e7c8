"""Tables and JSON documents."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from balsam.convert import rfc3339
from balsam_cli import records
from balsam_cli.output import Column, Facts, JsonPrinter, Lines, Listing, TablePrinter, rich_table

COLUMNS = (Column("NAME", lambda record: str(record["name"])), Column("N", lambda record: str(record["n"]), right=True))
ROWS = [{"name": "a", "n": 1}, {"name": "long [red]name[/red]", "n": 22}]


def test_an_array_is_one_document_with_an_object_to_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    JsonPrinter().rows(Listing(COLUMNS, iter(ROWS)))
    out = capsys.readouterr().out
    assert json.loads(out) == ROWS
    assert len(out.splitlines()) == len(ROWS) + 2


def test_nothing_is_an_empty_array(capsys: pytest.CaptureFixture[str]) -> None:
    JsonPrinter().rows(Listing(COLUMNS, ()))
    JsonPrinter().ids([])
    assert capsys.readouterr().out == "[]\n[]\n"


def test_a_record_is_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    JsonPrinter().one({"a": [1]}, Lines(["not shown"]))
    assert json.loads(capsys.readouterr().out) == {"a": [1]}


def test_a_table_away_from_a_terminal_has_no_colour_no_cut_and_no_trailing_blanks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    wide = {"name": "x" * 500, "n": 3}
    TablePrinter().rows(Listing(COLUMNS, [*ROWS, wide]))
    header, first, second, third = capsys.readouterr().out.splitlines()
    assert header.split() == ["NAME", "N"]
    assert first.split() == ["a", "1"]
    assert second.startswith("long [red]name[/red]  ")
    assert third == f"{'x' * 500}   3"


def shown_at(width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of a list of two jobs, an hour old, on a terminal of so many columns."""
    made = rfc3339(datetime.now(UTC) - timedelta(minutes=61))
    job = {
        "job_id": "6a2f41a3-c54c",
        "workflow": "scan-of-bulk",
        "application": "",
        "create_time": made,
    }
    jobs = [job | {"name": "a-long-name-1", "state": "FAILED"}, job | {"name": "b", "state": "JOB_FINISHED"}]
    screen = Console(width=width, force_terminal=True, color_system=None)
    monkeypatch.setattr("balsam_cli.output.console", lambda: screen)
    with screen.capture() as capture:
        screen.print(rich_table(Listing(records.job_columns(), jobs)))
    return capture.get().splitlines()


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (80, ["ID", "NAME", "WORKFLOW", "APPLICATION", "STATE", "AGE"]),
        (60, ["ID", "NAME", "WORKFLOW", "STATE", "AGE"]),
        (40, ["ID", "NAME", "STATE", "AGE"]),
        (30, ["ID", "STATE", "AGE"]),
    ],
)
def test_a_narrow_terminal_shows_whole_states_and_ages(
    width: int, titles: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    header, failed, finished = shown_at(width, monkeypatch)
    assert header.split() == titles
    assert " FAILED " in failed
    assert " JOB_FINISHED " in finished
    assert finished.rstrip().endswith("  1h1m")
    assert max(map(len, (header, failed, finished))) <= width


@pytest.mark.parametrize("width", range(36, 110))
def test_at_no_width_a_state_or_an_age_is_cut(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _, failed, finished = shown_at(width, monkeypatch)
    assert (failed.split()[-2:], finished.split()[-2:]) == (["FAILED", "1h1m"], ["JOB_FINISHED", "1h1m"])


def test_blocks_are_apart(capsys: pytest.CaptureFixture[str]) -> None:
    TablePrinter().one({}, Facts([("name", "a"), ("args", "b\nc")]), Lines(["[one]"], title="Title"))
    assert capsys.readouterr().out.splitlines() == ["name  a", "args  b", "      c", "", "Title", "[one]"]


@pytest.mark.parametrize(("timeouts", "shown"), [(2, "RESTART_READY"), (3, "RESTART_READY, 3 time-outs in a row")])
def test_a_job_that_is_cut_off_again_and_again_has_a_note(timeouts: int, shown: str) -> None:
    assert records.STATE.text({"state": "RESTART_READY", "timeouts": timeouts}) == shown
