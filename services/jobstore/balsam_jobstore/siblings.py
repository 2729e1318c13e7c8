"""One of several job stores over one PostgreSQL: what it tells the others, and what it does when it hears from them.

Each has the sessions that were opened at it, and works for these alone. What concerns all is in the database; that
there is something new, the transaction that writes it tells the others by NOTIFY.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from balsam import stores
from balsam.errors import BalsamError, NotAllowed, NotFound, Unavailable
from balsam.serving import Authorize, Caller
from balsam_jobstore import rules, sessions
from balsam_jobstore.access import RunTokens, check_role, run_caller
from balsam_jobstore.database import Database, translate_error
from balsam_jobstore.feed import Feed
from balsam_jobstore.leases import CLOSED, Delivery
from balsam_jobstore.listening import Listener, lone_connection
from balsam_jobstore.membership import Membership
from balsam_jobstore.news import CHANNEL, News
from balsam_jobstore.rules import RuleSet
from balsam_jobstore.sessions import Session
from balsam_jobstore.tx import Tx
from balsam_jobstore.users import Users

if TYPE_CHECKING:
    from balsam_jobstore.store import Store

log = logging.getLogger("balsam.jobstore")

IDLE_SECONDS = 30
"""A transaction in which nothing comes for so long is undone [s]: its process is stopped, or worse."""
LOOK_AGAIN_SECONDS = 0.02
"""What another job store was just looking at is looked at again so much later [s]."""


class Siblings:
    """The place of one job store among the others. Lives in the loop, but for what the writer's thread calls.

    Args:
        database: the PostgreSQL that they share.
        membership: says who lives.
        number: of this one, from 1.
    """

    def __init__(self, database: Database, membership: Membership, number: int) -> None:
        self.number = number
        self.feed: Feed
        self._store: Store
        self._database = database
        self._membership = membership
        self._listener = Listener(database, self._hear, self._begin)
        self._keys: Any = None
        self._rules: dict[int, tuple[str, RuleSet]] = {}
        self._seen_dead: set[int] = set()
        self._is_nudged = False
        self._wants_look = False
        self._begun: set[asyncio.Task[Any]] = set()
        sa.event.listen(database.engine, "connect", _prepare)

    async def start(self, store: Store) -> None:
        """Listens from now on.

        Raises:
            BalsamError: there is no database.
        """
        self._store = store
        self.feed = Feed(store.hub, store.read)
        try:
            await self._listener.start()
        except Exception as error:
            raise (translate_error(error) or error) from None

    def stop(self) -> None:
        """Listens no longer. After the writer has stopped."""
        self._listener.stop()
        for task in self._begun:
            task.cancel()
        if self._keys is not None:
            self._keys.close()

    # In the writer's thread

    def join(self, tx: Tx) -> None:
        """A transaction begins that is one of several job stores'."""
        tx.store = self.number
        tx.take_keys = self._take_keys

    def _take_keys(self, count: int) -> int:
        """The first of so many keys for new jobs, taken at once: held until the commit, the counter would have those
        wait whom we wait for. What is taken and not used is missing for ever, which harms nobody."""
        if self._keys is None:
            # Lost in a crash, it is lost with all that was committed after it.
            self._keys = lone_connection(self._database, "SET synchronous_commit = off")
        try:
            with self._keys.cursor() as cursor:
                cursor.execute("UPDATE counter SET job_key = job_key + %s WHERE id = 1 RETURNING job_key", (count,))
                return int(cursor.fetchone()[0]) - count + 1
        except Exception:
            self._keys.close()
            self._keys = None
            raise

    def tell(self, tx: Tx) -> None:
        """Has the others told, with the commit."""
        news, outcome = tx.news, tx.outcome
        news.store = self.number
        news.sequence = outcome.events[-1].sequence if outcome.events else 0
        news.runnable = tx.runnable
        news.stops = [stop for stop in outcome.stops if stop[0] not in self._store.streams]
        news.released = [key for key in outcome.released if key not in self._store.tokens.live]
        for payload in news.payloads():
            tx.sql.run("SELECT pg_notify(:channel, :payload)", channel=CHANNEL, payload=payload)

    def load_own(self, tx: Tx) -> list[Session]:
        """A command: the sessions of the process before, of the same number."""
        return sessions.load(tx, "store = :store FOR UPDATE", store=self.number)

    def claim(self, tx: Tx, session_id: str) -> Session:
        """A command: makes a session ours that another job store has left.

        Raises:
            NotFound: it has ended.
            Unavailable: the one that has it lives; names that.
        """
        found = sessions.load(tx, "session_id::text = :id FOR UPDATE", id=session_id)
        if not found:
            raise NotFound(f"session {session_id!r} has ended", reason="SESSION_ENDED")
        (session,) = found
        if session.store != self.number:
            self._refuse_living(session.store)
            self._take(tx, session)
        return session

    def _refuse_living(self, number: int) -> None:
        # Asked while its rows are locked: one that starts takes its lock first, and then reads them.
        if self._membership.is_alive(number):
            raise Unavailable(
                f"the session is one of job store {number}; ask that",
                reason=stores.OTHER_STORE,
                field=stores.name(number),
            )

    def _take(self, tx: Tx, session: Session) -> None:
        tx.sql.run("UPDATE session SET store = :store WHERE key = :key", store=self.number, key=session.key)
        session.store = self.number

    def _claim_all(self, tx: Tx, number: int) -> list[Session]:
        """A command: the sessions of a job store that is dead."""
        found = sessions.load(tx, "store = :store ORDER BY key FOR UPDATE", store=number)
        if not found or self._membership.is_alive(number):
            return []
        for session in found:
            self._take(tx, session)
        return found

    def load_rules(self, tx: Tx) -> dict[int, RuleSet]:
        """A command: the rules of every session that has some, oldest first."""
        found = tx.sql.run("SELECT key, rules FROM session WHERE rules <> '' ORDER BY key")
        known, self._rules = self._rules, {}
        for key, text in found:
            kept = known.get(key)
            self._rules[key] = kept if kept and kept[0] == text else (text, RuleSet(rules.unpack(text)))
        return {key: rule_set for key, (_, rule_set) in self._rules.items()}

    # In the loop

    async def take_up_orphans(self) -> None:
        """Takes up the sessions of job stores that have died since the last time.

        Raises:
            BalsamError: there is no database; they are taken up the next time.
        """
        for number in range(1, stores.MOST + 1):
            if self._membership.is_alive(number):
                self._seen_dead.discard(number)
            elif number not in self._seen_dead:
                for session in await self._store.writer.do(lambda tx, n=number: self._claim_all(tx, n)):  # type: ignore[misc]
                    self._store.adopt(session, f"taken up, which job store {number} has left")
                self._seen_dead.add(number)

    async def reach(self, sequence: int) -> None:
        """Hears of all events that there are, if there should be some up to `sequence` already."""
        if sequence > self._store.hub.sequence:
            text = sa.text("SELECT event_sequence FROM counter WHERE id = 1")
            there = await self._store.read(lambda connection: int(connection.execute(text).scalar_one()))
            self.feed.seen(there)
            await self._store.hub.wait_beyond(min(sequence, there) - 1)

    def _hear(self, news: News) -> None:
        if news.store == self.number:
            return
        self._seen_dead.discard(news.store)  # it may have started and died between two looks
        if news.programs:
            self._store.program_revisions.update(news.programs)
        for key, host in news.schedulers:
            self._store.sessions.replace_schedulers(key, host)
        if news.rules:
            self._in_background(self._store.reload_rules())
        if news.users:
            self._in_background(self._store.reload_users())
        if news.stops or news.released or news.ended:
            # After what we have committed before: a stop must not overtake the grant that it is about.
            self._submit(lambda tx: self._pass_on(tx, news))
        if news.sequence:
            self.feed.seen(news.sequence)
        if news.runnable or news.sequence:
            self.nudge(look=news.runnable)

    def _pass_on(self, tx: Tx, news: News) -> None:
        """A command."""
        store = self._store
        lines = [(store.streams.get(session), (key, fence)) for session, key, fence in news.stops]
        closed = [line for session in news.ended if (line := store.streams.pop(session, None)) is not None]

        def tell() -> None:
            for key in news.released:
                store.lease_over(key)
            for line, lease in lines:
                if line is not None:
                    line.deliver(Delivery(stops=[lease]))
            for session in news.ended:
                store.sessions.forget(session)
            for line in closed:
                line.deliver(CLOSED)

        tx.outcome.after_commit.append(tell)

    def nudge(self, *, look: bool) -> None:
        """Looks for work to hand out, if somebody here waits for some.

        Args:
            look: others have made jobs due, or left some; else it may only be that nothing more can come.
        """
        lines = list(self._store.streams.values())
        if look and any(line.could_take for line in lines):
            self._wants_look = True
        elif not any(line.asks_drained for line in lines):
            return
        if not self._is_nudged:
            self._is_nudged = True
            self._submit(self._look)

    def _look(self, tx: Tx) -> None:
        """A command."""
        self._is_nudged = False  # what is heard from now on may be missing in what this transaction sees
        tx.look, self._wants_look = tx.look or self._wants_look, False

    def look_again(self) -> None:
        """Some jobs were not handed out because another job store was looking at them."""
        asyncio.get_running_loop().call_later(LOOK_AGAIN_SECONDS, lambda: self.nudge(look=True))

    def _submit(self, command: Callable[[Tx], None]) -> None:
        done = self._store.writer.submit(command)
        done.add_done_callback(self._submitted)

    def _submitted(self, done: asyncio.Future[None]) -> None:
        if not done.cancelled() and done.exception() is not None:
            self._is_nudged = False
            log.debug("could not do what another job store asked for: %s", done.exception())

    async def _begin(self) -> None:
        """Hears again: what was said meanwhile is found in the database, and by those who attach again."""
        store = self._store
        await store.writer.do(lambda tx: None)  # on a new connection, which tells where the history is
        store.program_revisions.update(await store.writer.do(_programs))
        keys = {session.key for session in await store.writer.do(self.load_own)}
        for session in store.sessions.all():
            if session.key not in keys:
                store.sessions.forget(session.key)
        store.disconnected()
        await store.reload_rules()
        await store.reload_users()
        await self.reach(store.hub.sequence + 1)

    def _in_background(self, work: Coroutine[Any, Any, Any]) -> None:
        async def quietly() -> None:
            try:
                await work
            except BalsamError as error:
                log.warning("could not follow another job store: %s", error)

        task = asyncio.get_running_loop().create_task(quietly())
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)


def _prepare(connection: Any, record: object) -> None:
    """A process that is stopped amid a transaction must not hold up the others for ever."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET idle_in_transaction_session_timeout = {IDLE_SECONDS * 1000}")
    connection.commit()


def _programs(tx: Tx) -> dict[int, int]:
    return dict(tx.sql.run("SELECT key, revision FROM application"))


def authorizer_among(
    authorize: Callable[[str, str], Caller],
    tokens: RunTokens,
    users: Users,
    find: Callable[[int, int], Awaitable[tuple[str, int] | None]],
) -> Authorize:
    """As `authorize`, but the token of a run whose lease another job store has granted is good here, too.

    Args:
        authorize: knows the leases that were granted here.
        tokens: prove tokens.
        users: those of the site.
        find: gives id and owner of the job that is leased, by key and fence; None: it is not.
    """

    async def ask(method: str, lease: tuple[int, int], refusal: NotAllowed) -> Caller:
        job = await find(*lease)
        if job is None:
            raise refusal
        caller = run_caller(users, lease[0], *job)
        check_role(caller, method)
        return caller

    def decide(method: str, token: str) -> Caller | Awaitable[Caller]:
        try:
            return authorize(method, token)
        except NotAllowed as error:
            lease = tokens.lease(token) if token.startswith("run.") and error.reason == "UNAUTHENTICATED" else None
            if lease is None:
                raise
            return ask(method, lease, error)

    return decide
