"""Queries: every lookup on every kind of field, in both databases, against a model in plain Python."""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from balsam.errors import ValidationError
from balsam.fields import JOB_FIELDS, Kind
from balsam.states import Actor, State
from balsam_jobstore import jobs, reading
from balsam_jobstore.database import Database
from balsam_jobstore.paging import pack_token
from balsam_jobstore.query import APPLICATIONS, Group, Node, Order
from balsam_jobstore.query import Test as Compare
from tests.jobstore.conftest import _EMPTY
from tests.support.postgres import execute
from tests.support.query_model import Jobs, holds, ordered
from tests.support.store import Bench, job, one

S = State

TEXTS = [
    "",
    "a",
    "A",
    "abc",
    "aBc",
    "a%c",
    "a_c",
    "a*c",
    "a?c",
    "[ab]c",
    "a]c",
    "it's",
    'say "x"',
    "back\\slash",
    "end\\",
    "Élan",
    "élan",
    "ЖУК",
    "жук",
    "漢字",
    "😀 smile",
    "%",
    "_",
    "\\",
    ":name",
    "{keys}",
    "100%(x)s",
    "{}",
    "tab\there",
]
"""Texts with everything that means something to SQL, to patterns, or to JSON."""

WORKFLOWS = ["", "wf1", "wf10", "WF1", "wf1/sub", "é", "w_1"]

DATA: list[Any] = [
    {},
    {"x": 1},
    {"x": 1.0},
    {"x": -2.5},
    {"x": 10**12},
    {"x": "1"},
    {"x": "abc"},
    {"x": "Abc%"},
    {"x": True},
    {"x": False},
    {"x": None},
    {"x": []},
    {"x": {}},
    {"x": [1, "two", None, {"y": 3}]},
    {"x": {"y": "deep", "0": "zero"}},
    {"0": "key", "1": [5, 6]},
    {"key with space": 1, "a.b": 2, "$": 3, "[0]": 4, "é": 5, "": 6, "back\\slash": 7, "it's": 8},
    {"x": 'it\'s \\ "quoted" 漢'},
]
PATHS = [
    ("x",),
    ("x", "y"),
    ("x", "0"),
    ("x", "1"),
    ("x", "3", "y"),
    ("x", "99"),
    ("0",),
    ("1", "1"),
    ("key with space",),
    ("a.b",),
    ("$",),
    ("[0]",),
    ("é",),
    ("",),
    ("it's",),
    ("missing",),
    ("back\\slash",),
]

TEXT_FIELDS = ("name", "workflow", "description", "args", "application")
INTEGERS = ("num_nodes", "priority", "wall_time_minutes", "exit_code", "attempt", "revision", "restarts")
BOOLEANS = ("wait_for_parents", "post_error_handler", "auto_timeout_retry", "leased")
TEXT_OPS = ("iexact", "contains", "icontains", "startswith", "istartswith", "endswith", "iendswith", "glob")
ORDER_OPS = ("gt", "gte", "lt", "lte")


class Both:
    """The same jobs in SQLite and in PostgreSQL, and as plain values."""

    def __init__(self, databases: list[Database], jobs: Jobs) -> None:
        self.databases = databases
        self.jobs = jobs

    def names_of(self, found: Jobs) -> list[str]:
        """Ids of jobs, in order."""
        return [job["job_id"] for job in found]

    def ask(self, node: Node | None, *orders: Order, size: int = 1000) -> list[list[str]]:
        """The ids that each database finds, page by page."""
        answers = []
        for database in self.databases:
            ids: list[str] = []
            token = ""
            for _ in range(len(self.jobs) + 2):
                with database.reader() as connection:
                    rows, token = reading.list_jobs(
                        connection, database.is_sqlite, node, orders, size, token, ["job_id", "args"]
                    )
                assert len(rows) <= size
                ids += [str(row["job_id"]) for row in rows]
                if not token:
                    break
            assert not token, "the pages do not end"
            answers.append(ids)
        return answers

    def check(self, node: Node | None) -> None:
        """Both databases find what the model finds, in order of creation."""
        expected = [job["job_id"] for job in self.jobs if node is None or holds(node, job)]
        for database, found in zip(self.databases, self.ask(node), strict=True):
            assert found == expected, database.name


def _fields(i: int) -> dict[str, Any]:
    return {
        "name": TEXTS[i % len(TEXTS)].strip().replace("\t", " "),
        "workflow": WORKFLOWS[i % len(WORKFLOWS)],
        "description": TEXTS[(i * 7) % len(TEXTS)],
        "data": DATA[i % len(DATA)],
        "num_nodes": 1 + i % 3,
        "priority": (i % 5 - 2) * 1000,
        "gpus_per_rank": [0.0, 0.5, 2.0][i % 3],
        "cpu_affinity": ["none", "depth"][i % 2],
        "wait_for_parents": i % 4 != 0,
        "post_error_handler": i % 3 == 0,
        "application": ["", "app", "App%"][i % 3],
    }


def _fill(bench: Bench) -> None:
    """Sixty jobs with all kinds of values, in all kinds of states."""
    bench.schedule()
    for name in ("app", "App%"):
        bench.add_app(name)
    ids = [str(uuid.UUID(int=i * 0x1_0000_0001_0000_0000_0000_0000 + i, version=4)) for i in range(60)]
    new = []
    for i, job_id in enumerate(ids):
        parents = [ids[i // 2], ids[i // 3]] if i > 40 else []
        new.append(job(job_id=job_id, parents=dict.fromkeys(parents), **_fields(i)))
    bench.create(*new)
    for i, state in enumerate((S.JOB_FINISHED, S.FAILED, S.USER_KILLED, S.RESTART_READY, S.RUN_ERROR)):
        bench.set_state(ids[i * 3], state, message=f"made {state.name}")
    launcher = bench.launcher(jobs=10)
    for i, grant in enumerate(launcher.grants[:6]):
        launcher.finish(grant, S.RUN_ERROR, exit_code=i - 2, message="exit code")
    assert launcher.grants[6:]


def _read(bench: Bench) -> Jobs:
    """All jobs as plain values, as a reader of messages would have them."""
    rows, _ = bench.list(fields=[*(name for name in JOB_FIELDS if name != "job_id")])
    children: dict[str, list[str]] = {str(row["job_id"]): [] for row in rows}
    for row in rows:
        row["job_id"] = str(row["job_id"])
        row["state"] = State(row["state"]).name
        row["cpu_affinity"] = ("none", "depth")[row["cpu_affinity"] - 1]
        row["data"] = json.loads(row["data"]) if isinstance(row["data"], str) else row["data"]
        row["children"] = children[row["job_id"]]
        for name in BOOLEANS:
            row[name] = bool(row[name])
        for parent in row["parents"]:
            children[parent].append(row["job_id"])
    return rows


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path, migrated_postgres: str) -> Iterator[Both]:
    copy = tmp_path_factory.mktemp("queries") / "balsam.db"
    shutil.copy(migrated_sqlite, copy)
    execute(migrated_postgres, _EMPTY)
    databases = [Database(f"sqlite:///{copy}"), Database(migrated_postgres)]
    found = []
    for database in databases:
        bench = Bench(database)
        _fill(bench)
        found.append(_read(bench))
        bench.close()
    unlike = {"create_time"}
    for a, b in zip(*found, strict=True):
        assert {name: a[name] for name in a.keys() - unlike} == {name: b[name] for name in b.keys() - unlike}
    yield Both(databases, found[0])
    for database in databases:
        database.close()


pytestmark = pytest.mark.postgres

quick = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

pieces = st.sampled_from(
    [*TEXTS, *WORKFLOWS, "b", "c", "an", "LAN", "ук", "%c", "*", "?", "??", "a*", "*c", "[*", "\\*"]
)
numbers = st.sampled_from([-2000, -1, 0, 1, 2, 3, 1000, 10**12, -2.5, 0.5, 1.5, 2**62, float("inf")])


def _value_lists(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(values, max_size=3).map(tuple)


def _lookups(values: st.SearchStrategy[Any], *fields: str, order: bool = True) -> st.SearchStrategy[Compare]:
    field = st.sampled_from(fields)
    one_value = st.tuples(values)
    kinds = [
        st.builds(Compare, field, st.just("exact"), one_value),
        st.builds(Compare, field, st.just("in"), _value_lists(values)),
    ]
    if order:
        kinds += [
            st.builds(Compare, field, st.sampled_from(ORDER_OPS), one_value),
            st.builds(Compare, field, st.just("range"), st.tuples(values, values)),
        ]
    return st.one_of(kinds)


ids = st.integers(0, 61).map(lambda i: str(uuid.UUID(int=i * 0x1_0000_0001_0000_0000_0000_0000 + i, version=4)))
texts = _lookups(pieces, *TEXT_FIELDS) | st.builds(
    Compare, st.sampled_from(TEXT_FIELDS), st.sampled_from(TEXT_OPS), st.tuples(pieces)
)
plain = st.one_of(
    texts,
    _lookups(numbers, *INTEGERS, "gpus_per_rank"),
    _lookups(st.booleans(), *BOOLEANS, order=False),
    _lookups(st.sampled_from(sorted(State.__members__)), "state", order=False),
    _lookups(st.sampled_from(["none", "depth"]), "cpu_affinity", order=False),
    _lookups(ids, "job_id", "parents", "children", order=False),
    st.builds(
        Compare, st.just("job_id"), st.sampled_from(TEXT_OPS), st.tuples(st.sampled_from(["0000", "1-", "00A", "*1"]))
    ),
    st.builds(
        Compare,
        st.sampled_from(["exit_code", "name", "parents", "children"]),
        st.just("isnull"),
        st.tuples(st.booleans()),
    ),
)
json_values = st.sampled_from([0, 1, -2.5, 10**12, 5, "1", "abc", "ABC", "%", "two", "deep", "zero", True, False, None])
paths = st.sampled_from(PATHS)
in_data = st.one_of(
    st.builds(Compare, st.just("data"), st.just("exact"), st.tuples(json_values), paths),
    st.builds(Compare, st.just("data"), st.just("in"), _value_lists(json_values), paths),
    st.builds(Compare, st.just("data"), st.sampled_from(ORDER_OPS), st.tuples(numbers | pieces), paths),
    st.builds(Compare, st.just("data"), st.sampled_from(TEXT_OPS), st.tuples(pieces), paths),
    st.builds(Compare, st.just("data"), st.just("isnull"), st.tuples(st.booleans()), paths),
    st.builds(Compare, st.just("data"), st.just("range"), st.tuples(numbers, numbers), paths),
)
nodes = st.recursive(
    plain | in_data,
    lambda inner: st.one_of(
        st.builds(Group, st.sampled_from(["all", "any"]), st.lists(inner, max_size=3).map(tuple)),
        st.builds(Group, st.just("not"), st.tuples(inner)),
    ),
    max_leaves=5,
)


@quick
@given(plain)
def test_a_lookup_finds_what_the_model_finds(both: Both, node: Node) -> None:
    both.check(node)


@quick
@given(in_data)
@example(Compare("data", "exact", ("key",), ("0",)))
@example(Compare("data", "exact", ("zero",), ("x", "0")))
@example(Compare("data", "exact", (7,), ("back\\slash",)))
def test_a_path_into_data_finds_what_the_model_finds(both: Both, node: Node) -> None:
    both.check(node)


@quick
@given(nodes)
def test_conditions_combine_as_in_the_model(both: Both, node: Node) -> None:
    both.check(node)
    both.check(Group("not", (node,)))


@pytest.mark.parametrize("op", TEXT_OPS)
@pytest.mark.parametrize("field", ["name", "description"])
def test_every_text_lookup_takes_every_text(both: Both, field: str, op: str) -> None:
    for text in TEXTS:
        both.check(Compare(field, op, (text,)))


@pytest.mark.parametrize("pattern", ["^a", "c$", "a.c", "[A-Z]", "é|É", "^$", r"\\", "a{1}", r"\d+", "(a|b)c", "ж"])
def test_a_regular_expression_is_searched_for(both: Both, pattern: str) -> None:
    both.check(Compare("name", "regex", (pattern,)))
    both.check(Group("not", (Compare("name", "regex", (pattern,)),)))


def test_an_empty_filter_matches_all_and_an_empty_choice_nothing(both: Both) -> None:
    for node in (None, Group("all"), Group("any"), Group("not", (Group("any"),))):
        both.check(node)


# Order and pages

ORDERS = [
    (),
    (Order("name"),),
    (Order("name", descending=True),),
    (Order("exit_code"),),
    (Order("exit_code", descending=True),),
    (Order("exit_code", descending=True), Order("name")),
    (Order("workflow"), Order("priority", descending=True)),
    (Order("gpus_per_rank", descending=True), Order("leased"), Order("num_nodes")),
    (Order("application"), Order("message", descending=True)),
    (Order("working_directory", descending=True),),
    (Order("job_id", descending=True),),
    (Order("data", path=("1", "0")),),
]


@pytest.mark.parametrize("orders", ORDERS, ids=lambda orders: ",".join(order.field for order in orders))
@pytest.mark.parametrize("size", [1, 7, 60])
def test_pages_give_every_job_once_and_in_order(both: Both, orders: tuple[Order, ...], size: int) -> None:
    expected = both.names_of(ordered(both.jobs, *orders))
    assert both.ask(None, *orders, size=size) == [expected] * 2


@pytest.mark.parametrize("size", [7, 60])
def test_by_the_time_of_their_creation_jobs_come_in_the_order_of_creation(both: Both, size: int) -> None:
    oldest_first = both.names_of(both.jobs)
    assert both.ask(None, Order("create_time"), size=size) == [oldest_first] * 2
    assert both.ask(None, Order("create_time", descending=True), size=size) == [oldest_first[::-1]] * 2
    grouped = both.names_of(ordered(both.jobs[::-1], Order("workflow")))
    newest_of_each = (Order("workflow"), Order("create_time", descending=True))
    assert both.ask(None, *newest_of_each, size=size) == [grouped] * 2


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_pages_in_the_order_of_mixed_json_values_give_every_job_once(
    both: Both, path: tuple[str, ...], descending: bool
) -> None:
    order = Order("data", descending, path)
    for found, whole in zip(both.ask(None, order, size=3), both.ask(None, order), strict=True):
        assert found == whole
        assert sorted(found) == sorted(both.names_of(both.jobs))


def test_numbers_in_data_are_ordered_as_numbers(both: Both) -> None:
    expected = [-2.5, 1, 1.0, 10**12]
    number = Compare("data", "gte", (-1e300,), ("x",))
    values = {job["job_id"]: job["data"].get("x") for job in both.jobs}
    for found in both.ask(number, Order("data", path=("x",)), size=2):
        assert list(dict.fromkeys(values[job_id] for job_id in found)) == list(dict.fromkeys(expected))


def test_pages_of_a_filter_and_an_order_together(both: Both) -> None:
    node = Compare("priority", "gte", (0,))
    expected = both.names_of(ordered([job for job in both.jobs if holds(node, job)], Order("name", True)))
    assert both.ask(node, Order("name", True), size=4) == [expected] * 2


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "é",
        "AAAA",
        "W10=",
        pack_token([]),
        pack_token(["a"]),
        pack_token(["a", "b"]),
        pack_token([1, 2]),
        pack_token(["a", None]),
        pack_token([None, 1]),
        pack_token(["a", 2**70]),
        pack_token(["a", 1.5]),
        pack_token([{"a": 1}, 1]),
        pack_token(["a\0b", 1]),
        pack_token(["\ud800", 1]),
        pack_token([True, True]),
        "W" * 4000,
    ],
)
def test_a_page_token_that_is_none_of_ours_is_refused(both: Both, token: str) -> None:
    for database in both.databases:
        with database.reader() as connection, pytest.raises(ValidationError, match="page_token") as caught:
            reading.list_jobs(connection, database.is_sqlite, None, [Order("name")], 5, token, ["job_id"])
        assert caught.value.field == "page_token"


def test_a_page_token_of_another_order_is_refused_or_harmless(both: Both) -> None:
    for token in (pack_token([[1], 1]), pack_token([None, 5]), pack_token(["x", 5]), pack_token([0.5, 5])):
        for database in both.databases:
            with database.reader() as connection, contextlib.suppress(ValidationError):
                reading.list_jobs(
                    connection, database.is_sqlite, None, [Order("data", path=("x",))], 5, token, ["job_id"]
                )


@pytest.mark.parametrize("size", [-1, 10_001])
def test_a_page_size_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(ValidationError, match=f"page_size = {size}"):
        reading.page_size(size)
    assert reading.page_size(0) == 1000


# Counts


@pytest.mark.parametrize(
    "fields", [["state"], ["workflow", "state"], ["application"], ["leased"], ["exit_code"], ["cpu_affinity"]]
)
def test_counts_by_value_are_those_of_the_model(both: Both, fields: list[str]) -> None:
    from collections import Counter

    from balsam_jobstore.server import convert

    node = Compare("num_nodes", "gte", (2,))
    expected = Counter(tuple(job[field] for field in fields) for job in both.jobs if holds(node, job))
    for database in both.databases:
        with database.reader() as connection:
            total, rows = reading.count_jobs(connection, database.is_sqlite, node, fields)
        found = {}
        for row in rows:
            values = [getattr(v, v.WhichOneof("kind") or "", None) for v in convert.group_values(fields, row[:-1])]
            found[tuple(values)] = row[-1]
        assert (total, found) == (sum(expected.values()), dict(expected))


def test_a_count_without_groups_is_one_number(both: Both) -> None:
    for database in both.databases:
        with database.reader() as connection:
            assert reading.count_jobs(connection, database.is_sqlite, None, []) == (60, [])


# Large filters


def test_many_values_are_looked_up_at_once(both: Both) -> None:
    ids = tuple(str(uuid.uuid4()) for _ in range(40_000))
    names = tuple(f"name {i}" for i in range(5000))
    wanted = both.jobs[7]
    for node in (
        Compare("job_id", "in", (*ids, wanted["job_id"])),
        Compare("parents", "in", (*ids[:5000], wanted["job_id"])),
        Compare("name", "in", (*names, "abc")),
        Compare("priority", "in", (*range(5000), -2000)),
        Compare("data", "in", (*names[:900], "abc"), ("x",)),
        Group("not", (Compare("name", "in", (*names, "abc")),)),
    ):
        both.check(node)


@pytest.mark.parametrize("kind", ["any", "all"])
def test_as_many_tests_as_are_allowed_are_answered(both: Both, kind: str) -> None:
    both.check(Group(kind, tuple(Compare("name", "contains", (f"{i}",)) for i in range(1990))))


def test_as_many_levels_as_are_allowed_are_answered(both: Both) -> None:
    node: Node = Compare("name", "exact", ("abc",))
    for _ in range(14):
        node = Group("all", (Group("not", (node,)),))
    both.check(node)


# What is refused


def refusal(both: Both, node: Node) -> ValidationError:
    """The error for a filter, the same in both databases."""
    errors = []
    for database in both.databases:
        with database.reader() as connection, pytest.raises(ValidationError) as caught:
            reading.count_jobs(connection, database.is_sqlite, node, [])
        errors.append(caught.value)
    assert str(errors[0]) == str(errors[1])
    return errors[0]


def test_an_unknown_field_is_refused_with_the_nearest_and_all(both: Both) -> None:
    error = refusal(both, Compare("nme", "exact", ("x",)))
    assert str(error).startswith("'nme' is not a field of a job; did you mean 'name'? (fields: job_id, name, ")
    assert (error.reason, error.field) == ("UNKNOWN_FIELD", "nme")


def test_an_unknown_lookup_is_refused_with_all(both: Both) -> None:
    error = refusal(both, Compare("name", "like", ("x",)))
    assert "'like' is not a lookup (lookups: exact, in, gt," in str(error)
    assert (error.reason, error.field) == ("UNKNOWN_LOOKUP", "name")


@pytest.mark.parametrize(
    ("test", "what"),
    [
        (Compare("state", "exact", ("FINISHED",)), "state = 'FINISHED': must be one of CREATED"),
        (Compare("state", "exact", (9,)), "must be one of"),
        (Compare("state", "contains", ("RUN",)), "state"),
        (Compare("state", "gt", ("RUNNING",)), "state"),
        (Compare("cpu_affinity", "contains", ("dep",)), "cpu_affinity"),
        (Compare("cpu_affinity", "exact", ("tight",)), "must be one of none, depth"),
        (Compare("num_nodes", "exact", ("two",)), "num_nodes__exact = 'two': must be a number"),
        (Compare("num_nodes", "gt", (True,)), "must be a number"),
        (Compare("num_nodes", "contains", ("1",)), "num_nodes"),
        (Compare("leased", "gt", (True,)), "leased"),
        (Compare("priority", "exact", (2**63,)), "64 bits"),
        (Compare("priority", "exact", (float("nan"),)), "priority"),
        (Compare("data", "gt", (float("nan"),), ("x",)), "data"),
        (Compare("name", "exact", (5,)), "name__exact = 5: must be a text"),
        (Compare("name", "exact", ("a\0b",)), "NUL"),
        (Compare("name", "icontains", ("a\0b",)), "NUL"),
        (Compare("data", "exact", ("a\0b",), ("x",)), "NUL"),
        (Compare("data", "exact", ("a",), ("x\0y",)), "NUL"),
        (Compare("data", "contains", (5,), ("x",)), "must be a text"),
        (Compare("data", "exact", (5,), ('x"y',)), "quote"),
        (Compare("data", "exact", ("{}",)), "data"),
        (Compare("environ_vars", "contains", ("A",)), "environ_vars"),
        (Compare("name", "exact", ("x",), ("y",)), "name holds no JSON"),
        (Compare("parents", "exact", ("abc",)), "parents = 'abc': is not a job id"),
        (Compare("parents", "gt", ("abc",)), "parents"),
        (Compare("job_id", "exact", ("abc",)), "job_id = 'abc': is not a job id"),
        (Compare("name", "exact", ()), "needs one value, not 0"),
        (Compare("name", "range", ("a",)), "needs two values, not 1"),
        (Compare("name", "in", ("x",) * 100_001), "more than 100000 values"),
        (Compare("name", "regex", ("x" * 201,)), "200 characters"),
        (Compare("name", "regex", ("(",)), "regular expression"),
    ],
    ids=lambda value: f"{value.field}-{value.op}" if isinstance(value, Compare) else "",
)
def test_a_test_that_makes_no_sense_is_refused_and_named(both: Both, test: Compare, what: str) -> None:
    error = refusal(both, test)
    assert what in str(error)
    assert "\n" not in str(error)


def test_a_filter_that_is_too_deep_or_too_large_is_refused(both: Both) -> None:
    deep: Node = Group("all")
    for _ in range(31):
        deep = Group("not", (deep,))
    wide = Group("any", tuple(Compare("name", "exact", ("x",)) for _ in range(2001)))
    for node in (deep, wide):
        assert "too large (at most 2000 tests, 30 levels)" in str(refusal(both, node))


def test_a_regular_expression_that_takes_for_ever_is_cut_off(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("balsam_jobstore.database.REGEX_SECONDS", 0.3)
    long = "a" * 3001  # twice anything is even
    for database in both.databases:
        bench = Bench(database)
        job_id = bench.add("a", description=long)
        node = Compare("description", "regex", (r"^(a+)(a+)(a+)\1\2\3$",))
        try:
            with database.reader() as connection, pytest.raises(ValidationError, match=r"\^\(a.*too long"):
                reading.count_jobs(connection, database.is_sqlite, node, [])
            with database.reader() as connection:
                assert reading.count_jobs(connection, database.is_sqlite, None, [])[0] == 61
        finally:
            bench.delete(job_id)
            bench.close()


@pytest.mark.parametrize("name", ["nosuch", "parents", "children", "data"])
def test_what_cannot_be_sorted_or_grouped_by_is_named(both: Both, name: str) -> None:
    for database in both.databases:
        with database.reader() as connection:
            with pytest.raises(ValidationError, match=name):
                reading.list_jobs(connection, database.is_sqlite, None, [Order(name)], 5, "", ["job_id"])
            with pytest.raises(ValidationError, match=name):
                reading.count_jobs(connection, database.is_sqlite, None, [name])


def test_an_unknown_field_of_a_mask_is_named() -> None:
    with pytest.raises(ValidationError, match="'nme' is not a field of a job; did you mean 'name'"):
        reading.job_fields(["nme"])
    assert reading.job_fields(["name"]) == ["job_id", "name"]


# Applications


def test_applications_are_found_by_their_fields(both: Both) -> None:
    for database in both.databases:
        with database.reader() as connection:
            sqlite = database.is_sqlite
            page = functools.partial(reading.list_records, connection, sqlite, APPLICATIONS)
            names = lambda *args: [found["name"] for found in page(*args)[0]]  # noqa: E731, B023
            assert names(None, [], 10, "") == ["App%", "app"]
            assert names(Compare("name", "iexact", ("APP",)), [], 10, "") == ["app"]
            assert names(None, [Order("create_time", True)], 10, "") == ["App%", "app"]
            first, token = page(None, [], 1, "")
            second, end = page(None, [], 1, token)
            assert ([found["name"] for found in (*first, *second)], end) == (["App%", "app"], "")
            with pytest.raises(ValidationError, match="'command' is not a field of an application"):
                page(Compare("command", "exact", ("x",)), [], 5, "")


# Selections of many jobs


def test_a_selection_is_read_in_parts(both: Both) -> None:
    for database in both.databases:
        with database.reader() as connection:
            keys: list[int] = []
            while part := reading.select_keys(
                connection, database.is_sqlite, Compare("num_nodes", "exact", (2,)), keys[-1] if keys else 0, 3
            ):
                keys += part
            assert len(keys) == sum(job["num_nodes"] == 2 for job in both.jobs)


def test_every_field_can_be_asked_for(both: Both) -> None:
    sortable = [name for name, field in JOB_FIELDS.items() if field.kind not in (Kind.IDS, Kind.JSON, Kind.ENVIRON)]
    for name in sortable:
        assert both.ask(None, Order(name), size=25)[0]


def test_a_change_of_many_jobs_by_a_filter_is_in_its_transaction(bench: Bench) -> None:
    """The writer's connection sees what the transaction has changed already."""
    job_id = bench.add("a")

    def command(tx: jobs.Tx) -> list[int]:
        jobs.set_state(tx, one(tx, job_id), S.JOB_FINISHED, Actor.USER)
        tx.flush()
        return reading.select_keys(
            tx.sql.connection, tx.sql.is_sqlite, Compare("state", "exact", ("JOB_FINISHED",)), 0, 5
        )

    assert bench.do(command) == [bench.row(job_id).key]


def test_a_page_of_large_jobs_ends_early_and_the_next_goes_on(bench: Bench) -> None:
    names = [f"job{number:02}" for number in range(20)]
    for name in names:
        bench.add(name, data={"x": "y" * 900_000}, environ_vars={"A": "z" * 100_000})
    seen: list[str] = []
    token, pages = "", 0
    while token or not pages:
        found, token = bench.list(size=1000, token=token)
        assert sum(len(str(job["data"])) for job in found) < 12_000_000
        seen += [job["name"] for job in found]
        pages += 1
    assert seen == names
    assert pages > 1
