"""Small pure parts of the job store: patterns, credit, statements as text, messages of the database."""

from __future__ import annotations

import fnmatch
import re
import sqlite3

import psycopg2
import pytest
import sqlalchemy as sa

from balsam.errors import ResourceExhausted, Unavailable, ValidationError
from balsam.v1 import job_service_pb2, query_pb2
from balsam_jobstore import database
from balsam_jobstore.json_at import _sqlite_paths
from balsam_jobstore.leases import Credit, Stream
from balsam_jobstore.rows import COLUMNS, Row
from balsam_jobstore.server import convert
from balsam_jobstore.sessions import LAUNCHER, Session
from balsam_jobstore.workflows import is_glob, like_pattern, sqlite_glob, workflow_condition

NAMES = ["", "wf1", "wf10", "WF1", "a%c", "a_c", "abc", "[x]", "x", "back\\slash", "é", "a/b"]


@pytest.mark.parametrize("pattern", ["wf1*", "wf?", "*", "a%*", "a_?", "[x]*", "b*\\s*", "?", "", "*[*", "é*"])
def test_both_databases_read_a_pattern_alike(pattern: str) -> None:
    expected = [name for name in NAMES if fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))]
    connection = sqlite3.connect(":memory:")
    like = "SELECT ? LIKE ? ESCAPE '\\'"
    connection.execute("PRAGMA case_sensitive_like = ON")
    assert [
        n for n in NAMES if connection.execute("SELECT ? GLOB ?", (n, sqlite_glob(pattern))).fetchone()[0]
    ] == expected
    assert [n for n in NAMES if connection.execute(like, (n, like_pattern(pattern))).fetchone()[0]] == expected
    connection.close()


def test_a_workflow_filter_is_a_pattern_only_where_it_holds_one() -> None:
    assert [is_glob(text) for text in ("wf1", "wf*", "w?", "[x]", "")] == [False, True, True, False, False]
    assert workflow_condition("", sqlite=True) == ("", {})
    assert workflow_condition("wf1", sqlite=False) == ("workflow = :workflow", {"workflow": "wf1"})


@pytest.fixture
def stream() -> Stream:
    session = Session("s", "r", LAUNCHER, "host", 1, "me", "1", 0, 1, "auto", "", "")
    return Stream(session, [], lambda delivery: None)


def test_grants_on_their_way_count_against_credit(stream: Stream) -> None:
    stream.set_credit(Credit(nodes=4.0, jobs=4), 0)
    stream.count(1.0)
    stream.count(0.5)
    assert (stream.jobs_left, stream.nodes_left) == (2, 2.5)
    stream.set_credit(Credit(nodes=4.0, jobs=4), 1)  # it had seen the first when it said so
    assert (stream.jobs_left, stream.nodes_left) == (3, 3.5)
    stream.set_credit(Credit(nodes=4.0, jobs=4), 2)
    assert (stream.jobs_left, stream.nodes_left) == (4, 4.0)


def test_grants_that_were_taken_back_do_not_count(stream: Stream) -> None:
    stream.set_credit(Credit(nodes=2.0, jobs=2), 0)
    for _ in range(2):
        stream.count(1.0)
    stream.dry = True
    stream.take_back(2)
    assert (stream.jobs_left, stream.nodes_left, stream.sent, stream.dry) == (2, 2.0, 0, False)


def test_statements_are_written_for_each_database() -> None:
    text = "SELECT x FROM t WHERE key = {keys} AND a = :a AND b LIKE '%' AND c = ANY(:c::uuid[])"
    assert database._for_sqlite(text.split(" AND c")[0]) == (
        "SELECT x FROM t WHERE key IN (SELECT value FROM json_each(:keys)) AND a = :a AND b LIKE '%'"
    )
    assert database._for_postgresql(text) == (
        "SELECT x FROM t WHERE key = ANY(%(keys)s) AND a = %(a)s AND b LIKE '%%' AND c = ANY(%(c)s::uuid[])"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\\N"),
        ("\\N", "\\\\N"),
        ("a\tb\nc\rd", "a\\tb\\nc\\rd"),
        (5, "5"),
        (0.1, "0.1"),
        ("", ""),
        ("\\.", "\\\\."),
    ],
)
def test_values_are_escaped_for_copying(value: object, text: str) -> None:
    assert database._copy_text(value) == text


def test_digits_in_a_path_are_a_key_or_an_index() -> None:
    assert _sqlite_paths(("0",)) == ['$."0"']  # data is an object
    assert _sqlite_paths(("x", "0")) == ['$."x"."0"', '$."x"[0]']
    assert _sqlite_paths(("x", "٣", "-1")) == ['$."x"."٣"."-1"']
    assert _sqlite_paths(("a\\b",)) == ['$."a\\\\b"']
    with pytest.raises(ValidationError, match="too many numbers"):
        _sqlite_paths(("x", *"12345"))


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (psycopg2.OperationalError("connection refused\nIs the server running?"), Unavailable, "NO_DATABASE"),
        (psycopg2.DatabaseError("server closed the connection unexpectedly"), Unavailable, "NO_DATABASE"),
        (psycopg2.InterfaceError("connection already closed"), Unavailable, "NO_DATABASE"),
        (sqlite3.DatabaseError("database disk image is malformed"), Unavailable, "NO_DATABASE"),
        (
            psycopg2.OperationalError("could not extend file: No space left on device"),
            ResourceExhausted,
            "RESOURCE_EXHAUSTED",
        ),
        (sqlite3.OperationalError("database or disk is full"), ResourceExhausted, "RESOURCE_EXHAUSTED"),
        (sa.exc.TimeoutError("QueuePool limit"), ResourceExhausted, "BUSY"),
        (psycopg2.ProgrammingError("syntax error"), None, ""),
        (ValueError("something of ours"), None, ""),
    ],
    ids=lambda value: re.sub(r"\W+", " ", str(value))[:40],
)
def test_an_error_of_the_database_is_told_in_the_caller_s_terms(
    error: Exception, kind: type[Exception] | None, reason: str
) -> None:
    problem = database.translate_error(error)
    assert (type(problem) if problem else None) is kind
    assert problem is None or (problem.reason == reason and "\n" not in str(problem))


def test_a_statement_that_sqlite_does_not_understand_is_an_error_of_ours() -> None:
    connection = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("SELECT nothing FROM nowhere")
    assert database.translate_error(caught.value) is None
    connection.close()


def test_a_row_takes_its_columns_in_the_order_in_which_they_are_selected() -> None:
    names = COLUMNS.split(", ")
    row = Row(range(len(names)))
    assert [getattr(row, name) for name in names] == list(range(len(names)))
    assert row.snapshot() == tuple(row.before)


@pytest.mark.parametrize("filter", [None, query_pb2.Filter(), query_pb2.Filter(all=query_pb2.Filter.Group())])
def test_a_filter_that_all_jobs_match_is_none(filter: query_pb2.Filter | None) -> None:
    """What the library sends for all jobs: they are counted by looking at one row, not at a million."""
    assert convert.optional_node(job_service_pb2.CountJobsRequest(filter=filter)) is None


def test_a_filter_that_some_match_stays() -> None:
    some = query_pb2.Filter(
        test=query_pb2.Test(field="name", op=query_pb2.Test.EXACT, values=[query_pb2.Value(text="a")])
    )
    assert convert.optional_node(job_service_pb2.CountJobsRequest(filter=some)) is not None
