"""Applications: registered once, changed for the jobs that have not used them, and kept while jobs need them."""

from __future__ import annotations

import pytest

from balsam.errors import Conflict, NotAllowed, NotFound
from balsam.states import State
from balsam_jobstore import applications
from tests.support.store import Bench

S = State


def update(bench: Bench, name: str, **changes: str) -> applications.Application:
    return bench.do(lambda tx: applications.update(tx, name, changes))


def test_an_application_has_what_was_given(bench: Bench) -> None:
    made = bench.do(
        lambda tx: applications.create(tx, {"name": "a", "executable": "x 'y z'", "python": "/py"}, owner="me")
    )
    assert (made.name, made.executable, made.python, made.owner, made.revision) == ("a", "x 'y z'", "/py", "me", 1)
    assert (made.preprocess, made.envscript) == ("", "")
    assert bench.do(lambda tx: applications.get(tx, "a")) == made


def test_a_name_is_taken_once(bench: Bench) -> None:
    bench.add_app("a")
    with pytest.raises(Conflict, match="'a' exists already") as caught:
        bench.add_app("a")
    assert caught.value.reason == "ALREADY_EXISTS"


def test_an_application_that_does_not_exist_is_named_with_those_that_do(bench: Bench) -> None:
    with pytest.raises(NotFound, match=r"'x' does not exist \(there is none yet"):
        update(bench, "x", executable="y")
    bench.add_app("a")
    bench.add_app("b")
    for refused in (
        lambda: update(bench, "x", executable="y"),
        lambda: bench.do(lambda tx: applications.delete(tx, "x")),
        lambda: bench.update(bench.add("job"), application="x"),
    ):
        with pytest.raises(NotFound, match=r"'x' does not exist \(there are: a, b\)"):
            refused()


def test_a_change_keeps_the_rest(bench: Bench) -> None:
    bench.add_app("a", description="old", preprocess="pre")
    changed = update(bench, "a", description="new")
    assert (changed.description, changed.preprocess, changed.executable, changed.revision) == ("new", "pre", "true", 2)
    assert update(bench, "a").revision == 2


def test_scripts_that_come_and_go_reach_the_jobs_that_have_not_needed_them(bench: Bench) -> None:
    bench.add_app("a")
    parent = bench.add("parent")
    waits = bench.add("waits", application="a", parents=[parent])
    ready = bench.add("ready", application="a")
    ended = bench.add("ended", application="a")
    bench.set_state(ended, S.JOB_FINISHED)
    update(bench, "a", preprocess="pre", postprocess="post")
    bench.set_state(parent, S.JOB_FINISHED)
    assert bench.states(waits, ready, ended) == [S.STAGED_IN, S.PREPROCESSED, S.JOB_FINISHED]
    bench.set_state(ready, S.RUN_DONE)
    assert bench.state(ready) is S.RUN_DONE
    update(bench, "a", preprocess="", postprocess="")
    assert bench.states(waits, ready) == [S.PREPROCESSED, S.JOB_FINISHED]
    update(bench, "a", postprocess="post")
    bench.do(lambda tx: applications.update(tx, "a", {"postprocess": ""}))


def test_an_application_that_unfinished_jobs_use_is_kept(bench: Bench) -> None:
    bench.add_app("a")
    job_id = bench.add("job", application="a")
    with pytest.raises(NotAllowed, match="used by 1 unfinished jobs") as caught:
        bench.do(lambda tx: applications.delete(tx, "a"))
    assert caught.value.reason == "IN_USE"
    bench.set_state(job_id, S.JOB_FINISHED)
    bench.do(lambda tx: applications.delete(tx, "a"))
    assert bench.get(job_id)["application"] == ""


def test_the_key_of_a_removed_application_is_never_used_again(bench: Bench) -> None:
    bench.add_app("a")
    keys = bench.sql("SELECT key FROM application")
    bench.do(lambda tx: applications.delete(tx, "a"))
    bench.add_app("a")
    assert bench.sql("SELECT key FROM application") > keys
