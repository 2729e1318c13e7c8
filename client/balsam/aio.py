"""The Python API for programs that use asyncio: the same jobs and queries, and coroutines for what would block.

    job = BalsamJob(name="hello", workflow="hello", application="greet")
    await aio.save(job)
    job = await aio.result(job, timeout=600)

Any number of coroutines wait for jobs on the one stream of events of their process, without a thread for each. To stop
waiting changes no job. A call that is under way when its task is cancelled goes on, and its result is dropped.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from balsam.errors import TaskFailed, ValidationError
from balsam.launcher.futures import WaitResult, is_any
from balsam.waiting import Ends, read

if TYPE_CHECKING:
    from balsam.application import ApplicationDefinition
    from balsam.completions import Ending
    from balsam.job import BalsamJob
    from balsam.queryset import QuerySet

__all__ = ["as_completed", "call", "ended", "fetch", "iterate", "result", "save", "wait"]

J = TypeVar("J", bound="BalsamJob")
P = ParamSpec("P")
T = TypeVar("T")

_HOW = {"FAILED": "failed", "USER_KILLED": "was killed", "": "did not finish"}


async def call(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``function(*args, **kwargs)`` returns or raises; for everything that contacts the job store.

    ``await aio.call(job.update_state, "USER_KILLED")``; ``await aio.call(BalsamJob.objects.get, name="hello")``.
    """
    # The executor of the loop, and none of ours: it is bounded, its owner can choose its size, it ends with its loop,
    # and a forked child, which has none of these threads, has none of their executor either.
    return await asyncio.to_thread(function, *args, **kwargs)


async def save(*objects: BalsamJob | ApplicationDefinition) -> None:
    """Saves jobs or applications: the new ones of a class all or none, in one call, and then each of the others.

    Raises:
        BalsamError: one was refused; see ``BalsamJob.save`` and ``bulk_create``.
    """
    await call(_save, objects)


def _save(objects: Iterable[BalsamJob | ApplicationDefinition]) -> None:
    every = list({id(one): one for one in objects}.values())
    old = [one for one in every if one._stored]
    new = [one for one in every if not one._stored]
    kinds: dict[type[Any], None] = dict.fromkeys(type(one) for one in new)
    for kind in kinds:
        kind.objects.bulk_create([one for one in new if type(one) is kind])
    for one in old:
        one.save()


async def fetch(query: QuerySet[T]) -> list[T]:
    """All rows of a query, as the job store holds them now.

    Raises:
        BalsamError: the job store cannot be reached, or refuses.
    """
    return await call(lambda: list(query.iterator()))


async def iterate(query: QuerySet[T], chunk_size: int = 1000) -> AsyncIterator[T]:
    """The rows of a query; `chunk_size` of them at a time are asked for and held.

    Raises:
        BalsamError: the job store cannot be reached, or refuses.
    """
    if chunk_size < 1:
        raise ValidationError(f"chunk_size = {chunk_size}: must be at least 1")
    rows = await call(query.iterator, chunk_size)
    while page := await call(lambda: list(itertools.islice(rows, chunk_size))):
        for row in page:
            yield row


async def ended(job: J, timeout: float | None = None) -> J:
    """Waits until a job has ended, in whatever state, and gives it as the job store then holds it.

    Args:
        job: a job that is stored.
        timeout: how long to wait [s]; None: for ever.

    Raises:
        TimeoutError: it has not ended.
        DoesNotExist: it was deleted.
        Unavailable: the job store is away, and stays away.
    """
    await _ending(job, timeout)
    return await _read(job)


async def result(job: J, timeout: float | None = None) -> J:
    """Waits until a job has finished, and gives it as the job store then holds it.

    Args:
        job: a job that is stored.
        timeout: how long to wait [s]; None: for ever.

    Raises:
        TaskFailed: it failed, or was killed or deleted; says why.
        TimeoutError: it has not ended.
        Unavailable: the job store is away, and stays away.
    """
    ending = await _ending(job, timeout)
    if ending.state != "JOB_FINISHED":
        why = f": {ending.message}" if ending.message else ""
        raise TaskFailed(f"job {job.cute_id} {_HOW[ending.state]}{why}")
    return await _read(job)


async def _ending(job: BalsamJob, timeout: float | None) -> Ending:
    with Ends([job], timeout) as ends:
        [future] = await anext(ends)
        assert future._ending is not None
        return future._ending


async def _read(job: J) -> J:
    fresh: Any = (await read([job])).get(job)
    if fresh is None:
        raise job.DoesNotExist(f"job {job.cute_id} was deleted")
    found: J = fresh
    return found


async def as_completed(jobs: Iterable[Any], timeout: float | None = None) -> AsyncIterator[Any]:
    """The jobs or futures, as they end; of jobs as the store then holds them.

    Args:
        jobs: jobs that are stored, or futures.
        timeout: how long to wait for all of them [s]; None: for ever.

    Raises:
        TimeoutError: some have not ended.
        Unavailable: the job store is away, and stays away.
    """
    with Ends(jobs, timeout) as ends:
        async for group in ends:
            for one in await ends.shown(group):
                yield one


async def wait(
    futures: Iterable[Any], timeout: float | None = None, return_when: str = "ANY_COMPLETED"
) -> WaitResult[Any]:
    """Waits until one of the jobs has ended, or all, and says what became of each.

    Args:
        futures: jobs that are stored, or futures; of jobs that have ended the result has what the store then holds.
        timeout: how long to wait [s]; None: for ever.
        return_when: ``"ANY_COMPLETED"`` or ``"ALL_COMPLETED"``.

    Raises:
        TimeoutError: they have not.
        Unavailable: the job store is away, and stays away.
    """
    first_will_do = is_any(return_when)
    with Ends(futures, timeout) as ends:
        async for _ in ends:
            if first_will_do:
                break
        every = [(one._known_status(), one) for one in ends.all()]
        shown = await ends.shown(future for _, future in every)
    sorted_ = WaitResult[Any]([], [], [], [])
    for (status, _), one in zip(every, shown, strict=True):
        getattr(sorted_, status).append(one)
    return sorted_
