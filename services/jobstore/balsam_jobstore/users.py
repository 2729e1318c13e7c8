"""Users: who may use the site beside its owner, as rows, and as the job store knows them at every call."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from balsam.errors import NotAllowed, NotFound, ValidationError
from balsam.states import END
from balsam_jobstore.database import now_us
from balsam_jobstore.rows import OWNER_KEY
from balsam_jobstore.tx import Tx

MEMBER, VIEWER = 1, 2
"""Roles; numbers are those of ``balsam.v1.User.Role``."""
DIGEST_BYTES = 32
TOKEN_PREFIX = "user."
MOST_SECONDS = 100 * 366 * 86_400
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]{0,63}")
_ENDED = ", ".join(str(int(state)) for state in sorted(END))


@dataclass(frozen=True, slots=True)
class User:
    """A row of `site_user`. Times are in microseconds since 1970."""

    key: int
    name: str
    role: int
    token_digest: bytes
    create_us: int
    token_us: int
    expire_us: int | None
    """None: the token never expires."""
    drop_us: int | None
    """None: the user was not dropped."""

    def problem(self, time_us: int) -> str:
        """Why the token is not good at a time; empty: it is."""
        if self.drop_us is not None:
            return "the token was revoked; the owner of the site gives new ones (`balsam server --add-user`)"
        if self.expire_us is not None and self.expire_us <= time_us:
            return "the token has expired; the owner of the site gives new ones (`balsam server --add-user`)"
        return ""


_COLUMNS = tuple(field.name for field in fields(User))


class Users:
    """The users, as every thread may ask for them: what is known is replaced as a whole.

    Args:
        owner: name of the site's owner.
        trusted: names of users whose jobs the owner's launchers and scheduler run, separated by blanks.
        shared: names of users whose jobs launchers of other members may run, separated by blanks.
    """

    def __init__(self, owner: str, trusted: str = "", shared: str = "") -> None:
        self.owner = owner
        self.shared = frozenset(shared.split()) - {owner}
        self._trusted_names = trusted.split()
        self._by_key: Mapping[int, User] = {}
        self._by_name: Mapping[str, User] = {}
        self._by_digest: Mapping[bytes, User] = {}
        self.trusted: frozenset[int] = frozenset()
        """Keys of the users whom the owner trusts."""

    @property
    def any(self) -> bool:
        """Whether the site has, or had, users beside its owner."""
        return bool(self._by_key)

    def all(self) -> list[User]:
        """All of them, by name."""
        return [self._by_name[name] for name in sorted(self._by_name)]

    def replace(self, users: Iterable[User]) -> list[int]:
        """Takes what is known now; gives the keys of those whose token of before is not good any more."""
        before = self._by_key
        now = {user.key: user for user in users}
        self._by_name = {user.name: user for user in now.values()}
        self._by_digest = {user.token_digest: user for user in now.values()}
        self.trusted = frozenset(self._by_name[name].key for name in self._trusted_names if name in self._by_name)
        self._by_key = now
        return [key for key, user in before.items() if _has_lost_token(user, now.get(key))]

    def of_token(self, token: str) -> User | None:
        """The user whose token this is or was, if that is the last that they were given."""
        digest = hashlib.sha256(token.encode()).digest()
        user = self._by_digest.get(digest)
        return user if user is not None and hmac.compare_digest(user.token_digest, digest) else None

    def is_dropped(self, key: int) -> bool:
        """Whether this user was dropped."""
        user = self._by_key.get(key)
        return user is not None and user.drop_us is not None

    def expired(self) -> list[int]:
        """Keys of the users whose tokens have expired."""
        now = now_us()
        return [user.key for user in self._by_key.values() if user.expire_us is not None and user.expire_us <= now]

    def name(self, key: int) -> str:
        """The name of a user, or of the owner."""
        user = self._by_key.get(key)
        return user.name if user is not None else self.owner

    def key(self, name: str) -> int:
        """The key of the user with this name; all other names, that of the owner too, stand for the owner."""
        user = self._by_name.get(name)
        return user.key if user is not None else OWNER_KEY

    def keys(self, names: Sequence[str]) -> list[int]:
        """The keys of users and of the owner.

        Raises:
            ValidationError: one is no user of this site.
        """
        for name in names:
            if name != self.owner and name not in self._by_name:
                known = ", ".join([self.owner, *self._by_name][:20])
                raise ValidationError(
                    f"trusted_users: {name[:80]!r} is no user of this site (users: {known})", field="trusted_users"
                )
        return sorted({self.key(name) for name in names})


def _has_lost_token(before: User, now: User | None) -> bool:
    if now is None or now.token_digest != before.token_digest:
        return True
    return now.drop_us is not None and before.drop_us is None


# Verbs


def load(tx: Tx) -> list[User]:
    """All rows."""
    rows = tx.sql.run(f"SELECT {', '.join(_COLUMNS)} FROM site_user ORDER BY key")
    return [User(key, name, role, _digest(digest), *times) for key, name, role, digest, *times in rows]


def _digest(value: object) -> bytes:
    """A digest; of a row that is damaged, one that no token has."""
    return bytes(value) if isinstance(value, (bytes, memoryview)) else b""


def add(tx: Tx, name: str, role: int, digest: bytes, seconds: int, owner: str) -> tuple[User, bool]:
    """Adds a user, or gives a known one another token and role; and whether there was a good token before.

    Args:
        tx: the transaction.
        name: the name.
        role: `MEMBER` or `VIEWER`.
        digest: SHA-256 of the token.
        seconds: the token expires after so long; 0: never [s].
        owner: name of the site's owner.

    Raises:
        ValidationError: something is wrong with these.
    """
    _check(name, role, digest, seconds, owner)
    users = load(tx)
    before = next((user for user in users if user.name == name), None)
    if any(user.token_digest == digest for user in users):
        raise ValidationError("token_digest: this token was given before; make another one", field="token_digest")
    expire_us = tx.now_us + seconds * 1_000_000 if seconds else None
    if before is None:
        key = max([OWNER_KEY, *(user.key for user in users)]) + 1
        user = User(key, name, role, digest, tx.now_us, tx.now_us, expire_us, None)
        tx.sql.insert("site_user", _COLUMNS, [[getattr(user, column) for column in _COLUMNS]])
    else:
        user = User(before.key, name, role, digest, before.create_us, tx.now_us, expire_us, None)
        text = """UPDATE site_user SET role = :role, token_digest = :digest, token_us = :token, expire_us = :expire,
                  drop_us = NULL WHERE key = :key"""
        tx.sql.run(text, role=role, digest=digest, token=tx.now_us, expire=expire_us, key=user.key)
    return user, before is not None and not before.problem(tx.now_us)


def _check(name: str, role: int, digest: bytes, seconds: int, owner: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValidationError(
            f"name = {name[:80]!r}: must be of letters, digits and . _ - @, begin with a letter, digit or _, and have "
            "at most 64 of them",
            field="name",
        )
    if name == owner:
        raise ValidationError(f"name = {name!r}: is the owner of the site, whose token is in the site", field="name")
    if role not in (MEMBER, VIEWER):
        raise ValidationError(f"role = {role}: must be MEMBER or VIEWER", field="role")
    if len(digest) != DIGEST_BYTES:
        raise ValidationError(f"token_digest has {len(digest)} bytes; a SHA-256 has 32", field="token_digest")
    if not 0 <= seconds <= MOST_SECONDS:
        raise ValidationError(
            f"expire_seconds = {seconds}: must be a number from 0 to {MOST_SECONDS}", field="expire_seconds"
        )


def drop(tx: Tx, name: str) -> tuple[User, int]:
    """Ends what a user may do; gives the user, and how many of their jobs have not ended.

    Raises:
        NotFound: there is no such user.
        NotAllowed: they were dropped before.
    """
    user = next((user for user in load(tx) if user.name == name), None)
    if user is None:
        raise NotFound(f"there is no user {name[:80]!r}; see `balsam server --list-users`", field="name")
    if user.drop_us is not None:
        raise NotAllowed(f"user {name!r} was dropped before", reason="IN_USE", field="name")
    tx.sql.run("UPDATE site_user SET drop_us = :now WHERE key = :key", now=tx.now_us, key=user.key)
    text = f"SELECT count(*) FROM job WHERE owner_key = :key AND state NOT IN ({_ENDED})"
    ((jobs,),) = tx.sql.run(text, key=user.key)
    return user, int(jobs)
