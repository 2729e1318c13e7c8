"""JobService."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, TypeVar

from balsam.errors import BalsamError, NotFound, ResourceExhausted, Unavailable, ValidationError
from balsam.fields import check_id
from balsam.serving import CALLER
from balsam.states import Actor
from balsam.v1 import job_pb2, job_service_pb2
from balsam.v1.job_service_pb2_grpc import JobServiceServicer
from balsam_jobstore import creation, edges, jobs, reading
from balsam_jobstore.creation import NewJob
from balsam_jobstore.refusals import MOST_REFUSALS, Refused, refused
from balsam_jobstore.rows import Row
from balsam_jobstore.server import convert
from balsam_jobstore.store import Store
from balsam_jobstore.tx import Tx

pb = job_service_pb2

T = TypeVar("T")

MAX_ATOMIC_JOBS = 200_000
_CHUNK = 2000
_AT_ONCE = 500


class JobService(JobServiceServicer):
    """Translates; the verbs are in `jobs`, `edges` and `reading`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._data = str(store.site.data)

    async def CreateJobs(self, request: AsyncIterator[pb.CreateJobsRequest], context: Any) -> pb.CreateJobsResponse:
        """Adds jobs."""
        total = creation.Created()
        held: list[NewJob] = []
        atomic: bool | None = None
        index = 0
        async for message in request:
            atomic = message.atomic if atomic is None else atomic
            batch: list[NewJob] = []
            for job in message.jobs:
                try:
                    batch.append(convert.new_job(job, index))
                except BalsamError as error:
                    total.refusals.append(refused(job.job_id, index, error))
                index += 1
            if atomic:
                held += batch
                if len(held) > MAX_ATOMIC_JOBS:
                    raise ResourceExhausted(
                        f"more than {MAX_ATOMIC_JOBS} jobs in one all-or-nothing call; give a batch_size"
                    )
            else:
                await self._create(batch, total, atomic=False)
        if held and not total.refusals:
            await self._create(held, total, atomic=True)
        return pb.CreateJobsResponse(
            created=total.created,
            existing=total.existing,
            refusals=[convert.refusal_message(item) for item in total.refusals[:MOST_REFUSALS]],
            sequence=self._store.hub.sequence,
        )

    async def _create(self, batch: list[NewJob], total: creation.Created, *, atomic: bool) -> None:
        caller = CALLER.get()
        actor = Actor.SCRIPT if caller.job_id else Actor.USER
        try:
            made = await self._store.writer.do(
                lambda tx: creation.create(tx, batch, owner=caller.user, actor=actor, atomic=atomic)
            )
        except creation.NotAllCreated as error:
            total.refusals += error.outcome.refusals
            return
        total.created += made.created
        total.existing += made.existing
        total.refusals += made.refusals

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> job_pb2.Job:
        """One job."""
        job_id = check_id(request.job_id)
        values = await self._store.read(lambda connection: reading.get_job(connection, job_id))
        if values is None:
            raise NotFound(f"there is no job {job_id}", field="job_id")
        return convert.job_message(values, self._data)

    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:
        """A page of jobs."""
        node = convert.optional_node(request)
        orders = convert.orders(request.order_by)
        size = reading.page_size(request.page_size)
        fields = reading.job_fields(request.read_mask.paths)
        token = request.page_token
        sqlite = self._store.database.is_sqlite

        def page(connection: Any) -> pb.ListJobsResponse:
            found, next_token = reading.list_jobs(connection, sqlite, node, orders, size, token, fields)
            messages = [convert.job_message(values, self._data) for values in found]
            return pb.ListJobsResponse(jobs=messages, next_page_token=next_token)

        return await self._store.read(page)

    async def CountJobs(self, request: pb.CountJobsRequest, context: Any) -> pb.CountJobsResponse:
        """How many."""
        node = convert.optional_node(request)
        fields = list(request.group_by)
        sqlite = self._store.database.is_sqlite
        count, rows = await self._store.read(lambda connection: reading.count_jobs(connection, sqlite, node, fields))
        groups = [
            pb.CountJobsResponse.Group(values=convert.group_values(fields, row[:-1]), count=row[-1]) for row in rows
        ]
        return pb.CountJobsResponse(count=count, groups=groups)

    async def UpdateJobs(self, request: pb.UpdateJobsRequest, context: Any) -> pb.UpdateJobsResponse:
        """Changes fields, job by job: each item by itself, in one commit where nothing is refused."""
        response = pb.UpdateJobsResponse()
        items: list[tuple[int, str, dict[str, Any], int, str]] = []
        for index, item in enumerate(request.updates):
            try:
                job_id = check_id(item.job.job_id)
                values = convert.changes(item.job, item.update_mask)
                message = convert.event_text(item.message)
                items.append((index, job_id, values, item.expected_revision, message))
            except BalsamError as error:
                response.refusals.append(convert.refusal_message(refused(item.job.job_id, index, error)))
        revisions = [0] * len(request.updates)
        actor = Actor.SCRIPT if CALLER.get().job_id else Actor.USER

        def change(tx: Tx, job_id: str, values: dict[str, Any], expected: int, message: str) -> int:
            return jobs.update(tx, _one(tx, job_id), values, expected_revision=expected, actor=actor, message=message)

        answers = await self._together([functools.partial(_apply, change, item[1:]) for item in items])
        for (index, job_id, *_), answer in zip(items, answers, strict=True):
            if isinstance(answer, BalsamError):
                response.refusals.append(convert.refusal_message(refused(job_id, index, answer)))
            else:
                revisions[index] = answer
                response.updated += 1
        response.revisions.extend(revisions)
        return response

    async def UpdateMatchingJobs(
        self, request: pb.UpdateMatchingJobsRequest, context: Any
    ) -> pb.UpdateMatchingJobsResponse:
        """The same change of many."""
        values = convert.changes(request.values, request.update_mask)
        if "state" in values or "parents" in values:
            raise ValidationError(
                "state and parents cannot be set for many jobs this way; use SetJobState or ChangeDependencies",
                field="update_mask",
            )
        if request.dry_run:
            matched = await self._count(request.selector)
            return pb.UpdateMatchingJobsResponse(updated=matched)
        done, refusals = await self._each(request.selector, lambda tx, row: jobs.update(tx, row, values))
        return pb.UpdateMatchingJobsResponse(
            updated=done, refusals=convert.refusal_messages(refusals), refused=len(refusals)
        )

    async def SetJobState(self, request: pb.SetJobStateRequest, context: Any) -> pb.SetJobStateResponse:
        """Moves jobs."""
        target = convert.state(request.state)
        actor = Actor.SCRIPT if CALLER.get().job_id else Actor.USER
        message = convert.event_text(request.message)

        def move(tx: Tx, row: Row) -> None:
            if row.state != target:
                jobs.set_state(tx, row, target, actor, message)

        done, refusals = await self._each(request.selector, move)
        return pb.SetJobStateResponse(updated=done, refusals=convert.refusal_messages(refusals), refused=len(refusals))

    async def KillJobs(self, request: pb.KillJobsRequest, context: Any) -> pb.KillJobsResponse:
        """Kills jobs, all of them in one transaction."""
        selector = _Selector(request.selector)
        actor = Actor.SCRIPT if CALLER.get().job_id else Actor.USER
        message = convert.event_text(request.message) or (
            "killed by a script" if actor is Actor.SCRIPT else "killed by a user"
        )
        sqlite = self._store.database.is_sqlite

        def command(tx: Tx) -> tuple[jobs.Killed, list[Refused]]:
            rows, missing = selector.rows(tx, sqlite)
            return jobs.kill(tx, rows, recursive=request.recursive, actor=actor, message=message), missing

        killed, missing = await self._store.writer.do(command)
        return pb.KillJobsResponse(
            killed=killed.killed,
            stopping=killed.stopping,
            already_ended=killed.already_ended,
            refusals=convert.refusal_messages(missing),
        )

    async def DeleteJobs(self, request: pb.DeleteJobsRequest, context: Any) -> pb.DeleteJobsResponse:
        """Deletes jobs, in batches."""
        if request.dry_run:
            matched = await self._count(request.selector)
            return pb.DeleteJobsResponse(matched=matched, deleted=matched)
        matched = deleted = 0
        refusals: list[Refused] = []
        actor = Actor.SCRIPT if CALLER.get().job_id else Actor.USER
        async for rows, missing in self._batches(request.selector):

            def command(tx: Tx, keys: list[int] = rows) -> tuple[int, list[Refused]]:
                return jobs.delete(tx, tx.load(keys), kill_running=request.kill, actor=actor)

            count, unwilling = await self._store.writer.do(command)
            matched += len(rows) + len(missing)
            deleted += count
            refusals += missing + unwilling
        return pb.DeleteJobsResponse(
            matched=matched,
            deleted=deleted,
            refusals=convert.refusal_messages(refusals),
            refused=len(refusals),
        )

    async def ChangeDependencies(
        self, request: pb.ChangeDependenciesRequest, context: Any
    ) -> pb.ChangeDependenciesResponse:
        """Adds and removes dependencies, each by itself."""
        response = pb.ChangeDependenciesResponse()
        items = [(edges.add, item) for item in request.add] + [(edges.remove, item) for item in request.remove]

        def change(tx: Tx, verb: Callable[[Tx, Row, Row], None], item: pb.Dependency) -> None:
            verb(tx, _one(tx, check_id(item.parent_id, "parent_id")), _one(tx, check_id(item.child_id, "child_id")))

        answers = await self._together([functools.partial(_apply, change, item) for item in items])
        for index, ((verb, item), answer) in enumerate(zip(items, answers, strict=True)):
            if isinstance(answer, BalsamError):
                response.refusals.append(convert.refusal_message(refused(item.child_id, index, answer)))
            else:
                response.added += verb is edges.add
                response.removed += verb is edges.remove
        return response

    async def _together(self, commands: Sequence[Callable[[Tx], T]]) -> list[T | BalsamError]:
        """Runs commands in as few commits as may be, in order; a refusal is of its command only.

        Raises:
            Unavailable: some could not be run.
        """
        answers: list[T | BalsamError] = []
        for start in range(0, len(commands), _AT_ONCE):
            group = [self._store.writer.do(command) for command in commands[start : start + _AT_ONCE]]
            for answer in await asyncio.gather(*group, return_exceptions=True):
                if isinstance(answer, BaseException) and (
                    isinstance(answer, Unavailable) or not isinstance(answer, BalsamError)
                ):
                    raise answer
                answers.append(answer)
        return answers

    # Selections

    async def _batches(self, message: pb.JobSelector) -> AsyncIterator[tuple[list[int], list[Refused]]]:
        """The keys of a selection, some thousand at a time, with the ids that do not exist."""
        selector = _Selector(message)
        if selector.ids is not None:
            for start in range(0, len(selector.ids), _CHUNK):
                chunk = selector.ids[start : start + _CHUNK]
                keys = await self._store.writer.do(lambda tx, chunk=chunk: tx.keys_of(chunk))  # type: ignore[misc]
                missing = [
                    Refused(job_id, start + i, "NOT_FOUND", f"there is no job {job_id}")
                    for i, job_id in enumerate(chunk)
                    if job_id not in keys
                ]
                yield [keys[job_id] for job_id in dict.fromkeys(chunk) if job_id in keys], missing
            return
        after, node, sqlite = 0, selector.node, self._store.database.is_sqlite
        while True:
            found = await self._store.read(
                lambda connection, after=after: reading.select_keys(connection, sqlite, node, after, _CHUNK)  # type: ignore[misc]
            )
            if found:
                yield found, []
            if len(found) < _CHUNK:
                return
            after = found[-1]

    async def _each(self, message: pb.JobSelector, verb: Callable[[Tx, Row], object]) -> tuple[int, list[Refused]]:
        """Does something to every selected job; those that refuse do not hold up the others."""
        done = 0
        refusals: list[Refused] = []
        async for keys, missing in self._batches(message):

            def command(tx: Tx, keys: list[int] = keys) -> tuple[int, list[Refused]]:
                count = 0
                unwilling = []
                for row in tx.load(keys):
                    try:
                        verb(tx, row)
                        count += 1
                    except BalsamError as error:
                        unwilling.append(refused(row.job_id, 0, error))
                return count, unwilling

            count, unwilling = await self._store.writer.do(command)
            done += count
            refusals += missing + unwilling
        return done, refusals

    async def _count(self, message: pb.JobSelector) -> int:
        total = 0
        async for keys, _ in self._batches(message):
            total += len(keys)
        return total


class _Selector:
    """A checked selection of jobs."""

    def __init__(self, message: pb.JobSelector) -> None:
        kind = message.WhichOneof("kind")
        if kind is None:
            raise ValidationError("the selector names no jobs; give ids or a filter", field="selector")
        self.ids = [check_id(job_id) for job_id in message.ids.job_ids] if kind == "ids" else None
        self.node = convert.node(message.filter)

    def rows(self, tx: Tx, sqlite: bool) -> tuple[list[Row], list[Refused]]:
        """The rows selected, and refusals for ids that do not exist."""
        if self.ids is not None:
            found = list(jobs.existing_rows(tx, list(dict.fromkeys(self.ids))))
            return [r for r in found if isinstance(r, Row)], [r for r in found if isinstance(r, Refused)]
        tx.flush()
        keys: list[int] = []
        while True:
            more = reading.select_keys(tx.sql.connection, sqlite, self.node, keys[-1] if keys else 0, _CHUNK)
            keys += more
            if len(more) < _CHUNK:
                return tx.load(keys), []


def _apply(command: Callable[..., T], arguments: Iterable[Any], tx: Tx) -> T:
    return command(tx, *arguments)


def _one(tx: Tx, job_id: str) -> Row:
    row = next(jobs.existing_rows(tx, [job_id]))
    if isinstance(row, Refused):
        raise NotFound(row.message, field="job_id")
    return row
