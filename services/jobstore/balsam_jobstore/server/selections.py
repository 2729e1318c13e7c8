"""Jobs by their ids or by a filter, and what is done to all of them, some thousand in a transaction."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

from google.protobuf.message import Message

from balsam.errors import BalsamError, ValidationError
from balsam.fields import check_id
from balsam.v1 import job_service_pb2
from balsam_jobstore import jobs, reading
from balsam_jobstore.access import DENIED
from balsam_jobstore.refusals import MOST_REFUSALS, Refused, refused
from balsam_jobstore.rights import Rights
from balsam_jobstore.rows import Row
from balsam_jobstore.server import convert
from balsam_jobstore.server.calls import Call, M, total
from balsam_jobstore.store import Store
from balsam_jobstore.tx import Tx

CHUNK = 2000

Found = tuple[list[Row], list[Refused]]
"""Rows, and refusals for ids that do not exist."""


class Selector:
    """A checked selection of jobs, of which the caller gets those that they may change.

    Args:
        message: the selection.
        rights: the caller's. Of a filter the others are counted, and refused together.

    Raises:
        ValidationError: it selects nothing, or is wrong.
    """

    def __init__(self, message: job_service_pb2.JobSelector, rights: Rights) -> None:
        self._rights = rights
        kind = message.WhichOneof("kind")
        if kind is None:
            raise ValidationError("the selector names no jobs; give ids or a filter", field="selector")
        self.ids = [check_id(job_id) for job_id in message.ids.job_ids] if kind == "ids" else None
        self._node = convert.node(message.filter)

    def rows(self, tx: Tx, sqlite: bool) -> Found:
        """All of it, in a transaction."""
        if self.ids is not None:
            found = list(jobs.existing_rows(tx, list(dict.fromkeys(self.ids))))
            missing = [item for item in found if isinstance(item, Refused)]
            return self._sorted(tx, [item for item in found if isinstance(item, Row)], missing)
        tx.flush()
        keys: list[int] = []
        while True:
            after = keys[-1] if keys else 0
            more = reading.select_keys(tx.sql.connection, sqlite, self._node, after, CHUNK, self._rights.own())
            keys += more
            if len(more) < CHUNK:
                return self._sorted(tx, tx.load(keys), [])

    async def page(self, store: Store, after: int) -> tuple[Callable[[Tx], Found], int | None]:
        """Some of it: what finds that in a transaction, and where the next begin (None: these are the last)."""
        if self.ids is not None:
            end = after + CHUNK
            return functools.partial(self._some, after, end), end if end < len(self.ids) else None
        sqlite, own = store.database.is_sqlite, self._rights.own()
        keys = await store.read(
            lambda connection: reading.select_keys(connection, sqlite, self._node, after, CHUNK, own)
        )
        return lambda tx: self._sorted(tx, tx.load(keys), []), keys[-1] if len(keys) == CHUNK else None

    def _some(self, start: int, end: int, tx: Tx) -> Found:
        ids = (self.ids or [])[start:end]
        keys = tx.keys_of(ids)
        missing = [
            Refused(job_id, index, "NOT_FOUND", f"there is no job {job_id}")
            for index, job_id in enumerate(ids, start)
            if job_id not in keys
        ]
        return self._sorted(tx, tx.load(keys[job_id] for job_id in dict.fromkeys(ids) if job_id in keys), missing)

    def _sorted(self, tx: Tx, rows: list[Row], missing: list[Refused]) -> Found:
        mine, others = self._rights.sort(tx, rows)
        return mine, missing + others

    def others(self, tx: Tx, sqlite: bool) -> int:
        """How many jobs that a filter takes are other users'."""
        own = self._rights.own()
        if self.ids is not None or own is None:
            return 0
        tx.flush()
        return reading.count_jobs(tx.sql.connection, sqlite, self._node, [], ~own)[0]

    async def count(self, store: Store) -> tuple[int, int]:
        """How many jobs there are of it that may be changed, and how many others."""
        if self.ids is not None:
            return await self._count_ids(store, list(dict.fromkeys(self.ids)))
        sqlite, own = store.database.is_sqlite, self._rights.own()
        return await store.read(lambda connection: reading.count_own_and_others(connection, sqlite, self._node, own))

    async def _count_ids(self, store: Store, ids: list[str]) -> tuple[int, int]:
        there = others = 0
        for start in range(0, len(ids), CHUNK):
            some = ids[start : start + CHUNK]
            if self._rights.is_all:
                there += len(await store.writer.do(lambda tx, some=some: tx.keys_of(some)))  # type: ignore[misc]
                continue
            mine, refusals = await store.writer.do(
                lambda tx, some=some: self._rights.sort(tx, tx.load(tx.keys_of(some).values()))  # type: ignore[misc]
            )
            there += len(mine)
            others += len(refusals)
        return there, others


async def in_parts(
    store: Store, call: Call[M], selector: Selector, command: Callable[[Tx, list[Row], list[Refused]], M]
) -> M:
    """Does something to the jobs of a selection; a request that comes again after half of it does the other half."""
    answer = call.empty()
    sqlite = store.database.is_sqlite
    part, after = 0, 0
    while True:
        found, following = await selector.page(store, after)

        def step(
            tx: Tx, found: Callable[[Tx], Found] = found, following: int | None = following, first: bool = not part
        ) -> tuple[M, int | None]:
            done = command(tx, *found(tx))
            if first:
                refuse_others(done, selector.others(tx, sqlite))
            return done, following

        more, goes_on = await call.step(part, step)
        total(answer, more)
        if goes_on is None:
            del answer.refusals[MOST_REFUSALS:]  # type: ignore[attr-defined]
            return answer
        part, after = part + 1, goes_on


def refuse_others(answer: Message, others: int) -> None:
    """Says in an answer that so many jobs of other users were left as they are."""
    if others:
        answer.refused += others  # type: ignore[attr-defined]
        message = f"{others} jobs that match belong to other users, and were left as they are"
        answer.refusals.add(reason=DENIED, message=message)  # type: ignore[attr-defined]


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
