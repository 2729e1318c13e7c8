"""UserService: who may use the site, who does now, and who has changed what."""

from __future__ import annotations

from typing import Any

from balsam.open_streams import OpenStream
from balsam.v1 import user_pb2, user_service_pb2
from balsam.v1.user_service_pb2_grpc import UserServiceServicer
from balsam_jobstore import audit_trail, reading, users
from balsam_jobstore.audit_trail import Entry
from balsam_jobstore.server import convert
from balsam_jobstore.server.calls import Call
from balsam_jobstore.sessions import NAMES, Session
from balsam_jobstore.store import Store
from balsam_jobstore.tx import Tx
from balsam_jobstore.users import User

pb = user_service_pb2

_ENTRIES = 100


class UserService(UserServiceServicer):
    """Translates; the verbs are in `users` and `audit_trail`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def AddUser(self, request: pb.AddUserRequest, context: Any) -> pb.AddUserResponse:
        """Adds a user, or gives a new token."""
        call = Call(self._store, request, pb.AddUserResponse)
        name = convert.plain_text(request.user.name, "name")
        role, digest, seconds = request.user.role, request.token_digest, request.expire_seconds

        def command(tx: Tx) -> pb.AddUserResponse:
            user, replaced = users.add(tx, name, role, digest, seconds, self._store.users.owner)
            self._store.users_changed(tx)
            tx.note("AddUser", [name], user_pb2.User.Role.Name(role).lower())
            return pb.AddUserResponse(user=_user(user), replaced=replaced)

        return await call.once(command)

    async def DropUser(self, request: pb.DropUserRequest, context: Any) -> pb.DropUserResponse:
        """Drops a user."""
        call = Call(self._store, request, pb.DropUserResponse)
        name = convert.plain_text(request.name, "name")

        def command(tx: Tx) -> pb.DropUserResponse:
            _, unfinished = users.drop(tx, name)
            self._store.users_changed(tx)
            tx.note("DropUser", [name])
            return pb.DropUserResponse(unfinished_jobs=unfinished)

        return await call.once(command)

    async def ListUsers(self, request: pb.ListUsersRequest, context: Any) -> pb.ListUsersResponse:
        """The users."""
        return pb.ListUsersResponse(users=map(_user, self._store.users.all()))

    async def ListConnections(self, request: pb.ListConnectionsRequest, context: Any) -> pb.ListConnectionsResponse:
        """Who is connected."""
        name = self._store.users.name
        found = [_of_session(session, name(session.owner_key)) for session in await self._store.all_sessions()]
        streams = self._store.streams_of_calls
        found += [_of_stream(stream) for stream in streams.all()] if streams is not None else []
        found.sort(key=lambda connection: connection.create_time.ToNanoseconds())
        return pb.ListConnectionsResponse(connections=found)

    async def ListAuditEntries(self, request: pb.ListAuditEntriesRequest, context: Any) -> pb.ListAuditEntriesResponse:
        """What was changed."""
        most = reading.page_size(request.page_size) if request.page_size else _ENTRIES
        found = await self._store.read(lambda connection: audit_trail.last_entries(connection, most))
        return pb.ListAuditEntriesResponse(entries=[self._entry(entry) for entry in found])

    def _entry(self, entry: Entry) -> user_pb2.AuditEntry:
        return user_pb2.AuditEntry(
            time=convert.timestamp(entry.time_us),
            user=self._store.users.name(entry.user_key),
            run_job_id=entry.run_id,
            action=entry.action,
            objects=entry.objects,
            count=entry.count,
            detail=entry.detail,
        )


def _user(user: User) -> user_pb2.User:
    return user_pb2.User(
        name=user.name,
        role=user.role,  # type: ignore[arg-type]
        create_time=convert.timestamp(user.create_us),
        token_time=convert.timestamp(user.token_us),
        expire_time=None if user.expire_us is None else convert.timestamp(user.expire_us),
        drop_time=None if user.drop_us is None else convert.timestamp(user.drop_us),
    )


def _of_session(session: Session, user: str) -> user_pb2.Connection:
    return user_pb2.Connection(
        user=user,
        through=NAMES[session.kind],
        peer=f"{session.host} (pid {session.pid})",
        create_time=convert.timestamp(session.create_us),
    )


def _of_stream(stream: OpenStream) -> user_pb2.Connection:
    run = f", run of job {stream.caller.job_id}" if stream.caller.job_id else ""
    return user_pb2.Connection(
        user=stream.caller.user,
        through=f"{stream.method}{run}",
        peer=stream.peer,
        create_time=convert.timestamp(stream.start_us),
    )
