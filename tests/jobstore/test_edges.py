"""Dependencies between jobs that are there: added, removed, replaced, and never in a circle."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator

import pytest

from balsam.errors import Conflict, InvalidParentsError, InvalidStateError, NotFound
from balsam.states import State
from balsam_jobstore.database import Sql
from tests.support.store import Bench, job

S = State


def test_a_parent_that_is_added_holds_the_child(bench: Bench) -> None:
    parent, child = bench.add("parent"), bench.add("child")
    bench.depend(parent, child)
    assert bench.history(child)[-2:] == [S.PREPROCESSED, S.AWAITING_PARENTS]
    assert bench.get(child)["parents"] == [parent]
    bench.set_state(parent, S.JOB_FINISHED)
    assert bench.state(child) is S.PREPROCESSED


def test_a_finished_parent_that_is_added_holds_nothing(bench: Bench) -> None:
    parent, child = bench.add("parent"), bench.add("child")
    bench.set_state(parent, S.JOB_FINISHED)
    bench.depend(parent, child)
    assert (bench.state(child), bench.row(child).unmet) == (S.PREPROCESSED, 0)


def test_a_failed_parent_that_is_added_fails_the_child(bench: Bench) -> None:
    parent, child = bench.add("parent"), bench.add("child")
    bench.kill(parent)
    bench.depend(parent, child)
    assert bench.state(child) is S.FAILED
    assert "parent (" in bench.message(child)


def test_a_dependency_is_added_once(bench: Bench) -> None:
    parent, child = bench.add("parent"), bench.add("child")
    bench.depend(parent, child)
    with pytest.raises(Conflict, match=r"depends on parent .* already") as caught:
        bench.depend(parent, child)
    assert caught.value.reason == "ALREADY_EXISTS"
    assert bench.row(child).unmet == 1


def test_a_job_cannot_wait_for_itself(bench: Bench) -> None:
    job_id = bench.add("a")
    with pytest.raises(InvalidParentsError, match="cannot depend on itself"):
        bench.depend(job_id, job_id)


def test_a_cycle_is_refused_with_its_path(bench: Bench) -> None:
    a = bench.add("a")
    b = bench.add("b", parents=[a])
    c = bench.add("c", parents=[b])
    bench.add("beside", parents=[a])
    with pytest.raises(InvalidParentsError) as caught:
        bench.depend(c, a)
    shown = [f"{name} ({job_id[:8]})" for name, job_id in (("a", a), ("b", b), ("c", c), ("a", a))]
    assert str(caught.value).endswith(f"would close the cycle {' -> '.join(shown)}")
    assert caught.value.reason == "CYCLE"
    assert bench.row(a).unmet == 0


def test_a_long_cycle_is_found_and_shown_in_part(bench: Bench) -> None:
    ids = [bench.add("j0")]
    for i in range(1, 30):
        ids.append(bench.add(f"j{i}", parents=[ids[-1]]))
    with pytest.raises(InvalidParentsError, match=r"j9 \(.*\) -> \.\.\. -> j0"):
        bench.depend(ids[-1], ids[0])


def test_a_cycle_that_two_changes_of_one_transaction_would_close_is_refused(bench: Bench) -> None:
    from balsam_jobstore import edges
    from balsam_jobstore.tx import Tx
    from tests.support.store import one

    a, b = bench.add("a"), bench.add("b")

    def command(tx: Tx) -> None:
        edges.add(tx, one(tx, a), one(tx, b))
        with pytest.raises(InvalidParentsError, match="cycle"):
            edges.add(tx, one(tx, b), one(tx, a))

    bench.do(command)
    assert bench.states(a, b) == [S.PREPROCESSED, S.AWAITING_PARENTS]


@pytest.mark.parametrize("state", [S.RUN_ERROR, S.RESTART_READY, S.JOB_FINISHED, S.FAILED])
def test_a_parent_that_comes_too_late_is_refused(plain_bench: Bench, state: State) -> None:
    bench = plain_bench
    parent, child = bench.add("parent"), bench.add("child")
    bench.set_state(child, state)
    with pytest.raises(InvalidStateError, match=f"is {state.name}: a parent can be added before the first run only"):
        bench.depend(parent, child)


def test_a_parent_added_to_a_leased_job_that_has_not_started_takes_the_lease_back(bench: Bench) -> None:
    launcher = bench.launcher(jobs=2)
    child = bench.add("child")
    grant = launcher.grant("child")
    parent = bench.add("parent", num_nodes=200)
    bench.depend(parent, child)
    assert launcher.stops == [(grant.row_key, grant.fence)]
    assert bench.state(child) is S.PREPROCESSED
    assert launcher.report(grant, release=True)
    assert (bench.state(child), bench.row(child).attempt) == (S.AWAITING_PARENTS, 0)
    bench.set_state(parent, S.JOB_FINISHED)
    assert launcher.names == ["child", "child"]


def test_a_parent_added_for_its_data_only_leaves_the_lease(bench: Bench) -> None:
    launcher = bench.launcher(jobs=1)
    child = bench.add("child", wait_for_parents=False)
    bench.depend(bench.add("parent"), child)
    assert launcher.stops == []
    assert launcher.names == ["child"]


def test_a_dependency_that_is_removed_lets_the_child_go(bench: Bench) -> None:
    parents = [bench.add("p0"), bench.add("p1")]
    child = bench.add("child", parents=parents)
    bench.undepend(parents[0], child)
    assert (bench.state(child), bench.row(child).unmet) == (S.AWAITING_PARENTS, 1)
    bench.undepend(parents[1], child)
    assert bench.state(child) is S.PREPROCESSED
    with pytest.raises(NotFound, match="does not depend on p1"):
        bench.undepend(parents[1], child)


def test_a_failed_parent_that_is_removed_in_time_fails_nothing(plain_bench: Bench) -> None:
    bench = plain_bench
    good, failed, other = (bench.add(name) for name in ("good", "failed", "other"))
    child = bench.add("child", parents=[good, failed, other])
    for parent in (failed, other):
        bench.set_state(parent, S.FAILED)
    bench.undepend(failed, child)
    assert bench.row(child).failed_parent == bench.row(other).key
    bench.undepend(other, child)
    bench.schedule()
    assert bench.state(child) is S.AWAITING_PARENTS


@pytest.mark.parametrize("how", ["removed", "deleted"])
def test_a_child_that_failed_comes_back_when_the_failed_parents_left_are_reset(bench: Bench, how: str) -> None:
    first, second = bench.add("first"), bench.add("second")
    child = bench.add("child", parents=[first, second])
    for parent in (first, second):
        bench.set_state(parent, S.FAILED)
    assert bench.state(child) is S.FAILED
    if how == "removed":
        bench.undepend(first, child)
    else:
        bench.delete(first)
    assert bench.state(child) is S.FAILED
    bench.set_state(second, S.JOB_FINISHED)
    assert bench.state(child) is S.PREPROCESSED


def test_ten_thousand_parents_are_given_by_few_statements(bench: Bench) -> None:
    parents = [job(f"p{number}") for number in range(10_000)]
    bench.create(*parents)
    child = bench.add("child")
    with counted_statements(bench) as count:
        bench.update(child, parents=[parent.job_id for parent in parents])
    assert count() < 100
    assert bench.row(child).unmet == len(parents)


@contextlib.contextmanager
def counted_statements(bench: Bench) -> Iterator[Callable[[], int]]:
    """Counts what is asked of the database."""
    run, texts = Sql.run, list[str]()

    def counting(sql: Sql, text: str, **parameters: object) -> object:
        texts.append(text)
        return run(sql, text, **parameters)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sql, "run", counting)
        yield lambda: len(texts)


def test_parents_are_replaced(bench: Bench) -> None:
    a, b, c = (bench.add(name) for name in "abc")
    child = bench.add("child", parents=[a, b])
    bench.update(child, parents=[b, c])
    assert bench.get(child)["parents"] == [b, c]
    bench.update(child, parents=[])
    assert bench.state(child) is S.PREPROCESSED


def test_parents_that_cannot_be_had_change_nothing(bench: Bench) -> None:
    a = bench.add("a")
    child = bench.add("child", parents=[a])
    nobody = str(uuid.uuid4())
    with pytest.raises(InvalidParentsError, match=f"{nobody}: no such job"):
        bench.update(child, parents=[nobody], priority=1)
    with pytest.raises(InvalidParentsError, match="cycle"):
        bench.update(a, parents=[child])
    assert bench.get(child)["parents"] == [a]
    assert bench.row(child).priority == 0


def test_the_parents_of_a_finished_job_may_be_said_again(bench: Bench) -> None:
    parent = bench.add("parent")
    child = bench.add("child", parents=[parent])
    bench.set_state(child, S.JOB_FINISHED)
    bench.update(child, parents=[parent], description="done")
    assert bench.get(child)["parents"] == [parent]
