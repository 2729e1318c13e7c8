"""The job store as one object: the database, the writer, and what hears of every commit."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from balsam import failpoints, stores
from balsam.errors import BalsamError, NotFound, Unavailable
from balsam.open_streams import OpenStreams
from balsam.serving import CALLER
from balsam.site import Site
from balsam.states import State
from balsam_jobstore import leases, sessions, setting_aside
from balsam_jobstore import users as user_rows
from balsam_jobstore.access import RunTokens
from balsam_jobstore.auditing import AuditAge
from balsam_jobstore.checkpoints import Checkpoints
from balsam_jobstore.database import READERS, Database, as_database_error, translate_error
from balsam_jobstore.events import EventHub
from balsam_jobstore.leases import NodeKind, Stream
from balsam_jobstore.readers import Readers
from balsam_jobstore.requests import Requests
from balsam_jobstore.rights import Rights
from balsam_jobstore.rules import Rule, RuleSet, pack
from balsam_jobstore.sessions import Session, Sessions
from balsam_jobstore.siblings import Siblings
from balsam_jobstore.tx import Outcome, Tx
from balsam_jobstore.users import Users
from balsam_jobstore.writer import Writer

log = logging.getLogger("balsam.jobstore")

T = TypeVar("T")
Do = Callable[[Callable[[Tx], int]], Awaitable[int]]

_CATCH_UP = 2000
_NO_RULES = RuleSet()
LOOK_SECONDS = 1.0
"""How long a start looks for damaged rows before it serves [s]: some hundred thousand jobs. The rest comes after."""
_PAUSE_SECONDS = 0.1
_LOOK_AGAIN_SECONDS = 60.0


class Store:
    """What the servicers work on. Lives in the loop; commands run in the writer's thread.

    Args:
        site: the site.
        database: its database.
        tokens: credentials of runs and scripts.
        users: those who may use the site beside its owner.
        siblings: where other job stores serve the same database.
    """

    def __init__(
        self, site: Site, database: Database, tokens: RunTokens, users: Users, siblings: Siblings | None = None
    ) -> None:
        self.site = site
        self.database = database
        self.tokens = tokens
        self.users = users
        self.streams_of_calls: OpenStreams | None = None
        """The streams that are open at this process; None: there is no server."""
        self.sessions = Sessions(site.settings.lease_seconds)
        self.siblings = siblings
        self.writer = Writer(database, asyncio.get_running_loop(), self)
        self.writer.siblings = siblings
        self.checkpoints = Checkpoints(database, self.writer)
        self.requests = Requests(lambda command: self.writer.do(command))
        self.hub = EventHub(0)
        self.streams: dict[int, Stream] = {}
        """Session key -> its line. Changed by commands only, in the writer's thread."""
        self.launch_nodes: dict[int, Sequence[NodeKind]] = {}
        """Launch -> what its launcher has found, of the last thousand. Changed by commands only."""
        self.program_revisions: dict[int, int] = {}
        """Application key -> revision, of those that changed while this process runs: lines send them again."""
        self._rules: dict[int, RuleSet] = {}
        """Session key -> its rules, oldest first; the last are in force. Changed by commands only."""
        self._begun: set[asyncio.Task[Any]] = set()
        self._set_aside = 0
        self._looked = -math.inf
        self._unseen: int | None = None
        self._readers = Readers(READERS)

    async def start(self) -> None:
        """Takes up where the process before stopped; damaged rows are set aside first, as far as that takes no time."""
        if self.siblings is not None:
            await self.siblings.start(self)
        self.writer.start()
        await self.reload_users()
        if self.siblings is None or self.siblings.number == 1:
            await self.writer.do(lambda tx: setting_aside.look_over_small(tx, self.site.set_aside))
            self._unseen = await self._look_over(0, LOOK_SECONDS)
        if self.siblings is None:
            self.sessions.restore(await self.writer.do(sessions.load_all))
        else:
            self.sessions.restore(await self.writer.do(self.siblings.load_own))
            await self.reload_rules()

    # Users

    async def reload_users(self) -> None:
        """Reads the users anew.

        Raises:
            BalsamError: why it could not.
        """
        await self.writer.do(self._take_users)

    def users_changed(self, tx: Tx) -> None:
        """A command has changed users: that is in force, here and at other job stores, with the commit."""
        tx.news.users = True
        self._take_users(tx)

    def _take_users(self, tx: Tx) -> None:
        users = user_rows.load(tx)
        tx.outcome.after_commit.append(lambda: self.set_users(users))  # in the order of the commits

    def set_users(self, users: list[user_rows.User]) -> None:
        """These are the users now; the streams of those whose token was revoked or replaced end."""
        self._end_streams(self.users.replace(users))

    def _end_streams(self, user_keys: Sequence[int]) -> None:
        if self.streams_of_calls is not None:
            for key in user_keys:
                self.streams_of_calls.end_of(key)

    async def look_over_rest(self) -> None:
        """Looks over the jobs that the start had no time for."""
        if self._unseen is not None:
            await self._look_over(self._unseen, math.inf, _PAUSE_SECONDS)

    async def _look_over_all(self) -> bool:
        before = self._set_aside
        await self._look_over(0, math.inf)
        return self._set_aside > before

    async def _look_over(self, after: int, seconds: float, pause: float = 0.0) -> int | None:
        """Looks over the jobs behind a key for so long; returns where it stopped, None at the end."""
        until = time.monotonic() + seconds
        place: int | None = after
        while place is not None:
            command = functools.partial(setting_aside.look_over_jobs, directory=self.site.set_aside, after=place)
            page = await self.writer.do(command)
            self._set_aside += page.set_aside
            place = page.next_key
            if time.monotonic() > until:
                break
            await asyncio.sleep(pause)
        return place

    async def set_aside(self, keys: Sequence[int], table: str = "job") -> int:
        """Sets aside those of these rows that are damaged; returns how many."""
        verb = setting_aside.set_events_aside if table == "event" else setting_aside.examine
        return await self.writer.do(lambda tx: verb(tx, self.site.set_aside, keys))

    async def job_of_lease(self, key: int, fence: int) -> tuple[str, int] | None:
        """Id and owner of a job that is leased under this fence, at whichever job store; None: it is not."""
        text = sa.text("SELECT job_id, owner_key FROM job WHERE key = :key AND fence = :fence AND session IS NOT NULL")
        found = await self.read(lambda connection: connection.execute(text, {"key": key, "fence": fence}).first())
        return (str(found[0]), int(found[1])) if found is not None else None

    def stop(self) -> None:
        """Commits what is queued and closes the database."""
        self.writer.stop()
        if self.siblings is not None:
            self.siblings.stop()
        self._readers.stop()
        self.database.close()

    async def read(self, query: Callable[[sa.Connection], T]) -> T:
        """Runs a read on a connection of its own.

        Raises:
            BalsamError: what went wrong.
        """
        while True:
            try:
                return await self._readers.run(lambda: self._read(query), CALLER.get(None))
            except setting_aside.DamagedRow as met:
                if not await self.set_aside(met.keys, met.table):
                    raise
            except BalsamError:
                raise
            except Exception:
                # Something that cannot be, such as JSON that SQL cannot read: it may stand in any row.
                before, self._looked = self._looked, time.monotonic()
                if self._looked - before < _LOOK_AGAIN_SECONDS or not await self._look_over_all():
                    raise

    def _read(self, query: Callable[[sa.Connection], T]) -> T:
        try:
            with self.database.reader() as connection:
                return query(connection)
        except (BalsamError, setting_aside.DamagedRow):
            raise
        except Exception as error:
            problem = translate_error(error)
            if problem is None:
                raise
            raise problem from None

    # In the writer's thread

    def before_commit(self, tx: Tx) -> Callable[[], None]:
        """Hands out work."""
        return leases.dispatch(tx, list(self.streams.values()))

    def examine(self, tx: Tx, keys: list[int]) -> int:
        """Sets damaged jobs aside."""
        return setting_aside.examine(tx, self.site.set_aside, keys)

    # In the loop

    def committed(self, outcome: Outcome) -> None:
        """Tells everybody who waits what has happened."""
        live = self.tokens.live
        if outcome.position is not None:
            live.clear()
            live.update(outcome.position.leases)
            self.hub.catch_up(outcome.position.sequence)
        for key in outcome.released:
            self.lease_over(key)
        for key, fence, job_id, owner_key in outcome.granted:
            live[key] = (fence, job_id, owner_key)
        for tell in outcome.after_commit:
            tell()
        for session_key, key, fence in outcome.stops:
            stream = self.streams.get(session_key)
            if stream is not None:
                stream.deliver(leases.Delivery(stops=[(key, fence)]))
        if self.siblings is None:
            self.hub.publish(outcome.events)
        else:
            self.siblings.feed.publish(outcome.events)
            if outcome.look_again:
                self.siblings.look_again()
        self.checkpoints.look()

    def lease_over(self, key: int) -> None:
        """The token of a run or script is good no more, and its streams end."""
        self.tokens.live.pop(key, None)
        if self.streams_of_calls is not None:
            self.streams_of_calls.end_of_run(key)

    def disconnected(self) -> None:
        """Closes every line: what the last commit granted is told, or taken back, when they are opened again."""
        for stream in list(self.streams.values()):
            stream.deliver(leases.CLOSED)

    # Sessions

    async def open_session(self, session: Session) -> Session:
        """Opens a session; the same request again gives the same session."""
        opened = await self.writer.do(lambda tx: self.add_session(tx, session))
        return self.sessions.by_request(session.request_id) or opened

    def add_session(self, tx: Tx, session: Session) -> Session:
        """A command: opens a session; gives the one that the same request has opened, if that is open."""
        opened = sessions.insert(tx, session)
        if opened is session:
            if session.kind == sessions.SCHEDULER:
                tx.news.schedulers.append((session.key, session.host))
            tx.outcome.after_commit.append(lambda: self.adopt(opened, "opened"))
        return opened

    async def take_up(self, session_id: str) -> None:
        """A session that the database has, and we have not heard of: the line to it was cut as that was committed.

        Or it was another job store's that is dead.

        Raises:
            NotFound: it has ended; only where there are several job stores.
            Unavailable: another job store has it, and lives; names that.
        """
        if self.sessions.find(session_id) is not None:
            return
        if self.siblings is None:
            found = [one for one in await self.writer.do(sessions.load) if one.session_id == session_id]
        else:
            siblings = self.siblings
            found = [await self.writer.do(lambda tx: siblings.claim(tx, session_id))]
        for session in found:
            if self.sessions.find(session_id) is None:
                self.adopt(session, "taken up")

    async def session_of(self, session_id: str) -> Session:
        """An open session, whichever job store has it.

        Raises:
            NotFound: it has ended.
        """
        if self.siblings is not None and self.sessions.find(session_id) is None:
            for session in await self.writer.do(lambda tx: sessions.load(tx, "session_id::text = :id", id=session_id)):
                return session
        return self.sessions.get(session_id)

    async def all_sessions(self) -> list[Session]:
        """The open sessions, oldest first, whichever job store has them."""
        if self.siblings is None:
            return self.sessions.all()
        return await self.writer.do(lambda tx: sessions.load(tx, "1 = 1 ORDER BY key"))

    def adopt(self, session: Session, what: str) -> None:
        """A session is ours from now on."""
        self.sessions.adopt(session)
        log.info("session %s %s: %s", session.session_id, what, session.label)

    async def end_session(self, session: Session, reason: str, do: Do | None = None) -> int:
        """Ends a session: its line is cut, its rules are void, its jobs are given back.

        Where its rules were in force, those are again that came before, of a session that still lives.

        Args:
            session: which.
            reason: for the history of its jobs.
            do: what runs the command; None: the writer.

        Raises:
            Unavailable: there is no database now; the session is ended when it is back.
        """
        return await self._to_its_end(self._end_session(session, reason, do or self.writer.do))

    async def _end_session(self, session: Session, reason: str, do: Do) -> int:
        def command(tx: Tx) -> int:
            self.streams.pop(session.key, None)
            self._rules.pop(session.key, None)
            self._put_in_force(tx)
            released = sessions.end(tx, session, reason)
            failpoints.hit("jobstore.in-session-end", as_database_error)
            return released

        rules = self._rules.get(session.key)
        is_ours = self.sessions.find(session.session_id) is not None
        self.sessions.remove(session)
        stream = self.streams.get(session.key)
        try:
            released = await do(command)
        except BalsamError:
            if is_ours:
                self.sessions.adopt(session)
            if stream is not None:
                stream.deliver(leases.CLOSED)  # a worker that lives after all attaches again, and brings its rules
            raise
        log.info("session %s ended (%s): %s; %d jobs given back", session.session_id, session.label, reason, released)
        if rules is not None and self._rules:
            await self._apply_rules()
        return released

    def _install(self, tx: Tx, session: Session, rules: RuleSet) -> None:
        if self.siblings is None:
            self.sessions.get(session.session_id)
        else:
            text = "UPDATE session SET rules = :rules WHERE key = :key RETURNING key"
            if not tx.sql.run(text, rules=pack(rules.rules), key=session.key):
                raise NotFound(f"session {session.session_id!r} has ended", reason="SESSION_ENDED")
            tx.news.rules = True
        self._rules.pop(session.key, None)
        self._rules[session.key] = rules
        self._put_in_force(tx)

    def _put_in_force(self, tx: Tx) -> None:
        self.writer.rules = tx.rules = next(reversed(self._rules.values()), _NO_RULES)

    async def _to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Does what changes both the database and what is known here, even if the caller goes away meanwhile."""
        task = asyncio.create_task(work)
        self._begun.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._begun.discard(task)
        if not task.cancelled():
            task.exception()  # where the caller is gone, nobody else asks

    async def sweep(self) -> None:
        """Ends the sessions that were not renewed, and drops what is old, for ever.

        Begins when this service can be reached: whoever cannot reach it takes it for dead, and so the leases for good.
        """
        self.sessions.begin()
        audit_age = AuditAge(lambda command: self.writer.do(command), self.site.settings.audit_days)
        while True:
            pause = min(self.sessions.seconds_to_next(), sessions.GUARD_SECONDS)
            due = time.monotonic() + pause
            await asyncio.sleep(pause)
            # While this process was stopped, nobody could renew a session.
            self.sessions.forgive(max(0.0, time.monotonic() - due))
            for session in self.sessions.expired():
                failpoints.hit("jobstore.in-sweep")
                if not session.is_expired:
                    continue  # it was renewed while others were ended
                try:
                    await self.end_session(session, "was not heard of any more")
                except BalsamError as error:
                    log.warning("could not end session %s: %s", session.session_id, error)
            self._end_streams(self.users.expired())
            try:
                if self.siblings is not None:
                    await self.siblings.take_up_orphans()
                await self.requests.drop_old()
                await audit_age.drop_old()
            except BalsamError as error:
                log.warning("could not tidy up: %s", error)

    async def register_rules(self, session: Session, rules: list[Rule]) -> int:
        """Puts a scheduler's rules in force and applies them to what waits for them; returns how many jobs moved.

        Raises:
            NotFound: the session has ended meanwhile.
        """
        rule_set = RuleSet(rules)
        await self.writer.do(lambda tx: self._install(tx, session, rule_set))
        return await self._apply_rules()

    async def reload_rules(self) -> None:
        """Others may be in force now: of a scheduler's session at another job store."""
        siblings = self.siblings
        assert siblings is not None

        def command(tx: Tx) -> bool:
            before = self.writer.rules
            self._rules = siblings.load_rules(tx)
            self._put_in_force(tx)
            return self.writer.rules is not before and bool(self._rules)

        if await self.writer.do(command):
            await self._apply_rules()

    async def _apply_rules(self) -> int:
        moved = 0
        after = 0
        while True:
            count, after = await self.writer.do(lambda tx, after=after: _catch_up(tx, after))  # type: ignore[misc]
            moved += count
            if not after:
                return moved


def _catch_up(tx: Tx, after: int) -> tuple[int, int]:
    """Applies the rules to some of the jobs that wait for them; returns how many moved and where to go on (0: done)."""
    sources = ", ".join(map(str, tx.rules.sources)) or "0"
    text = f"""SELECT key FROM job WHERE key > :after AND state IN ({sources}) AND session IS NULL
               AND (state <> {int(State.AWAITING_PARENTS)} OR unmet = 0 OR failed_parent IS NOT NULL)
               AND (state <> {int(State.PREPROCESSED)} OR unmet > 0)
               ORDER BY key LIMIT {_CATCH_UP}"""
    keys = [key for (key,) in tx.sql.run(text, after=after)]
    before = len(tx.outcome.events)
    for row in tx.load(keys):
        tx.touch(row)
    tx.settle()
    tx.runnable = True
    return len(tx.outcome.events) - before, keys[-1] if len(keys) == _CATCH_UP else 0


def recover_reports(
    store: Store, tx: Tx, session_id: str, reports: list[leases.Report], rights: Rights | None = None
) -> list[tuple[int, int]]:
    """A command: results that come late; returns those that are refused. `rights`: of who reports; None: all.

    Raises:
        NotAllowed: the session is somebody else's.
    """
    session = store.sessions.find(session_id)
    if session is None and tx.is_one_of_several and session_id:
        session = next(iter(sessions.load(tx, "session_id::text = :id", id=session_id)), None)
    if rights is None or rights.is_all:
        return leases.recover_reports(tx, session, reports)
    if session is not None:
        rights.check_session(session)
    with tx.acting(rights.by):
        return leases.recover_reports(tx, session, reports, rights.user_key)


def attach_stream(store: Store, tx: Tx, stream: Stream, held: list[tuple[int, int]]) -> None:
    """A command: the session's line is this one from now on.

    Raises:
        NotFound: the session has ended.
        Unavailable: it is another job store's.
    """
    store.sessions.get(stream.session.session_id)
    if not sessions.is_ours(tx, stream.session):
        raise Unavailable("the session is another job store's, or has ended", reason=stores.OTHER_STORE)
    old = store.streams.get(stream.session.key)
    if old is not None:
        tx.outcome.after_commit.append(lambda: old.deliver(leases.CLOSED))
    store.streams[stream.session.key] = stream
    deliveries = leases.attach(tx, stream, held)
    failpoints.hit("jobstore.in-attach", as_database_error)
    tx.outcome.after_commit += [functools.partial(stream.deliver, delivery) for delivery in deliveries]


def detach_stream(store: Store, stream: Stream) -> None:
    """A command: the line is closed, unless another has taken its place."""
    if store.streams.get(stream.session.key) is stream:
        del store.streams[stream.session.key]
