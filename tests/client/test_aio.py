"""asyncio over a real store: nobody blocks the loop, and who waits for jobs has no thread."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from balsam import ApplicationDefinition, BalsamJob, FutureTask, aio, completions, connect, errors
from balsam.client import Client
from balsam.completions import completions_of
from balsam.site import Site
from balsam.waiting import read
from scripts.check_imports import ROOT
from tests.support.listening import threads_that_listen
from tests.support.processes import Services, running_launcher, services
from tests.support.sites import make_test_site, wait_until

pytestmark = pytest.mark.usefixtures("store")

PAGE = (ROOT / "docs" / "asyncio.md").read_text()


def made(*names: str) -> list[BalsamJob]:
    return BalsamJob.objects.bulk_create([BalsamJob(name=name) for name in names])


def end(*jobs: BalsamJob, state: str = "JOB_FINISHED") -> None:
    BalsamJob.batch_update_state(list(jobs), state)


def listeners(client: Client) -> list[Any]:
    """Who is told by the stream."""
    stream = completions_of(client)
    every = [*stream._new, *(pair for pairs in stream._listeners.values() for pair in pairs)]
    return [listener for _, reference in every if (listener := reference()) is not None]


async def until(condition: Callable[[], Any]) -> None:
    """Waits in a thread, so that the loop goes on."""
    await asyncio.to_thread(wait_until, condition)


async def waiting(client: Client, *coroutines: Awaitable[Any]) -> list[asyncio.Future[Any]]:
    """Tasks that wait for one job each, and of which the stream knows."""
    before = len(listeners(client))
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    stream = completions_of(client)
    await until(lambda: len(listeners(client)) == before + len(tasks) and stream._settled == stream._added)
    return tasks


@pytest.fixture
def asked(store: Client, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The methods that have been called."""
    methods: list[str] = []
    call = Client.call

    def noted(self: Client, make: Any, method: str, *rest: Any) -> Any:
        methods.append(method)
        return call(self, make, method, *rest)

    monkeypatch.setattr(Client, "call", noted)
    return methods


# What contacts the store


def test_new_jobs_are_saved_in_one_call(asked: list[str]) -> None:
    jobs = [BalsamJob(name=str(number)) for number in range(20)]
    asyncio.run(aio.save(*jobs, jobs[0]))
    assert asked == ["CreateJobs"]
    assert [job.name for job in BalsamJob.objects.order_by("create_time")] == [job.name for job in jobs]


def test_what_is_new_and_what_was_changed_are_saved_together() -> None:
    [old] = made("old")
    old.num_nodes = 3
    application = ApplicationDefinition(name="greet", executable="echo")
    asyncio.run(aio.save(old, BalsamJob(name="new"), application))
    assert set(BalsamJob.objects.values_list("name", "num_nodes")) == {("old", 3), ("new", 1)}
    assert ApplicationDefinition.objects.get().name == "greet"
    asyncio.run(aio.save())


def test_what_is_refused_is_raised_where_it_is_awaited() -> None:
    with pytest.raises(errors.InvalidParentsError):
        asyncio.run(aio.save(BalsamJob(parents=["11111111-1111-4111-8111-111111111111"])))


def test_a_query_is_fetched_as_it_is_now() -> None:
    async def main() -> list[list[str]]:
        query = BalsamJob.objects.filter(name__lt="c").order_by("name").values_list("name", flat=True)
        made("b", "c")
        first = await aio.fetch(query)
        made("a")
        return [first, await aio.fetch(query), await aio.fetch(BalsamJob.objects.none())]

    assert asyncio.run(main()) == [["b"], ["a", "b"], []]


def test_a_query_is_iterated_over_page_by_page(asked: list[str]) -> None:
    made(*(f"{number:02}" for number in range(25)))
    asked.clear()

    async def main() -> list[tuple[str, int]]:
        query = BalsamJob.objects.order_by("name")
        return [(job.name, len(asked)) async for job in aio.iterate(query, chunk_size=10)]

    seen = asyncio.run(main())
    assert [name for name, _ in seen] == [f"{number:02}" for number in range(25)]
    assert [pages for _, pages in seen[::10]] == [1, 2, 3]


def test_an_iteration_that_is_abandoned_asks_for_no_more(asked: list[str]) -> None:
    made(*"abcd")
    asked.clear()

    async def main() -> None:
        async for _ in aio.iterate(BalsamJob.objects.all(), chunk_size=2):
            break

    asyncio.run(main())
    assert asked == ["ListJobs"]


def test_a_page_without_rows_is_refused() -> None:
    async def main() -> None:
        async for _ in aio.iterate(BalsamJob.objects.all(), chunk_size=0):
            pass

    with pytest.raises(errors.ValidationError, match="chunk_size = 0: must be at least 1"):
        asyncio.run(main())


def test_anything_else_is_called_off_the_loop() -> None:
    def where(*args: int, **kwargs: int) -> Any:
        return threading.current_thread() is threading.main_thread(), args, kwargs

    assert asyncio.run(aio.call(where, 1, function=2)) == (False, (1,), {"function": 2})
    with pytest.raises(BalsamJob.DoesNotExist, match="no BalsamJob matches name='nobody'"):
        asyncio.run(aio.call(BalsamJob.objects.get, name="nobody"))


# Waiting


@pytest.mark.parametrize("state", ["JOB_FINISHED", "FAILED", "USER_KILLED"])
def test_a_job_that_has_ended_is_given_as_the_store_holds_it(store: Client, state: str) -> None:
    async def main() -> BalsamJob:
        [job] = made("a")
        [task] = await waiting(store, aio.ended(job))
        BalsamJob.objects.update(description="changed meanwhile")
        await aio.call(job.update_state, state)
        return await task

    job = asyncio.run(main())
    assert (job.state, job.description) == (state, "changed meanwhile")


def test_a_job_that_had_ended_before_is_seen_without_any_time() -> None:
    [job] = made("a")
    end(job)
    assert asyncio.run(aio.ended(job, timeout=0)).state == "JOB_FINISHED"
    assert asyncio.run(aio.result(job, timeout=0)).state == "JOB_FINISHED"


def test_a_result_says_why_there_is_none() -> None:
    failed, killed, deleted = made("failed", "killed", "deleted")
    failed.update_state("FAILED", "exit code 3")
    killed.update_state("USER_KILLED")
    deleted.delete()
    for job, message in [
        (failed, r"job \[failed \| .*\] failed: exit code 3"),
        (killed, r"job \[killed \| .*\] was killed"),
        (deleted, r"job \[deleted \| .*\] did not finish: the job does not exist"),
    ]:
        with pytest.raises(errors.TaskFailed, match=message):
            asyncio.run(aio.result(job, timeout=10))


def test_a_job_that_is_deleted_has_no_end_to_be_shown(store: Client) -> None:
    async def main() -> None:
        [job] = made("a")
        [task] = await waiting(store, aio.ended(job))
        await aio.call(job.delete)
        await task

    with pytest.raises(BalsamJob.DoesNotExist, match=r"job \[a \| .*\] was deleted"):
        asyncio.run(main())


def test_only_jobs_that_are_stored_are_waited_for() -> None:
    with pytest.raises(errors.ValidationError, match=r"save\(\) it first"):
        asyncio.run(aio.ended(BalsamJob(name="new")))


def test_jobs_are_given_as_they_end() -> None:
    async def main() -> list[tuple[str, str]]:
        jobs = made("a", "b", "c")
        end(jobs[2])
        seen = []
        async for job in aio.as_completed(jobs, timeout=10):
            seen.append((job.name, job.state))
            if len(seen) < 3:
                await aio.call(jobs[2 - len(seen)].update_state, "FAILED")
        return seen

    assert asyncio.run(main()) == [("c", "JOB_FINISHED"), ("b", "FAILED"), ("a", "FAILED")]


def test_futures_are_given_as_they_are() -> None:
    async def main() -> None:
        job, other = made("a", "b")
        future = FutureTask(job, lambda job: job.name)
        end(job)
        assert [one async for one in aio.as_completed([future], timeout=10)] == [future]
        result = await aio.wait([future, other], timeout=10)
        assert result == ([other], [future], [], [])
        assert await aio.call(future.result) == "a"

    asyncio.run(main())


def test_waiting_for_any_and_for_all(store: Client) -> None:
    async def main() -> None:
        a, b, c, d = jobs = made("a", "b", "c", "d")
        any_of = asyncio.ensure_future(aio.wait(jobs, timeout=10))
        await until(lambda: len(listeners(store)) == 4)
        await aio.call(b.update_state, "JOB_FINISHED")
        result = await any_of
        assert result == ([a, c, d], [b], [], [])
        assert result.done[0].state == "JOB_FINISHED"
        await aio.call(a.update_state, "USER_KILLED")
        all_of = asyncio.ensure_future(aio.wait(jobs, timeout=10, return_when="ALL_COMPLETED"))
        await aio.call(c.update_state, "FAILED")
        await aio.call(d.update_state, "JOB_FINISHED")
        assert await all_of == ([], [b, d], [c], [a])
        assert await aio.wait([]) == ([], [], [], [])
        with pytest.raises(errors.ValidationError, match="must be ANY_COMPLETED or ALL_COMPLETED"):
            await aio.wait(jobs, return_when="FIRST")

    asyncio.run(main())


def test_a_time_out_says_how_many_have_not_ended(store: Client) -> None:
    async def main() -> None:
        done, *active = jobs = made("a", "b", "c")
        end(done)
        with pytest.raises(TimeoutError, match=r"^1 jobs have not ended after 0.05 s$"):
            await aio.ended(active[0], timeout=0.05)
        with pytest.raises(TimeoutError, match=r"^1 jobs"):
            await aio.result(active[0], timeout=0)
        with pytest.raises(TimeoutError, match=r"^2 jobs"):
            await aio.wait(jobs, timeout=0.05, return_when="ALL_COMPLETED")
        ends = aio.as_completed(jobs, timeout=0.05)
        assert await anext(ends) == done
        with pytest.raises(TimeoutError, match=r"^2 jobs"):
            await anext(ends)
        assert listeners(store) == []

    asyncio.run(main())


def test_a_cancelled_task_leaves_no_listener_and_its_job_as_it_is(store: Client) -> None:
    async def main() -> None:
        a, b = made("a", "b")
        future = FutureTask(b, len)

        async def all_of() -> None:
            async for _ in aio.as_completed([b, future]):
                pass

        tasks = await waiting(store, aio.ended(a), aio.result(a), all_of(), aio.ended(b))
        await until(lambda: future._waiting)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in ended] == [asyncio.CancelledError] * 4
        # The errors are held, and with them the frames of those who waited.
        assert listeners(store) == [future]
        assert future._waiting == []
        assert set(BalsamJob.objects.values_list("state", flat=True)) == {"CREATED"}

    asyncio.run(main())


def test_an_abandoned_iteration_leaves_no_listener(store: Client) -> None:
    async def main() -> None:
        jobs = made("a", "b", "c")
        end(jobs[0])
        async for job in aio.as_completed(jobs, timeout=10):
            assert job.name == "a"
            break
        await until(lambda: listeners(store) == [])

    asyncio.run(main())


def test_two_thousand_wait_on_one_stream_with_few_threads(store: Client, asked: list[str]) -> None:
    async def main() -> None:
        jobs = made(*(str(number) for number in range(2000)))
        before = threading.active_count()
        tasks = await waiting(store, *(aio.ended(job, timeout=60) for job in jobs))
        assert len(threads_that_listen(store)) == 1
        # The stream's, those of gRPC, and the one in which this test waits.
        assert threading.active_count() <= before + 6
        asked.clear()
        await aio.call(BalsamJob.objects.all().update, state="JOB_FINISHED")
        ended = await asyncio.gather(*tasks)
        assert [job.name for job in ended] == [job.name for job in jobs]
        assert {job.state for job in ended} == {"JOB_FINISHED"}

    asyncio.run(main())
    assert len(asked) < 100, "jobs that end together are read together"


def test_many_that_begin_to_wait_while_jobs_end_are_all_told(store: Client) -> None:
    """Each that comes would interrupt the stream; the jobs of those before it are ending."""

    async def one(job: BalsamJob) -> str:
        await aio.save(job)
        task = asyncio.ensure_future(aio.result(job, timeout=60))
        await aio.call(job.update_state, "JOB_FINISHED")
        return (await task).state

    async def main() -> None:
        states = await asyncio.gather(*(one(BalsamJob(name=str(number))) for number in range(200)))
        assert states == ["JOB_FINISHED"] * 200

    asyncio.run(main())


def test_jobs_that_are_read_together_are_nobody_elses(asked: list[str]) -> None:
    [job] = BalsamJob.objects.bulk_create([BalsamJob(name="a", data={"x": 1})])
    asked.clear()

    async def main() -> None:
        first, second = await asyncio.gather(read([job]), read([job]))
        first[job].data["x"] = 2
        assert second[job].data == {"x": 1}

    asyncio.run(main())
    assert asked == ["ListJobs"]


# Loops


def test_a_loop_that_was_closed_while_its_jobs_ran_breaks_nothing(store: Client) -> None:
    closed, other = made("closed", "other")
    future = FutureTask(closed, lambda job: job.state)
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(one) for one in (aio.wait([future]), aio.ended(closed))]
    while not future._waiting:
        loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    assert not any(task.done() for task in tasks)
    end(closed)
    # The thread of the stream has told the loop that is gone, and goes on.
    assert future.result(timeout=10) == "JOB_FINISHED"
    end(other)
    assert asyncio.run(aio.result(other, timeout=10)).name == "other"


def test_several_loops_of_a_process_are_told_by_one_stream(store: Client) -> None:
    jobs = made(*"abcd")
    seen: list[str] = []

    def other_loop(job: BalsamJob) -> None:
        seen.append(asyncio.run(aio.result(job, timeout=30)).name)

    threads = [threading.Thread(target=other_loop, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(listeners(store)) == 4)
    assert len(threads_that_listen(store)) == 1
    end(*jobs)
    for thread in threads:
        thread.join()
    assert sorted(seen) == ["a", "b", "c", "d"]


# The store goes away


@pytest.fixture
def own_services(own_site: Site) -> Iterator[Services]:
    """The job store of a site of the test's own."""
    with services(own_site, "jobstore") as running:
        yield running


def test_who_waits_is_told_after_the_store_was_killed(own_services: Services) -> None:
    client = connect(own_services.site.path)

    async def main() -> None:
        before, after = client.BalsamJob.objects.bulk_create([client.BalsamJob(name=name) for name in ("b", "a")])
        tasks = await waiting(client, aio.result(before, timeout=30), aio.result(after, timeout=30))
        await aio.call(own_services.kill, "jobstore")
        assert not any(task.done() for task in tasks)
        await aio.call(own_services.start, "jobstore")
        await aio.call(before.update_state, "JOB_FINISHED")
        await aio.call(after.update_state, "FAILED", "exit code 3")
        assert (await tasks[0]).state == "JOB_FINISHED"
        with pytest.raises(errors.TaskFailed, match="exit code 3"):
            await tasks[1]

    asyncio.run(main())


def test_who_waits_is_told_when_the_store_stays_away(own_services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "LOST_SECONDS", 0.3)
    client = connect(own_services.site.path)

    async def main() -> None:
        job, other = client.BalsamJob.objects.bulk_create([client.BalsamJob(name=name) for name in "ab"])
        tasks = await waiting(client, aio.ended(job), aio.ended(job), aio.wait([other], return_when="ALL_COMPLETED"))
        await aio.call(own_services.stop, "jobstore")
        told = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(error) for error in told] == [errors.Unavailable] * 3
        assert "start it with `balsam up`" in str(told[0])
        assert told[0] is not told[1]
        with pytest.raises(errors.Unavailable):
            await aio.ended(job)
        await aio.call(own_services.start, "jobstore")
        await aio.call(job.update_state, "JOB_FINISHED")
        assert (await aio.ended(job, timeout=10)).state == "JOB_FINISHED"

    asyncio.run(main())


# The page about it


def test_the_example_of_the_page_does_what_it_says(tmp_path: Path) -> None:
    [example] = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    site = make_test_site(tmp_path)
    with services(site), running_launcher(site, "--persistent"):
        connect(site.path).ApplicationDefinition(name="greet", executable="echo hello").save()
        done = subprocess.run(
            [sys.executable, "-c", example],
            env=os.environ | {"BALSAM_DB_PATH": str(site.path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.stderr == ""
    *lines, last = done.stdout.splitlines()
    assert sorted(lines) == sorted(f"job-{n} JOB_FINISHED" for n in range(100))
    assert last == "100 of 100"


def test_the_page_names_every_coroutine() -> None:
    assert {name for name in aio.__all__ if f"{name}(" not in PAGE} == set()
