"""Group commit: one thread writes; what queued while the last commit was synced goes into the next transaction.

There is no timer: one caller alone waits for nobody, and ten thousand share a commit. Every caller is answered after
the commit. If something in a group fails, the group is rolled back and each command is run again by itself, so that
one bad command costs the others nothing but time.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import queue
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import sqlalchemy as sa

from balsam import failpoints
from balsam.errors import BalsamError, Unavailable
from balsam.rpc import NO_DATABASE
from balsam.serving import shed
from balsam_jobstore import requests
from balsam_jobstore.database import Database, Sql, as_database_error, is_interference, translate_error
from balsam_jobstore.requests import Once
from balsam_jobstore.rules import RuleSet
from balsam_jobstore.tx import Outcome, Tx

if TYPE_CHECKING:
    from balsam_jobstore.siblings import Siblings

log = logging.getLogger("balsam.jobstore.writer")

T = TypeVar("T")
Command = Callable[[Tx], T]

MOST_QUEUED = 4000
_MOST_IN_GROUP = 256
_MOST_TRIES = 8


class Interference(Exception):
    """Two job stores wrote at the same time, and this one gave way."""


class Hooks(Protocol):
    """What takes part in every transaction, and hears of its end."""

    def before_commit(self, tx: Tx) -> Callable[[], None]:
        """In the writer's thread: hands out work, and writes the rows. What it returns takes that back, if the commit
        fails."""

    def committed(self, outcome: Outcome) -> None:
        """In the loop, after the commit, before the callers are answered: tells those who wait."""

    def examine(self, tx: Tx, keys: list[int]) -> int:
        """In the writer's thread: sets aside those of these jobs that are damaged; returns how many."""

    def disconnected(self) -> None:
        """In the loop: the database is away, and what the last commit did is not known."""


class Writer:
    """The thread that writes."""

    def __init__(self, database: Database, loop: asyncio.AbstractEventLoop, hooks: Hooks) -> None:
        self.rules = RuleSet()
        self.siblings: Siblings | None = None
        """Other job stores that write at the same time."""
        self._database = database
        self._loop = loop
        self._hooks = hooks
        self._queue: queue.SimpleQueue[tuple[Command[Any], asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._between: queue.SimpleQueue[Callable[[sa.Connection], None]] = queue.SimpleQueue()
        self._connection: sa.Connection | None = None
        self._is_new = True
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        # A thread that comes back from a database call waits this long for the interpreter at most.
        sys.setswitchinterval(0.0005)
        self._thread.start()

    def stop(self) -> None:
        """Commits what is queued and ends the thread."""
        self._queue.put(None)
        self._thread.join(timeout=30)

    def submit(self, command: Command[T]) -> asyncio.Future[T]:
        """Queues a command, after those queued before; the future ends when it is durable."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put((command, future))
        return future

    def between(self, work: Callable[[sa.Connection], None]) -> None:
        """Has something done after the next commit, outside of any transaction. If it fails, that is logged."""
        self._between.put(work)

    async def do(self, command: Command[T]) -> T:
        """Runs a command in a transaction; returns when that is durable.

        Raises:
            BalsamError: what the command raised (nothing of it was written), or too much is queued.
        """
        shed(self._queue.qsize(), MOST_QUEUED, "writes")
        return await self.submit(command)

    @property
    def is_full(self) -> bool:
        """Whether so much is queued that more is refused."""
        return self._queue.qsize() >= MOST_QUEUED

    def _run(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                break
            group = [first]
            last = False
            while len(group) < _MOST_IN_GROUP and not self._queue.empty():
                item = self._queue.get()
                if item is None:
                    last = True
                    break
                group.append(item)
            self._commit_group(group)
            if not self._between.empty():
                self._do_between()
            if last:
                break
        if self._connection is not None:
            self._connection.close()

    def _do_between(self) -> None:
        work = self._between.get()
        try:
            if self._connection is not None:
                work(self._connection)
        except Exception as error:
            log.warning("cannot tidy up between two transactions: %s", error)

    def _commit_group(self, group: list[tuple[Command[Any], asyncio.Future[Any]]]) -> None:
        try:
            results, outcome = self.transact([command for command, _ in group])
        except Exception as error:
            if len(group) > 1 and not isinstance(error, Unavailable):
                for item in group:
                    self._commit_group([item])
            elif isinstance(error, Unavailable) or not self._recall(group[0], error):
                self._loop.call_soon_threadsafe(self._fail, group, error)
            return
        self._loop.call_soon_threadsafe(self._deliver, group, results, outcome)

    def _recall(self, item: tuple[Command[Any], asyncio.Future[Any]], error: Exception) -> bool:
        """Answers a command that failed by what is remembered of it; returns whether there is something."""
        command, _ = item
        if not isinstance(command, Once) or not command.is_remembered:
            return False
        try:
            results, outcome = self.transact([functools.partial(command.recall, error)])
        except Exception as problem:
            self._loop.call_soon_threadsafe(self._fail, [item], problem)
            return True
        if results == [None]:
            return False
        self._loop.call_soon_threadsafe(self._deliver, [item], results, outcome)
        return True

    def transact(self, commands: list[Command[Any]]) -> tuple[list[Any], Outcome]:
        """Runs commands in one transaction, in the caller's thread; returns when it is durable.

        Where another job store was in the way, it is done again. A job that makes no sense stops nobody: if something
        fails that should not, the jobs that it met are examined, and where damaged ones were set aside it is done anew.

        Raises:
            BalsamError: a command has refused; nothing of the transaction is done.
            Unavailable: there is no database, or the others did not leave it alone.
        """
        tries = 0
        while True:
            met: list[int] = []
            try:
                return self._transact(commands, met)
            except BalsamError:
                raise
            except Interference as interference:
                tries += 1
                if tries == _MOST_TRIES:
                    log.error("gave way %d times: %s", tries, interference)
                    raise Unavailable("other job stores write the same; try again shortly") from None
                time.sleep(random.uniform(0.0, 0.001 * 2**tries))
            except Exception:
                if not self._set_aside(met):
                    log.exception("a command failed")
                    raise

    def _set_aside(self, keys: list[int]) -> bool:
        try:
            (count,), outcome = self._transact([lambda tx: self._hooks.examine(tx, keys)], [], hand_out=False)
        except Exception as error:
            log.error("damaged jobs cannot be set aside: %s", error)
            return False
        self._tell(outcome)
        return bool(count)

    def _tell(self, outcome: Outcome) -> None:
        """Of a transaction that nobody waits for."""
        self._loop.call_soon_threadsafe(self._hooks.committed, outcome)

    def _transact(
        self, commands: list[Command[Any]], met: list[int], *, hand_out: bool = True
    ) -> tuple[list[Any], Outcome]:
        """One attempt; `met` gets the keys of the jobs that it looked at."""
        tx: Tx | None = None
        take_back: Callable[[], None] | None = None
        try:
            if self._connection is None:
                self._connection = self._database.writer()
                self._is_new = True
            with self._connection.begin():
                tx = Tx(Sql(self._connection, self._database.is_sqlite), self.rules)
                if self.siblings is not None:
                    self.siblings.join(tx)
                if self._is_new:
                    tx.read_position()
                results = [command(tx) for command in commands]
                failpoints.hit("jobstore.in-group", as_database_error)
                tx.settle()
                tx.flush()
                if hand_out:
                    take_back = self._hooks.before_commit(tx)
                tx.write_events()
                tx.audit.write(tx.sql, tx.now_us)
                requests.write(tx)
                if self.siblings is not None:
                    self.siblings.tell(tx)
                failpoints.hit("jobstore.before-commit", as_database_error)
            failpoints.hit("jobstore.after-commit", as_database_error)
            self._is_new = False
            return results, tx.outcome
        except Exception as error:
            if take_back:
                take_back()
            met += tx.rows if tx is not None else ()
            if isinstance(error, BalsamError):
                raise
            if self.siblings is not None and is_interference(error):
                raise Interference(str(error).strip().split("\n")[0]) from None
            problem = translate_error(error)
            # Where it was the commit that failed, the transaction may be open still, and would be for ever.
            self._drop_connection()
            if problem is None:
                raise
            log.error("%s", problem)
            raise problem from None

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def _deliver(
        self, group: list[tuple[Command[Any], asyncio.Future[Any]]], results: list[Any], outcome: Outcome
    ) -> None:
        self._hooks.committed(outcome)
        for (_, future), result in zip(group, results, strict=True):
            if not future.done():
                future.set_result(result)

    def _fail(self, group: list[tuple[Command[Any], asyncio.Future[Any]]], error: Exception) -> None:
        if isinstance(error, Unavailable) and error.reason == NO_DATABASE:
            self._hooks.disconnected()
        if isinstance(error, BalsamError):
            error.__traceback__ = None  # it holds the group, which holds the error: all of it would stay for long
        for _, future in group:
            if not future.done():
                future.set_exception(error)
