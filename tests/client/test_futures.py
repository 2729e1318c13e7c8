"""Futures on the event stream of a real store."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from balsam import connect, errors
from balsam.client import Client
from balsam.completions import completions_of
from balsam.job import BalsamJob
from balsam.launcher.futures import FutureTask, TaskFailed, as_completed, wait
from balsam.site import Site
from tests.support.listening import threads_that_listen
from tests.support.processes import services
from tests.support.sites import wait_until

pytestmark = pytest.mark.usefixtures("store")


def made(*names: str) -> list[BalsamJob]:
    return BalsamJob.objects.bulk_create([BalsamJob(name=name) for name in names])


def future_of(job: BalsamJob) -> FutureTask:
    return FutureTask(job, lambda job: job.name)


def soon(action: Any, *args: Any) -> None:
    """Does something a moment later, while the test waits."""
    timer = threading.Timer(0.05, action, args)
    timer.daemon = True
    timer.start()


def test_a_result_is_what_the_callback_makes_of_the_finished_job() -> None:
    [job] = made("a")
    calls: list[Any] = []

    def on_done(job: BalsamJob, *args: Any, **kwargs: Any) -> str:
        calls.append((job.state, args, kwargs))
        return "the result"

    future = FutureTask(job, on_done, None, 1, two=2)
    assert future.active
    soon(job.update_state, "JOB_FINISHED")
    assert future.result(timeout=10) == "the result"
    assert future.result() == "the result"
    assert calls == [("JOB_FINISHED", (1,), {"two": 2})]
    assert future.done
    assert [future.active, future.failed, future.cancelled] == [False] * 3


def test_a_job_that_had_ended_before() -> None:
    [job] = made("a")
    job.update_state("JOB_FINISHED")
    assert future_of(job).result(timeout=10) == "a"


def test_a_failure_says_why_or_is_handled() -> None:
    [job] = made("a")
    job.update_state("FAILED", "exit code 3")
    with pytest.raises(TaskFailed, match=r"job \[a \| .*\] failed: exit code 3"):
        future_of(job).result(timeout=10)
    assert FutureTask(job, len, lambda job: job.message).result() == "exit code 3"


def test_a_time_out() -> None:
    [job] = made("a")
    with pytest.raises(TimeoutError, match="1 jobs have not ended after"):
        future_of(job).result(timeout=0.05)
    with pytest.raises(TimeoutError):
        wait([future_of(job)], timeout=0)


def test_a_cancelled_future_kills_the_job() -> None:
    first, second = made("first", "second")
    second.set_parents([first])
    future = future_of(first)
    future.cancel()
    assert future.cancelled
    assert future.result() is None
    assert BalsamJob.objects.filter(state="USER_KILLED").count() == 2


def test_a_deleted_job_has_failed() -> None:
    first, second = made("first", "second")
    futures = [future_of(first), future_of(second)]
    first.delete()
    assert futures[0].failed
    soon(second.delete)
    with pytest.raises(TaskFailed, match="the job was deleted"):
        futures[1].result(timeout=10)


def test_waiting_for_any_and_for_all() -> None:
    jobs = made("a", "b", "c", "d")
    futures = [future_of(job) for job in jobs]
    soon(jobs[1].update_state, "JOB_FINISHED")
    result = wait(futures, timeout=10, poll_period=1.0)
    assert result.done == [futures[1]]
    assert result.active == [futures[0], futures[2], futures[3]]
    jobs[0].update_state("USER_KILLED")
    jobs[2].update_state("FAILED")
    soon(jobs[3].update_state, "JOB_FINISHED")
    result = wait(futures, timeout=10, return_when="ALL_COMPLETED")
    assert result == ([], [futures[1], futures[3]], [futures[2]], [futures[0]])
    assert wait([]) == ([], [], [], [])
    with pytest.raises(errors.ValidationError, match="must be ANY_COMPLETED or ALL_COMPLETED"):
        wait(futures, return_when="FIRST")


def test_jobs_and_futures_as_they_end() -> None:
    jobs = made("a", "b", "c")
    seen = []
    jobs[2].update_state("JOB_FINISHED")
    for job in as_completed(jobs, timeout=10):
        seen.append((job.name, job.state))
        if len(seen) < 3:
            jobs[2 - len(seen)].update_state("FAILED")
    assert seen == [("c", "JOB_FINISHED"), ("b", "FAILED"), ("a", "FAILED")]
    future = future_of(jobs[0])
    assert list(as_completed([future])) == [future]
    with pytest.raises(TimeoutError):
        list(as_completed(made("d"), timeout=0.05))


def test_what_is_not_a_future() -> None:
    with pytest.raises(errors.ValidationError, match=r"save\(\) it first"):
        FutureTask(BalsamJob(), len)
    with pytest.raises(errors.ValidationError, match="cannot be called"):
        FutureTask(made("a")[0], None)  # type: ignore[arg-type]


def test_none_of_many_ends_is_missed_while_others_begin() -> None:
    """Jobs end while futures are made, one by one: the worst for a stream that has to be opened again for each."""
    jobs = made(*(str(number) for number in range(200)))
    ender = threading.Thread(target=lambda: [job.update_state("JOB_FINISHED") for job in jobs])
    ender.start()
    futures = []
    for job in jobs:
        futures.append(future_of(job))
        assert futures[-1]._status() in ("active", "done")
    assert len(wait(futures, timeout=30, return_when="ALL_COMPLETED").done) == 200
    ender.join()


def test_one_thread_and_one_stream_for_all(store: Client) -> None:
    futures = [future_of(job) for job in made(*"abcdef")]
    assert all(future.active for future in futures)
    assert threads_that_listen(store) == [completions_of(store)._thread]
    assert len(completions_of(store)._listeners) == 6


def test_futures_that_nobody_holds_are_forgotten(store: Client) -> None:
    future = future_of(made("a")[0])
    assert future.active
    del future
    gc.collect()
    other = future_of(made("b")[0])
    assert other.active
    assert list(completions_of(store)._listeners) == [other.listens_to()]


def test_a_child_process_has_a_stream_of_its_own() -> None:
    jobs = made("a", "b")
    futures = [future_of(job) for job in jobs]
    assert futures[0].active
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            jobs[0].update_state("JOB_FINISHED")
            os.write(write, futures[0].result(timeout=10).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() == "a"
    os.waitpid(child, 0)
    assert futures[0].result(timeout=10) == "a"


def test_the_stream_goes_on_after_the_store_was_killed(own_site: Site) -> None:
    with services(own_site, "jobstore") as running:
        client = connect(own_site.path)
        jobs = client.BalsamJob.objects.bulk_create([client.BalsamJob(name=name) for name in "abc"])
        futures = [future_of(job) for job in jobs]
        assert futures[0].active
        jobs[0].update_state("JOB_FINISHED")
        running.kill("jobstore")
        running.start("jobstore")
        jobs[1].update_state("JOB_FINISHED")
        result = wait(futures[:2], timeout=20, return_when="ALL_COMPLETED")
        assert result.done == futures[:2]
        late = future_of(jobs[2])
        jobs[2].update_state("FAILED")
        assert late.failed or wait([late], timeout=10).failed


@pytest.fixture
def silent(own_site: Site) -> Iterator[Any]:
    """The client of a site whose job store does not answer any more, and what makes it answer again."""
    with services(own_site, "jobstore") as running:
        client = connect(own_site.path)
        client.BalsamJob(name="a").save()
        client.BalsamJob(name="b").save()
        client.BalsamJob.objects.all().update(state="JOB_FINISHED")
        jobs = list(client.BalsamJob.objects.order_by("name"))
        pid = running.pid("jobstore")
        os.kill(pid, signal.SIGSTOP)
        try:
            yield jobs, lambda: os.kill(pid, signal.SIGCONT)
        finally:
            os.kill(pid, signal.SIGCONT)


def asking(future: FutureTask) -> tuple[threading.Thread, list[bool]]:
    """A thread that asks a future whether it is done, and its answer."""
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(future.done))
    thread.start()
    return thread, answers


def test_a_future_that_comes_later_does_not_interrupt_a_stream_that_has_not_answered(silent: Any) -> None:
    """Else many that come one by one would keep it from ever answering."""
    jobs, go_on = silent
    stream = completions_of(jobs[0]._client())
    first = asking(future_of(jobs[0]))
    opened = wait_until(lambda: stream._stream)
    second = asking(future_of(jobs[1]))
    wait_until(lambda: stream._new)
    assert stream._stream is opened
    assert opened.is_active()
    go_on()
    for thread, answers in [first, second]:
        thread.join()
        assert answers == [True]


def test_a_stream_that_is_interrupted_before_it_answers_has_told_nothing(silent: Any) -> None:
    jobs, go_on = silent
    stream = completions_of(jobs[0]._client())
    thread, answers = asking(future_of(jobs[0]))
    opened = wait_until(lambda: stream._stream)
    stream._cancel()  # as before a fork
    wait_until(lambda: stream._stream is not opened)
    go_on()
    thread.join()
    assert answers == [True]


def test_who_waits_is_told_when_the_store_stays_away(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from balsam import completions

    monkeypatch.setattr(completions, "LOST_SECONDS", 0.3)
    with services(own_site, "jobstore") as running:
        client = connect(own_site.path)
        job = client.BalsamJob(name="a")
        job.save()
        future = future_of(job)
        assert future.active
        soon(running.stop, "jobstore")
        start = time.monotonic()
        with pytest.raises(errors.Unavailable, match="not running; start it with `balsam up`"):
            future.result()
        assert time.monotonic() - start < 20
        with pytest.raises(errors.Unavailable):
            future.done  # noqa: B018
        wait_until(lambda: "jobstore" not in running._processes)
        running.start("jobstore")
        job.update_state("JOB_FINISHED")
        assert future.result(timeout=10) == "a"


def test_waiting_asks_nothing(store: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no polling: between the start of the stream and the end of a job nothing is called."""
    futures = [future_of(job) for job in made("a", "b")]
    assert futures[0].active
    calls: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(Client, "call", lambda self, make, method, *rest: calls.append(method))
        for _ in range(3):
            with pytest.raises(TimeoutError):
                wait(futures, timeout=0.1)
            assert futures[1].active
    assert calls == []
