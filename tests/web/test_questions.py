"""What the page may ask for, and what is made of the answers. No network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from balsam import query
from balsam.client import Client
from balsam.errors import NotFound, ValidationError
from balsam.site import Site
from balsam_web import filters, output
from balsam_web.actions import act
from balsam_web.output import MOST_BYTES
from balsam_web.records import busy, row
from balsam_web.sent_output import SentOutputs


def test_an_empty_filter_takes_all_jobs() -> None:
    assert filters.conditions({}) == query.EVERYTHING
    assert filters.conditions({"name": " ", "state": "", "after": "x", "other": "y"}) == query.EVERYTHING


def test_a_filter_is_what_stands_in_the_url() -> None:
    given = {"state": "failed, RUNNING", "wf": "w1", "name": "sim*", "id": "3FA8"}
    assert filters.conditions(given) == query.AllOf(
        (
            query.Test("state", (), "IN", ("FAILED", "RUNNING")),
            query.Test("name", (), "GLOB", ("sim*",)),
            query.Test("workflow", (), "EXACT", ("w1",)),
            query.Test("job_id", (), "STARTSWITH", ("3fa8",)),
        )
    )


@pytest.mark.parametrize(
    ("given", "named"),
    [({"state": "LOST"}, "LOST"), ({"id": "xyz"}, "xyz"), ({"order": "size"}, "size"), ({"rows": "1e3"}, "1e3")],
)
def test_what_is_wrong_in_a_url_is_named(given: dict[str, str], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        filters.conditions(given), filters.order(given), filters.rows(given)


@pytest.mark.parametrize(("text", "rows"), [("", 50), ("1", 1), ("200", 200)])
def test_a_page_has_so_many_rows(text: str, rows: int) -> None:
    assert filters.rows({"rows": text}) == rows


@pytest.mark.parametrize("text", ["0", "201", "-1", "٣٠٠"])
def test_no_page_has_more(text: str) -> None:
    with pytest.raises(ValidationError):
        filters.rows({"rows": text})


def job(directory: Path, **fields: Any) -> dict[str, Any]:
    return {"job_id": "1", "working_directory": str(directory), "name": "a", "state": "RUNNING", **fields}


def tail(values: dict[str, Any]) -> dict[str, Any]:
    """The end of an output that no launcher sends."""
    client = Client(Site(Path("/nowhere")))
    return output.tail(values, Path("/nowhere/data"), SentOutputs(client, MOST_BYTES))


def test_of_a_long_output_the_end_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.out").write_bytes(b"x" * MOST_BYTES * 3 + "ende ü\n".encode() + b"\xff")
    found = tail(job(tmp_path))
    assert found["text"].endswith("ende ü\n\ufffd")
    assert found["size"] - found["start"] == MOST_BYTES
    assert found["note"] == ""


def test_a_pipe_in_place_of_the_output_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.out")
    assert "no plain file" in tail(job(tmp_path))["note"]


def test_a_link_in_place_of_the_output_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "a.out").symlink_to(tmp_path / "secret")
    found = tail(job(tmp_path))
    assert (found["text"], found["note"]) == ("", "cannot be read: it is a symbolic link")


def test_without_output_the_reason_is_told(tmp_path: Path) -> None:
    assert tail(job(tmp_path))["note"] == "the job has not run"
    (tmp_path / "preprocess.log").touch()
    assert "see preprocess.log in" in tail(job(tmp_path))["note"]
    gone = tail(job(tmp_path / "gone", attempt=1, state="JOB_FINISHED"))
    assert "does not exist on this host, or was removed" in gone["note"]


def test_the_message_of_a_row_is_short() -> None:
    shown = row({"job_id": "1", "message": "x" * 5000 + "\ny"})["message"]
    assert len(shown) < 400
    assert "4,700 characters more" in shown


@pytest.mark.parametrize(
    ("nodes", "leases", "free", "expected"),
    [
        *((4, 0, None, 0), (4, 0, 1.0, 0), (4, 2, 2.5, 1.5), (4, 9, 0.0, 4)),
        *((4, 9, 12.0, 0), (4, 9, None, 4), (4, 2, None, 2)),
    ],
)
def test_nodes_are_in_use_as_far_as_a_launcher_takes_no_more(
    nodes: int, leases: int, free: float | None, expected: float
) -> None:
    assert busy(nodes, leases, free) == expected


@pytest.mark.parametrize(
    "body", [{}, {"job_ids": []}, {"job_ids": "all"}, {"job_ids": ["x"]}, {"job_ids": ["0" * 36] * 1001}]
)
def test_an_action_names_its_jobs(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="job_ids"):
        act(None, "kill", body)  # type: ignore[arg-type]


def test_there_is_no_other_action() -> None:
    with pytest.raises(NotFound, match="actions: kill, restart, priority"):
        act(None, "delete", {})  # type: ignore[arg-type]
