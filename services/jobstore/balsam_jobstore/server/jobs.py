"""JobService."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from balsam.errors import BalsamError, NotFound, ResourceExhausted, ValidationError
from balsam.fields import check_id
from balsam.serving import CALLER
from balsam.states import Actor
from balsam.v1 import job_pb2, job_service_pb2
from balsam.v1.job_service_pb2_grpc import JobServiceServicer
from balsam_jobstore import creation, edges, jobs, reading
from balsam_jobstore.creation import NewJob
from balsam_jobstore.refusals import MOST_REFUSALS, Refused, refused
from balsam_jobstore.rights import rights_of_caller
from balsam_jobstore.rows import Row
from balsam_jobstore.server import convert
from balsam_jobstore.server.calls import Call, one_by_one, total
from balsam_jobstore.server.held_bytes import HeldByCall, HeldBytes
from balsam_jobstore.server.selections import Selector, each, in_parts, refuse_others
from balsam_jobstore.store import Store
from balsam_jobstore.tx import Tx

pb = job_service_pb2

MAX_ATOMIC_JOBS = 200_000
"""Of one all-or-nothing call, which are held until the last has come."""
_LARGE_CALL = 2000
"""A call with more jobs than these..."""
_LARGE_CALLS = 4
"""...is one of so many that hold theirs at once; others come in when one of them is done."""


class JobService(JobServiceServicer):
    """Translates; the verbs are in `jobs`, `edges` and `reading`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._data = str(store.site.data)
        self._large_calls = asyncio.Semaphore(_LARGE_CALLS)
        self._held = HeldBytes()

    async def CreateJobs(self, request: AsyncIterator[pb.CreateJobsRequest], context: Any) -> pb.CreateJobsResponse:
        """Adds jobs: all in one transaction or, where not all or nothing is asked for, message by message."""
        async with contextlib.AsyncExitStack() as stack:
            with self._held.call() as holds:
                return await self._create_jobs(request, stack, holds)

    async def _create_jobs(
        self, request: AsyncIterator[pb.CreateJobsRequest], stack: contextlib.AsyncExitStack, holds: HeldByCall
    ) -> pb.CreateJobsResponse:
        response = pb.CreateJobsResponse()
        call: Call[pb.CreateJobsResponse] | None = None
        held: list[NewJob] = []
        atomic = is_large = False
        index = part = 0
        async for message in holds.in_time(request):
            if call is None:
                call = Call(self._store, message, pb.CreateJobsResponse)
                atomic = message.atomic
            else:
                call.add(message)
            if atomic:
                holds.add(message.ByteSize())
            batch: list[NewJob] = []
            refusals: list[Refused] = []
            for job in message.jobs:
                try:
                    batch.append(convert.new_job(job, index))
                except BalsamError as error:
                    refusals.append(refused(job.job_id, index, error))
                index += 1
            if atomic:
                held += batch
                if len(held) > _LARGE_CALL and not is_large:
                    await stack.enter_async_context(self._large_calls)
                    is_large = True
                response.refusals.extend(convert.refusal_messages(refusals))
                if len(held) > MAX_ATOMIC_JOBS:
                    raise ResourceExhausted(
                        f"more than {MAX_ATOMIC_JOBS} jobs in one all-or-nothing call; give a batch_size"
                    )
            else:
                answer = await self._create(call, part, batch, refusals, atomic=False)
                total(response, answer).sequence = answer.sequence
                part += 1
        if call and held and not response.refusals:
            response = await self._create(call, part, held, [], atomic=True)
        del response.refusals[MOST_REFUSALS:]
        response.sequence = response.sequence or self._store.hub.sequence
        return response

    async def _create(
        self,
        call: Call[pb.CreateJobsResponse],
        part: int,
        batch: list[NewJob],
        refusals: list[Refused],
        *,
        atomic: bool,
    ) -> pb.CreateJobsResponse:
        caller = CALLER.get()
        actor = Actor.SCRIPT if caller.job_id else Actor.USER
        rights = rights_of_caller(self._store.users)

        def command(tx: Tx) -> pb.CreateJobsResponse:
            made = creation.create(tx, batch, owner=caller.user, actor=actor, atomic=atomic, rights=rights)
            answer = pb.CreateJobsResponse(
                created=made.created,
                existing=made.existing,
                refusals=convert.refusal_messages(refusals + made.refusals),
            )
            tx.when_numbered.append(lambda sequence: setattr(answer, "sequence", sequence))
            return answer

        try:
            return await call.once(command, part)
        except creation.NotAllCreated as error:
            return pb.CreateJobsResponse(refusals=convert.refusal_messages(error.outcome.refusals))

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> job_pb2.Job:
        """One job."""
        job_id = check_id(request.job_id)
        visible = rights_of_caller(self._store.users).visible()

        def one(connection: Any) -> list[job_pb2.Job]:
            values = reading.get_job(connection, job_id, visible)
            found = [] if values is None else [values]
            return reading.each_sound(connection, found, lambda values: convert.job_message(values, self._data))

        for message in await self._store.read(one):
            return message
        raise NotFound(f"there is no job {job_id}", field="job_id")

    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:
        """A page of jobs."""
        node = convert.optional_node(request)
        orders = convert.orders(request.order_by)
        size = reading.page_size(request.page_size)
        fields = reading.job_fields(request.read_mask.paths)
        token = request.page_token
        sqlite = self._store.database.is_sqlite
        visible = rights_of_caller(self._store.users).visible()

        def page(connection: Any) -> pb.ListJobsResponse:
            found, next_token = reading.list_jobs(connection, sqlite, node, orders, size, token, fields, visible)
            messages = reading.each_sound(connection, found, lambda values: convert.job_message(values, self._data))
            return pb.ListJobsResponse(jobs=messages, next_page_token=next_token)

        return await self._store.read(page)

    async def CountJobs(self, request: pb.CountJobsRequest, context: Any) -> pb.CountJobsResponse:
        """How many."""
        node = convert.optional_node(request)
        fields = list(request.group_by)
        sqlite = self._store.database.is_sqlite
        visible = rights_of_caller(self._store.users).visible()

        def counted(connection: Any) -> pb.CountJobsResponse:
            count, rows = reading.count_jobs(connection, sqlite, node, fields, visible)
            groups = [
                pb.CountJobsResponse.Group(values=convert.group_values(fields, row[:-1]), count=row[-1]) for row in rows
            ]
            return pb.CountJobsResponse(count=count, groups=groups)

        return await self._store.read(counted)

    async def UpdateJobs(self, request: pb.UpdateJobsRequest, context: Any) -> pb.UpdateJobsResponse:
        """Changes fields, job by job: each item by itself, in one commit where nothing is refused."""
        call = Call(self._store, request, pb.UpdateJobsResponse)
        actor = Actor.SCRIPT if CALLER.get().job_id else Actor.USER
        rights = rights_of_caller(self._store.users)

        def command(item: pb.JobUpdate) -> Callable[[Tx], pb.UpdateJobsResponse]:
            job_id = check_id(item.job.job_id)
            values = convert.changes(item.job, item.update_mask)
            expected, message = item.expected_revision, convert.event_text(item.message)

            def change(tx: Tx) -> pb.UpdateJobsResponse:
                row = _one(tx, job_id)
                rights.check(tx, row)
                rights.check_values(tx, row, values)
                revision = jobs.update(tx, row, values, expected_revision=expected, actor=actor, message=message)
                tx.note("UpdateJobs", [job_id], ", ".join(values))
                return pb.UpdateJobsResponse(updated=1, revisions=[revision])

            return change

        def refuse(index: int, error: BalsamError) -> pb.UpdateJobsResponse:
            refusal = convert.refusal_message(refused(request.updates[index].job.job_id, index, error))
            return pb.UpdateJobsResponse(revisions=[0], refusals=[refusal])

        return await one_by_one(call, request.updates, command, refuse)

    async def UpdateMatchingJobs(
        self, request: pb.UpdateMatchingJobsRequest, context: Any
    ) -> pb.UpdateMatchingJobsResponse:
        """The same change of many."""
        call = Call(self._store, request, pb.UpdateMatchingJobsResponse)
        values = convert.changes(request.values, request.update_mask)
        if "state" in values or "parents" in values:
            raise ValidationError(
                "state and parents cannot be set for many jobs this way; use SetJobState or ChangeDependencies",
                field="update_mask",
            )
        rights = rights_of_caller(self._store.users)
        selector = Selector(request.selector, rights)
        if request.dry_run:
            mine, others = await selector.count(self._store)
            return pb.UpdateMatchingJobsResponse(updated=mine, refused=others)

        def command(tx: Tx, rows: list[Row], missing: list[Refused]) -> pb.UpdateMatchingJobsResponse:
            changed: list[str] = []

            def change(row: Row) -> None:
                rights.check_values(tx, row, values)
                jobs.update(tx, row, values)
                changed.append(row.job_id)

            done, refusals = each(rows, missing, change)
            if changed:
                tx.note("UpdateMatchingJobs", changed, ", ".join(values))
            return pb.UpdateMatchingJobsResponse(
                updated=done, refusals=convert.refusal_messages(refusals), refused=len(refusals)
            )

        return await in_parts(self._store, call, selector, command)

    async def SetJobState(self, request: pb.SetJobStateRequest, context: Any) -> pb.SetJobStateResponse:
        """Moves jobs."""
        call = Call(self._store, request, pb.SetJobStateResponse)
        target = convert.state(request.state)
        actor = Actor.SCRIPT if CALLER.get().job_id else Actor.USER
        message = convert.event_text(request.message)

        def command(tx: Tx, rows: list[Row], missing: list[Refused]) -> pb.SetJobStateResponse:
            def move(row: Row) -> None:
                if row.state != target:
                    jobs.set_state(tx, row, target, actor, message)

            done, refusals = each(rows, missing, move)
            return pb.SetJobStateResponse(
                updated=done, refusals=convert.refusal_messages(refusals), refused=len(refusals)
            )

        selector = Selector(request.selector, rights_of_caller(self._store.users))
        return await in_parts(self._store, call, selector, command)

    async def KillJobs(self, request: pb.KillJobsRequest, context: Any) -> pb.KillJobsResponse:
        """Kills jobs, all of them in one transaction."""
        call = Call(self._store, request, pb.KillJobsResponse)
        rights = rights_of_caller(self._store.users)
        selector = Selector(request.selector, rights)
        actor = Actor.SCRIPT if CALLER.get().job_id else Actor.USER
        message = convert.event_text(request.message) or (
            "killed by a script" if actor is Actor.SCRIPT else "killed by a user"
        )
        sqlite = self._store.database.is_sqlite

        def command(tx: Tx) -> pb.KillJobsResponse:
            rows, missing = selector.rows(tx, sqlite)
            sort = None if rights.is_all else rights.sort
            killed = jobs.kill(tx, rows, recursive=request.recursive, actor=actor, message=message, sort=sort)
            refusals = missing + killed.refusals
            answer = pb.KillJobsResponse(
                killed=killed.killed,
                stopping=killed.stopping,
                already_ended=killed.already_ended,
                refusals=convert.refusal_messages(refusals),
                refused=len(refusals),
            )
            refuse_others(answer, selector.others(tx, sqlite))
            return answer

        return await call.once(command)

    async def DeleteJobs(self, request: pb.DeleteJobsRequest, context: Any) -> pb.DeleteJobsResponse:
        """Deletes jobs, in batches."""
        call = Call(self._store, request, pb.DeleteJobsResponse)
        selector = Selector(request.selector, rights_of_caller(self._store.users))
        if request.dry_run:
            mine, others = await selector.count(self._store)
            return pb.DeleteJobsResponse(matched=mine + others, deleted=mine, refused=others)
        actor = Actor.SCRIPT if CALLER.get().job_id else Actor.USER

        def command(tx: Tx, rows: list[Row], missing: list[Refused]) -> pb.DeleteJobsResponse:
            deleted, unwilling = jobs.delete(tx, rows, kill_running=request.kill, actor=actor)
            refusals = missing + unwilling
            return pb.DeleteJobsResponse(
                matched=len(rows) + len(missing),
                deleted=deleted,
                refusals=convert.refusal_messages(refusals),
                refused=len(refusals),
            )

        return await in_parts(self._store, call, selector, command)

    async def ChangeDependencies(
        self, request: pb.ChangeDependenciesRequest, context: Any
    ) -> pb.ChangeDependenciesResponse:
        """Adds and removes dependencies, each by itself."""
        call = Call(self._store, request, pb.ChangeDependenciesResponse)
        items = [(edges.add, item) for item in request.add] + [(edges.remove, item) for item in request.remove]
        rights = rights_of_caller(self._store.users)

        def command(
            change: tuple[Callable[[Tx, Row, Row], None], pb.Dependency],
        ) -> Callable[[Tx], pb.ChangeDependenciesResponse]:
            verb, item = change
            parent_id, child_id = check_id(item.parent_id, "parent_id"), check_id(item.child_id, "child_id")

            def run(tx: Tx) -> pb.ChangeDependenciesResponse:
                parent, child = _one(tx, parent_id), _one(tx, child_id)
                rights.check(tx, child)
                if verb is edges.add:
                    rights.check_parents([parent])
                verb(tx, parent, child)
                tx.note("ChangeDependencies", [child_id], f"{'added' if verb is edges.add else 'removed'} a parent")
                return pb.ChangeDependenciesResponse(added=int(verb is edges.add), removed=int(verb is edges.remove))

            return run

        def refuse(index: int, error: BalsamError) -> pb.ChangeDependenciesResponse:
            refusal = convert.refusal_message(refused(items[index][1].child_id, index, error))
            return pb.ChangeDependenciesResponse(refusals=[refusal])

        return await one_by_one(call, items, command, refuse)


def _one(tx: Tx, job_id: str) -> Row:
    row = next(jobs.existing_rows(tx, [job_id]))
    if isinstance(row, Refused):
        raise NotFound(row.message, field="job_id")
    return row
