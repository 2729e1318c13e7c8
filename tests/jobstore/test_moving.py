"""Jobs to a file and back: nothing is lost on the way, and nothing gets in that could not have happened."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from balsam.errors import ValidationError
from balsam.states import State
from balsam_jobstore.moving import archiving, exporting, importing
from balsam_jobstore.moving.archiving import Archived, Removed
from balsam_jobstore.moving.exporting import Selection, parents_first
from balsam_jobstore.moving.format import Line, Reader, Writer
from balsam_jobstore.moving.importing import Imported, Seen
from balsam_jobstore.moving.plain_json import canonical
from tests.jobstore.conftest import checked_bench
from tests.jobstore.test_random_walks import Walk
from tests.support.store import Bench, job

S = State
WAYS = [
    pytest.param(*way, marks=pytest.mark.postgres) for way in (("sqlite", "postgres", 1), ("postgres", "sqlite", 2))
]


def export(bench: Bench, **selection: Any) -> bytes:
    """The content of a file with the jobs of a bench."""
    return b"".join(exporting.exported(bench.database, Path("/the/site"), Selection(**selection)))


def lines_of(content: bytes) -> list[Line]:
    """The lines of a whole file, without header and end."""
    reader = Reader()
    lines = list(reader.feed(content))
    reader.finish()
    return lines


def jobs_in(content: bytes) -> list[str]:
    """The names of the jobs in a file, in order."""
    return [line.value["name"] for line in lines_of(content) if line.kind == "job"]


def check(bench: Bench, lines: list[Line]) -> Imported:
    """What an import would do."""
    with bench.database.reader() as connection, exporting.snapshot(connection, bench.database) as sql:
        return importing.check(sql, lines, Seen())


def take(bench: Bench, content: bytes, size: int = 7) -> Imported:
    """Imports a file in batches, as the service does after a check of the whole."""
    lines = lines_of(content)
    expected, total = check(bench, lines), Imported()
    for start in range(0, len(lines), size):
        total.add(bench.do(lambda tx, start=start: importing.take(tx, lines[start : start + size], "me")))  # type: ignore[misc]
    assert total == expected
    return total


@pytest.mark.parametrize(("source", "target", "seed"), WAYS)
def test_a_campaign_goes_to_another_database_and_comes_out_line_by_line_the_same(
    empty_database: Callable[[str], str], source: str, target: str, seed: int
) -> None:
    with checked_bench(empty_database(source)) as first, checked_bench(empty_database(target)) as second:
        walk = Walk(first, seed)
        walk.run(70)
        for worker in (*walk.workers, walk.scheduler):
            first.end(worker)
        for launch in walk.launches:
            first.update_launch(launch, state="ENDED")
        sent = export(first)
        outcome = take(second, sent)
        assert (outcome.created, outcome.refused) == (len(walk.jobs), 0)
        assert [(line.kind, line.value) for line in lines_of(export(second))] == [
            (line.kind, line.value) for line in lines_of(sent)
        ]
        again = take(second, sent)
        assert (again.created, again.existing, again.refused) == (0, len(walk.jobs), 0)


@pytest.mark.parametrize(("source", "target", "seed"), WAYS)
def test_work_goes_on_where_jobs_were_imported_in_the_middle_of_it(
    empty_database: Callable[[str], str], source: str, target: str, seed: int
) -> None:
    with checked_bench(empty_database(source)) as first, checked_bench(empty_database(target)) as second:
        walk = Walk(first, seed)
        walk.run(60)
        while not first.sql(f"SELECT 1 FROM job WHERE state = {int(S.RUNNING)}"):
            walk.run(1)
        rest = Walk(second, seed)
        sent = export(first)
        assert take(second, sent).refused == 0
        rest.jobs = list(walk.jobs)
        rest.finish()
        again = take(second, sent)  # after all that has happened to them, they are still known
        assert (again.created, again.existing, again.refused) == (0, len(walk.jobs), 0)


def test_what_ran_when_the_file_was_written_has_lost_its_launcher(plain_bench: Bench) -> None:
    bench = plain_bench
    bench.schedule()
    running = bench.add("running")
    launcher = bench.launcher()
    launcher.give()
    launcher.start(launcher.grant("running"))
    sent = export(bench)
    bench.delete(running, kill_running=True)
    take(bench, sent)
    assert bench.history(running)[-3:] == [S.RUNNING, S.RUN_TIMEOUT, S.RESTART_READY]
    assert bench.row(running).restarts == 1
    launcher.give()
    assert launcher.grant("running").attempt == 2


def test_a_child_waits_for_its_parent_where_it_was_imported(plain_bench: Bench) -> None:
    bench = plain_bench
    parent = bench.add("parent")
    child = bench.add("child", parents=[parent])
    sent = export(bench)
    bench.delete(child, parent)
    bench.schedule()
    take(bench, sent, size=1)
    launcher = bench.launcher()
    launcher.give()
    assert launcher.names == ["parent"]
    launcher.finish(launcher.grant("parent"))
    launcher.give()
    assert launcher.names == ["parent", "child"]


def test_an_export_of_a_workflow_holds_what_that_depends_on(plain_bench: Bench) -> None:
    base = plain_bench.add("base", workflow="other")
    plain_bench.add("alone", workflow="other")
    middle = plain_bench.add("middle", workflow="other", parents=[base])
    plain_bench.add("top", workflow="mine", parents=[middle])
    plain_bench.add_app("unused")
    content = export(plain_bench, workflow="mi*")
    assert jobs_in(content) == ["base", "middle", "top"]
    assert {line.kind for line in lines_of(content)} == {"job"}


def test_an_export_shows_one_moment_though_work_goes_on(plain_bench: Bench) -> None:
    for number in range(300):
        plain_bench.add(f"j{number}")
    pieces = exporting.exported(plain_bench.database, Path("/the/site"), Selection())
    begun = next(pieces)
    plain_bench.add("late")
    plain_bench.set_state(plain_bench.list(size=1)[0][0]["job_id"], S.FAILED)
    sent = [line.value for line in lines_of(begun + b"".join(pieces))]
    assert {record["state"] for record in sent} == {"CREATED"}
    assert len(sent) == 300
    assert "late" not in {record["name"] for record in sent}


def test_parents_come_first_whatever_the_order_in_which_jobs_were_made() -> None:
    edges = {1: [9], 9: [4, 7], 4: [8], 5: [9, 2], 3: [1]}

    def parents_beyond(children: Any, key: int) -> dict[int, list[int]]:
        return {child: [parent for parent in edges.get(child, []) if parent > key] for child in children}

    order = list(parents_first(range(1, 10), parents_beyond))
    assert sorted(order) == list(range(1, 10))
    assert all(order.index(parent) < order.index(child) for child, parents in edges.items() for parent in parents)
    assert list(parents_first([1, 5, 9], parents_beyond)) == [9, 1, 5]


# Damage


def small_file() -> bytes:
    writer = Writer()
    header = writer.line("header", {"format": 1, "kind": "export"})
    jobs = [writer.line("job", {"name": f"j{number}", "parents": [], "history": []}) for number in range(3)]
    return b"".join([header, *jobs, writer.end()])


def test_every_file_that_is_cut_off_is_noticed() -> None:
    content = small_file()
    assert len(lines_of(content)) == 3
    for size in range(len(content)):
        with pytest.raises(ValidationError, match=r"line \d of the file is damaged|not a file that"):
            lines_of(content[:size])


def test_every_byte_that_is_damaged_is_noticed_and_its_line_named() -> None:
    content = small_file()
    for place in range(content.index(b"\n") + 1, len(content)):
        if content[place : place + 1] == b"\n":
            continue
        number = content[:place].count(b"\n") + 1
        damaged = content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]
        with pytest.raises(ValidationError, match=f"line {number} of the file is damaged"):
            lines_of(damaged)


def test_a_line_that_is_missing_or_in_another_place_is_noticed() -> None:
    header, first, second, third, end = small_file().splitlines(keepends=True)
    for lines in ([header, first, third, end], [header, second, first, third, end], [header, first, second, third]):
        with pytest.raises(ValidationError, match="is damaged"):
            lines_of(b"".join(lines))


@pytest.mark.parametrize(("number", "advice"), [(2, "use a newer Balsam"), (0, "use an older Balsam")])
def test_a_file_of_another_format_is_refused_and_says_which_balsam_reads_it(number: int, advice: str) -> None:
    with pytest.raises(ValidationError, match=f"format {number}, written by Balsam 9.* {advice}"):
        lines_of(Writer().line("header", {"format": number, "balsam": "9"}))


def test_a_file_that_is_something_else_is_refused() -> None:
    for content in (b"", b"hello\n", b"{}\n", b"[1]\n", b'{"header":[]}\n'):
        with pytest.raises(ValidationError, match="not a file that `balsam export`"):
            lines_of(content)


# What cannot be


def altered(line: Line, **changes: Any) -> Line:
    return dataclasses.replace(line, value={**line.value, **changes})


MOVED = {"time": "2030-01-01T00:00:00.000000Z", "recorded": "2030-01-01T00:00:00.000000Z", "attempt": 0}
NO_JOB = "00000000-0000-4000-8000-000000000001"
WRONG = [
    ({"state": "JOB_FINISHED"}, "the history ends with CREATED"),
    ({"history": []}, "history must be a list of events"),
    ({"parents": [NO_JOB]}, "neither before it in the file nor here"),
    ({"failed_parent": NO_JOB}, "failed_parent must be one of parents"),
    ({"unmet_parents": [NO_JOB]}, "unmet_parents must be some of parents"),
    ({"application": "nosuch"}, "application 'nosuch' is not in the file, nor here"),
    ({"queued_launch": NO_JOB}, "its launch .* is not in the file, nor here"),
    ({"num_nodes": 0}, "num_nodes = 0: must be at least 1"),
    ({"num_nodes": "2"}, "num_nodes = '2': must be whole number"),
    ({"attempt": -1}, "attempt = -1"),
    ({"data": {"x": "\ud800"}}, "lone surrogate"),
    ({"name": "../up"}, "must not hold '/'"),
    ({"working_directory": "../../etc"}, "working_directory = '../../etc': is not one of this job"),
    ({"working_directory": "somebody_elses"}, "is not one of this job"),
    ({"create_time": "yesterday"}, "create_time = 'yesterday': must be a time"),
    ({"job_id": "j1"}, "is not a job id"),
    ({"job_id": NO_JOB.upper().replace("8", "A")}, "must be a UUID in small letters"),
    ({"extra": 1}, "extra is unknown"),
]


@pytest.mark.parametrize(("changes", "reason"), WRONG, ids=[next(iter(changes)) for changes, _ in WRONG])
def test_a_job_that_cannot_be_is_refused_and_named(plain_bench: Bench, changes: dict[str, Any], reason: str) -> None:
    job_id = plain_bench.add("sound")
    (line,) = lines_of(export(plain_bench))
    plain_bench.delete(job_id)
    outcome = check(plain_bench, [altered(line, **changes)])
    assert (outcome.created, outcome.refused) == (0, 1)
    assert re.match(f"line 2, job .*: .*{reason}", outcome.refusals[0].message)


@pytest.mark.parametrize(
    ("states", "actor", "reason"),
    [
        (["JOB_FINISHED"], "SCHEDULER", "SCHEDULER cannot move a job from CREATED through JOB_FINISHED"),
        (["READY", "RUNNING"], "USER", "USER cannot move a job"),
        (["CREATED"], "NOBODY", "actor = 'NOBODY'"),
        ([], "USER", "states = "),
        (["DONE"], "USER", "state = 'DONE': must be one of CREATED"),
    ],
)
def test_a_history_that_is_no_path_of_the_graph_is_refused(
    plain_bench: Bench, states: list[str], actor: str, reason: str
) -> None:
    job_id = plain_bench.add("sound")
    (line,) = lines_of(export(plain_bench))
    plain_bench.delete(job_id)
    history = [*line.value["history"], {"states": states, "actor": actor, **MOVED}]
    state = states[-1] if states else "CREATED"
    outcome = check(plain_bench, [altered(line, history=history, state=state)])
    assert reason in outcome.refusals[0].message


NONSENSE = [None, True, -1, 1.5, 2**70, "", "x", "\ud800", "A" * 70_000, [], [[]], [{}], {}, {"a": "b"}]


def test_nonsense_in_any_place_is_refused_and_nothing_else_happens(plain_bench: Bench) -> None:
    first = plain_bench.add("first", queued_launch=plain_bench.add_launch(), application=plain_bench.add_app("app"))
    second = plain_bench.add("second", parents=[first])
    lines = lines_of(export(plain_bench))
    plain_bench.delete(first, second)
    altogether = [altered(line, **{key: value}) for line in lines for key in line.value for value in NONSENSE]
    event = lines[-1].value["history"][0]
    events = [{**event, key: value} for key in (*event, "message", "exit_code") for value in NONSENSE]
    altogether += [altered(lines[-1], history=[one]) for one in (*events, *NONSENSE)]
    outcome = check(plain_bench, altogether)
    assert outcome.refused > 1000
    assert outcome.refused + outcome.created + outcome.applications + outcome.launches <= len(altogether)
    assert all(refusal.message.startswith("line ") for refusal in outcome.refusals)


def test_a_cycle_cannot_be_imported(plain_bench: Bench) -> None:
    first = plain_bench.add("first")
    second = plain_bench.add("second", parents=[first])
    lines = lines_of(export(plain_bench))
    plain_bench.delete(first, second)
    outcome = check(plain_bench, [altered(lines[0], parents=[second]), lines[1]])
    assert [refusal.message.split(":")[0] for refusal in outcome.refusals] == [
        "line 2, job first",
        "line 3, job second",
    ]


def test_a_job_with_other_content_is_refused_and_stays_as_it_is(plain_bench: Bench) -> None:
    job_id = plain_bench.add("mine", args="here")
    (line,) = lines_of(export(plain_bench))
    outcome = plain_bench.do(lambda tx: importing.take(tx, [altered(line, args="there")], "me"))
    assert "a job with this id is here, and has another args" in outcome.refusals[0].message
    assert plain_bench.get(job_id)["args"] == "here"


def test_an_application_of_the_same_name_that_runs_something_else_is_refused(plain_bench: Bench) -> None:
    plain_bench.add_app("sim", executable="sim-1")
    (line,) = lines_of(export(plain_bench))
    outcome = check(plain_bench, [altered(line, executable="sim-2")])
    assert "the application 'sim' here has another executable ('sim-1', in the file 'sim-2')" in (
        outcome.refusals[0].message
    )
    assert check(plain_bench, [altered(line, description="new words")]).refused == 0


def test_a_launch_of_another_site_is_over_here_and_keeps_its_number_if_it_is_free(plain_bench: Bench) -> None:
    bench = plain_bench
    first, second = bench.add_launch(), bench.add_launch()
    job_id = bench.add("bound", queued_launch=second)
    sent = export(bench)
    bench.delete(job_id)
    bench.delete_launch(first)
    bench.delete_launch(second)
    assert take(bench, sent).launches == 2
    found = bench.sql("SELECT key, state FROM launch ORDER BY key")
    assert found == [(second + 1, "ENDED"), (second + 2, "ENDED")]  # a number is never given twice
    assert bench.row(job_id).launch is None
    assert bench.add_launch() == second + 3
    assert take(bench, sent).existing == 1


def test_numbers_are_the_same_whichever_database_they_come_from() -> None:
    same = ("1e22", "10000000000000000000000", "1E+22", "1.0e22")
    assert len({canonical(f'{{"a": {number}}}') for number in same}) == 1
    assert canonical("0") == canonical("-0.0") == canonical("0e5")
    assert canonical('{"a": 1, "b": 2.50}') == canonical('{"b": 2.5, "a": 1}')
    different = ("1", "10", "1.5", "-1", '"1"', "true", "null", "18446744073709551616", "18446744073709551617")
    assert len({canonical(text) for text in different}) == len(different)


# Archives


def archive(bench: Bench, **selection: Any) -> bytes:
    return export(bench, **{"older_than_us": 0, **selection})


def remove(bench: Bench, content: bytes, meanwhile: Callable[[], object] = lambda: None) -> Removed:
    archived, total = Archived(), Removed()
    with bench.database.reader() as connection, exporting.snapshot(connection, bench.database) as sql:
        archiving.compare(sql, lines_of(content), archived, total)
    meanwhile()
    for batch in archived.batches():
        part = bench.do(lambda tx, batch=batch: archiving.remove(tx, batch))  # type: ignore[misc]
        total = Removed(*(getattr(total, f.name) + getattr(part, f.name) for f in dataclasses.fields(Removed)))
    return total


def add_ended(bench: Bench, name: str, *parents: str) -> str:
    job_id = bench.add(name, parents=parents)
    bench.set_state(job_id, S.JOB_FINISHED)
    return job_id


def test_an_archive_holds_ended_jobs_on_which_no_other_depends_and_comes_back_whole(plain_bench: Bench) -> None:
    bench = plain_bench
    bench.add_app("unused")
    old = add_ended(bench, "old")
    above = add_ended(bench, "above")
    both = add_ended(bench, "child of both", old, above)
    needed = add_ended(bench, "needed")
    between = add_ended(bench, "between", needed)
    waiting = bench.add("waiting", parents=[between])
    before = {line.value["job_id"]: line.value for line in lines_of(export(bench)) if line.kind == "job"}
    content = archive(bench)
    assert jobs_in(content) == ["old", "above", "child of both"]
    assert json.loads(content.splitlines()[0])["header"]["asked"] == 5
    outcome = remove(bench, content)
    assert (outcome.deleted, outcome.gone, outcome.refused) == (3, 0, 0)
    assert jobs_in(export(bench)) == ["needed", "between", "waiting"]
    assert remove(bench, content).gone == 3
    assert take(bench, content).created == 3
    after = {line.value["job_id"]: line.value for line in lines_of(export(bench)) if line.kind == "job"}
    assert after == before
    assert {old, above, both, needed, between, waiting} == set(after)


def test_only_what_ended_long_enough_ago_is_archived(plain_bench: Bench) -> None:
    add_ended(plain_bench, "just now")
    assert jobs_in(archive(plain_bench, older_than_us=3_600_000_000)) == []
    assert jobs_in(archive(plain_bench)) == ["just now"]
    assert jobs_in(archive(plain_bench, workflow="other")) == []


def test_a_job_that_changed_after_the_archive_was_written_stays_with_its_parents(plain_bench: Bench) -> None:
    parent = add_ended(plain_bench, "parent")
    child = add_ended(plain_bench, "child", parent)
    content = archive(plain_bench)
    outcome = remove(plain_bench, content, lambda: plain_bench.set_state(child, S.CREATED))
    assert (outcome.deleted, outcome.refused) == (0, 2)
    assert "has changed since" in outcome.refusals[0].message
    assert "a job that is not in the archive, or stays, depends on it" in outcome.refusals[1].message
    assert remove(plain_bench, content).refused == 2


def test_a_child_that_is_added_after_the_archive_was_written_keeps_its_parent(plain_bench: Bench) -> None:
    parent = add_ended(plain_bench, "parent")
    content = archive(plain_bench)
    outcome = remove(plain_bench, content, lambda: plain_bench.create(job("new", parents=[parent])))
    assert (outcome.deleted, outcome.refused) == (0, 1)


def test_a_file_that_does_not_say_the_truth_of_a_job_deletes_nothing(plain_bench: Bench) -> None:
    job_id = add_ended(plain_bench, "job")
    text = archive(plain_bench).replace(b'"priority":0', b'"priority":1')
    lines = text.splitlines()
    body = lines[1].rpartition(b',"crc":')[0]
    line = Line(2, "job", json.loads(body + b"}")["job"])
    archived, total = Archived(), Removed()
    with plain_bench.database.reader() as connection, exporting.snapshot(connection, plain_bench.database) as sql:
        archiving.compare(sql, [line], archived, total)
    assert (total.refused, list(archived.batches())) == (1, [])
    assert "its priority has changed" in total.refusals[0].message
    assert plain_bench.state(job_id) is S.JOB_FINISHED
