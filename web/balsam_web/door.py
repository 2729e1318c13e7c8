"""Who may come in: a link that works once, and then a cookie together with a key.

A browser sends a cookie to every port of a host, so to servers of others on this machine too. What the page keeps in
its local storage belongs to one port. Neither is worth anything alone.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
_MOST_VISITORS = 100


@dataclass(frozen=True, slots=True)
class Visitor:
    """A browser that was let in: the value of its cookie, and the key that its page sends beside that."""

    cookie: str
    key: str


def is_loopback(host: str) -> bool:
    """Whether a Host header names the loopback of a machine, at whatever port: an SSH tunnel may have another one.

    A page of somebody else whose name was made to point here (DNS rebinding) has that name in its calls.
    """
    name, colon, port = host.rpartition(":")
    if colon and port.isdecimal():
        host = name
    return host.lower() in _LOOPBACK


def is_same_origin(origin: str, host: str) -> bool:
    """Whether an Origin header is that of the page that this server gives under this Host header."""
    return origin == f"http://{host}"


class Door:
    """Lets browsers in, each by a link of its own.

    Args:
        used: told when the link has been used, and is another one now.
    """

    def __init__(self, used: Callable[[], None] = lambda: None) -> None:
        self._used = used
        self._visitors: dict[str, Visitor] = {}
        self.token = secrets.token_urlsafe(32)
        """What the next link lets in by."""

    def admit(self, token: str) -> Visitor | None:
        """Lets the bearer of the link in, once; None: it is not that."""
        if not _equal(token, self.token):
            return None
        self.token = secrets.token_urlsafe(32)
        visitor = Visitor(secrets.token_urlsafe(32), secrets.token_urlsafe(32))
        self._visitors[visitor.cookie] = visitor
        while len(self._visitors) > _MOST_VISITORS:
            del self._visitors[next(iter(self._visitors))]
        self._used()
        return visitor

    def knows(self, cookie: str, key: str) -> bool:
        """Whether a call comes from a page that was let in."""
        # A lookup by a random text of 256 bits tells nothing by its time; the key is compared in constant time.
        visitor = self._visitors.get(cookie)
        return visitor is not None and _equal(key, visitor.key)


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="replace"), other.encode(errors="replace"))
