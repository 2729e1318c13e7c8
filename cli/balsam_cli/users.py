"""The users of a site, its connections and its audit trail, as `balsam server` shows and changes them."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from balsam.certificates import fingerprint
from balsam.client import Client
from balsam.convert import rfc3339, time_of
from balsam.errors import ValidationError
from balsam.site import Site
from balsam.v1 import user_pb2, user_service_pb2
from balsam.v1.user_service_pb2_grpc import UserServiceStub
from balsam_cli import records
from balsam_cli.output import Column, Record
from balsam_cli.text import cut, local_time, parse_time

pb = user_service_pb2
ROLES = ("member", "viewer")
_TOKEN_BYTES = 32
_DAY = 86_400
_MOST_DETAIL = 120  # characters, for people: a detail may be as long as a command
_MOST_NAME = 40


def add(store: Client, name: str, role: str, days: float | None) -> tuple[Record, str]:
    """Adds a user, or gives one that there is a new token; gives the user, and the token, which is nowhere else.

    Args:
        store: the site.
        name: the user.
        role: one of `ROLES`.
        days: the token expires after so many; 0: never; None: what the settings say.

    Raises:
        ValidationError: so many days are out of range.
    """
    days = store.site.settings.token_days if days is None else days
    if not 0 <= days <= 36_500:
        raise ValidationError(f"--expires {days:g}: must be a number of days from 0 (never) to 36,500")
    token = f"user.{secrets.token_urlsafe(_TOKEN_BYTES)}"
    request = pb.AddUserRequest(
        user=user_pb2.User(name=name, role=user_pb2.User.Role.Value(role.upper())),
        token_digest=hashlib.sha256(token.encode()).digest(),
        expire_seconds=round(days * _DAY),
    )
    answer = store.call(UserServiceStub, "AddUser", request)
    return {**_user(answer.user), "replaced": answer.replaced}, token


def invitation(site: Site, token: str) -> str:
    """What a new user gives to `balsam login`: the token and, where the site listens, the certificate to expect."""
    expected = fingerprint(site)
    return f"{token}:{expected}" if expected else token


def drop(store: Client, name: str) -> int:
    """Drops a user; gives how many jobs of theirs have not ended."""
    return int(store.call(UserServiceStub, "DropUser", pb.DropUserRequest(name=name)).unfinished_jobs)


def listed(store: Client) -> list[Record]:
    """All users."""
    return [_user(user) for user in store.call(UserServiceStub, "ListUsers", pb.ListUsersRequest()).users]


def connections(store: Client) -> list[Record]:
    """Who is connected now."""
    answer = store.call(UserServiceStub, "ListConnections", pb.ListConnectionsRequest())
    return [
        {"user": one.user, "through": one.through, "peer": one.peer, "create_time": rfc3339(time_of(one.create_time))}
        for one in answer.connections
    ]


def audit(store: Client, limit: int) -> list[Record]:
    """What was changed last, oldest first."""
    answer = store.call(UserServiceStub, "ListAuditEntries", pb.ListAuditEntriesRequest(page_size=limit))
    return [_entry(entry) for entry in reversed(answer.entries)]


def _user(user: user_pb2.User) -> Record:
    return {
        "name": user.name,
        "role": user_pb2.User.Role.Name(user.role).lower(),
        "create_time": _time(user, "create_time"),
        "token_time": _time(user, "token_time"),
        "expire_time": _time(user, "expire_time"),
        "drop_time": _time(user, "drop_time"),
    }


def _time(message: Any, name: str) -> str | None:
    return rfc3339(time_of(getattr(message, name))) if message.HasField(name) else None


def _entry(entry: user_pb2.AuditEntry) -> Record:
    return {
        "time": rfc3339(time_of(entry.time)),
        "user": entry.user,
        "run_job_id": entry.run_job_id,
        "action": entry.action,
        "objects": list(entry.objects),
        "count": entry.count,
        "detail": entry.detail,
    }


def _moment(name: str, otherwise: str) -> Column:
    title = name.removesuffix("_time").upper()
    return Column(title, lambda record: local_time(parse_time(record[name])) or otherwise)


USER_COLUMNS = (
    Column("USER", lambda record: str(record["name"])),
    Column("ROLE", lambda record: str(record["role"])),
    _moment("token_time", ""),
    _moment("expire_time", "never"),
    Column("DROPPED", lambda record: local_time(parse_time(record["drop_time"]))),
)
CONNECTION_COLUMNS = (
    Column("USER", lambda record: str(record["user"])),
    Column("THROUGH", lambda record: str(record["through"]), flexible=True),
    Column("FROM", lambda record: str(record["peer"]), flexible=True),
    Column("FOR", records.age_of, right=True),
)
AUDIT_COLUMNS = (
    Column("TIME", lambda record: local_time(parse_time(record["time"]))),
    Column("USER", lambda record: str(record["user"])),
    Column("THROUGH", lambda record: f"run of {record['run_job_id'][: records.SHORT]}" if record["run_job_id"] else ""),
    Column("ACTION", lambda record: str(record["action"])),
    Column("WHAT", lambda record: _objects(record), flexible=True),
    Column("DETAIL", lambda record: cut(record["detail"], _MOST_DETAIL), flexible=True),
)


def _objects(entry: Record) -> str:
    names = [_object(name) for name in entry["objects"][:3]]
    more = entry["count"] - len(names)
    return " ".join([*names, f"and {more:,} more" if names else f"{more:,} jobs"] if more > 0 else names)


def _object(name: str) -> str:
    is_id = len(name) == 36  # as a UUID
    return name[: records.SHORT] if is_id else cut(name, _MOST_NAME)
