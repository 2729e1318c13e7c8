"""Jobs by their ids or by a filter, and what is done to all of them, some thousand in a transaction."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

from balsam.errors import BalsamError, ValidationError
from balsam.fields import check_id
from balsam.v1 import job_service_pb2
from balsam_jobstore import jobs, reading
from balsam_jobstore.refusals import MOST_REFUSALS, Refused, refused
from balsam_jobstore.rows import Row
from balsam_jobstore.server import convert
from balsam_jobstore.server.calls import Call, M, total
from balsam_jobstore.store import Store
from balsam_jobstore.tx import Tx

CHUNK = 2000

Found = tuple[list[Row], list[Refused]]
"""Rows, and refusals for ids that do not exist."""


class Selector:
    """A checked selection of jobs.

    Raises:
        ValidationError: it selects nothing, or is wrong.
    """

    def __init__(self, message: job_service_pb2.JobSelector) -> None:
        kind = message.WhichOneof("kind")
        if kind is None:
            raise ValidationError("the selector names no jobs; give ids or a filter", field="selector")
        self.ids = [check_id(job_id) for job_id in message.ids.job_ids] if kind == "ids" else None
        self._node = convert.node(message.filter)

    def rows(self, tx: Tx, sqlite: bool) -> Found:
        """All of it, in a transaction."""
        if self.ids is not None:
            found = list(jobs.existing_rows(tx, list(dict.fromkeys(self.ids))))
            return [r for r in found if isinstance(r, Row)], [r for r in found if isinstance(r, Refused)]
        tx.flush()
        keys: list[int] = []
        while True:
            more = reading.select_keys(tx.sql.connection, sqlite, self._node, keys[-1] if keys else 0, CHUNK)
            keys += more
            if len(more) < CHUNK:
                return tx.load(keys), []

    async def page(self, store: Store, after: int) -> tuple[Callable[[Tx], Found], int | None]:
        """Some of it: what finds that in a transaction, and where the next begin (None: these are the last)."""
        if self.ids is not None:
            end = after + CHUNK
            return functools.partial(self._some, after, end), end if end < len(self.ids) else None
        sqlite = store.database.is_sqlite
        keys = await store.read(lambda connection: reading.select_keys(connection, sqlite, self._node, after, CHUNK))
        return lambda tx: (tx.load(keys), []), keys[-1] if len(keys) == CHUNK else None

    def _some(self, start: int, end: int, tx: Tx) -> Found:
        ids = (self.ids or [])[start:end]
        keys = tx.keys_of(ids)
        missing = [
            Refused(job_id, index, "NOT_FOUND", f"there is no job {job_id}")
            for index, job_id in enumerate(ids, start)
            if job_id not in keys
        ]
        return tx.load(keys[job_id] for job_id in dict.fromkeys(ids) if job_id in keys), missing

    async def count(self, store: Store) -> int:
        """How many jobs there are of it."""
        if self.ids is None:
            sqlite = store.database.is_sqlite
            return (await store.read(lambda connection: reading.count_jobs(connection, sqlite, self._node, [])))[0]
        there = 0
        ids = list(dict.fromkeys(self.ids))
        for start in range(0, len(ids), CHUNK):
            some = ids[start : start + CHUNK]
            there += len(await store.writer.do(lambda tx, some=some: tx.keys_of(some)))  # type: ignore[misc]
        return there


async def in_parts(
    store: Store, call: Call[M], selector: Selector, command: Callable[[Tx, list[Row], list[Refused]], M]
) -> M:
    """Does something to the jobs of a selection; a request that comes again after half of it does the other half."""
    answer = call.empty()
    part, after = 0, 0
    while True:
        found, following = await selector.page(store, after)

        def step(
            tx: Tx, found: Callable[[Tx], Found] = found, following: int | None = following
        ) -> tuple[M, int | None]:
            return command(tx, *found(tx)), following

        more, goes_on = await call.step(part, step)
        total(answer, more)
        if goes_on is None:
            del answer.refusals[MOST_REFUSALS:]  # type: ignore[attr-defined]
            return answer
        part, after = part + 1, goes_on


def each(rows: Iterable[Row], missing: list[Refused], verb: Callable[[Row], object]) -> tuple[int, list[Refused]]:
    """Does something to each job; returns how many did, and the refusals: what is missing, then the others."""
    done = 0
    refusals = list(missing)
    for row in rows:
        try:
            verb(row)
            done += 1
        except BalsamError as error:
            refusals.append(refused(row.job_id, 0, error))
    return done, refusals
