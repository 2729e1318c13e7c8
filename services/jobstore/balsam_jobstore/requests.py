"""Requests that come again: each is carried out once, and what was answered is answered again.

Who lost the line does not know whether what was asked for has been done, and asks again with the same id. So the answer
is a row, written by the transaction that does what is asked, and unique: done twice, the transaction fails, and the
answer of the first time is looked up. Nobody looks before: a request that comes for the first time, as nearly all do,
costs a row in a statement that the whole group shares.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from balsam.errors import BalsamError, ValidationError

if TYPE_CHECKING:
    from balsam_jobstore.tx import Tx

KEEP_SECONDS = 3600.0
"""How long an answer is kept at least, unless there are too many [s]."""
MOST_KEPT = 500_000
"""Of more answers than these the oldest are dropped before their time."""
MARK_SECONDS = 30.0
_MOST_DROPPED = 2000
_MOST_RECENT = 4000
_MOST_RECENT_BYTES = 4000
_COLUMNS = ("request_id", "part", "method", "caller", "digest", "answer", "next")


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked, and by whom."""

    request_id: str
    """Made by the client; empty: the request is not remembered."""
    method: str
    caller: str
    digest: bytes
    """Of the content."""


@dataclass(slots=True)
class Answer:
    """What became of (a part of) a request."""

    request: Request
    part: int
    result: Any = None
    """What the command gave, if it was run now."""
    content: bytes = b""
    """The same, packed; there as soon as it is durable."""
    next: int | None = None
    """Where the next part goes on; None: this is the last."""

    def to(self, request: Request) -> Answer:
        """This answer, for somebody who asks again.

        Raises:
            OtherRequest: what they ask is not the same.
        """
        if request != self.request:
            raise OtherRequest(
                f"request_id = {request.request_id}: was used for another {self.request.method} before; "
                "make a new one for each request",
                field="request_id",
            )
        return self


class OtherRequest(ValidationError):
    """The id of a request was used for another one."""


class Repeated(BalsamError):
    """The transaction does what has been done before."""


class Once:
    """A command that is carried out once, however often its request comes.

    Args:
        request: what was asked.
        part: of a request that takes several transactions, which of them.
        command: gives the result, and where the next part goes on.
        pack: makes bytes of a result.
        refuse: for an item of a list, makes a result of the error that refuses it. What follows it in the list is done
            knowing that it was not, so that is remembered as well. None: an error is nothing to remember.
    """

    def __init__(
        self,
        request: Request,
        part: int,
        command: Callable[[Tx], tuple[Any, int | None]],
        pack: Callable[[Any], bytes],
        refuse: Callable[[BalsamError], Any] | None = None,
    ) -> None:
        self.request = request
        self.key = (request.request_id, part)
        self.pack = pack
        self._command = command
        self._refuse = refuse

    @property
    def is_remembered(self) -> bool:
        """Whether the request can be known again."""
        return bool(self.request.request_id)

    def __call__(self, tx: Tx) -> Answer:
        """Carries it out, unless the same request is part of this transaction already."""
        if self.key in tx.answers:
            return tx.answers[self.key][1].to(self.request)
        answer = Answer(self.request, self.key[1])
        answer.result, answer.next = self._command(tx)
        if self.is_remembered:
            tx.answers[self.key] = (self, answer)
        return answer

    def recall(self, error: Exception, tx: Tx) -> Answer | None:
        """The answer of before, for a command that has failed now; None: there was none, and there is none.

        Raises:
            OtherRequest: another request had this id.
        """
        request_id, part = self.key
        text = "SELECT method, caller, digest, answer, next FROM request WHERE request_id = :id AND part = :part"
        for method, caller, digest, content, following in tx.sql.run(text, id=request_id, part=part):
            known = Request(request_id, method, caller, bytes(digest))
            return Answer(known, part, content=bytes(content), next=following).to(self.request)
        if self._refuse is None or not isinstance(error, BalsamError):
            return None
        answer = Answer(self.request, part, self._refuse(error))
        tx.answers[self.key] = (self, answer)
        return answer


def write(tx: Tx) -> None:
    """Writes what a transaction answers, last of all.

    Raises:
        Repeated: something of it was answered before.
    """
    if not tx.answers:
        return
    rows = []
    for (request_id, part), (once, answer) in tx.answers.items():
        answer.content = once.pack(answer.result)
        request = answer.request
        rows.append((request_id, part, request.method, request.caller, request.digest, answer.content, answer.next))
    if tx.sql.insert_new("request", _COLUMNS, rows) < len(rows):
        raise Repeated("this has been done before")


class Requests:
    """Asks the writer, and remembers the last answers. Lives in the loop."""

    def __init__(self, do: Callable[[Callable[[Tx], Any]], Awaitable[Any]]) -> None:
        self._do = do
        self._recent: OrderedDict[tuple[str, int], Answer] = OrderedDict()
        self._marks: deque[tuple[float, int]] = deque()
        """(when, the newest answer then), by `time.monotonic()`."""
        self._is_new = True
        self._next_mark = 0.0
        self._drop_to = self._dropped = 0

    async def once(self, once: Once) -> Answer:
        """Has a request carried out, or gives the answer that it had before.

        Raises:
            BalsamError: why it was not done; that is not remembered.
            OtherRequest: another request had this id.
        """
        known = self._recent.get(once.key)
        if known is not None:
            return known.to(once.request)
        answer: Answer = await self._do(once)
        if once.is_remembered:
            self._is_new = True
            if len(answer.content) <= _MOST_RECENT_BYTES:
                self._recent[once.key] = replace(answer, result=None)
                if len(self._recent) > _MOST_RECENT:
                    self._recent.popitem(last=False)
        return answer

    async def drop_old(self) -> None:
        """Drops answers that are old enough, some thousand a transaction; asks no database where nothing has come.

        Only time that this process has seen go by counts: a clock that jumps makes nothing old, nor does a restart.

        Raises:
            BalsamError: why it could not.
        """
        if self._is_new and time.monotonic() >= self._next_mark:
            self._is_new = False
            self._next_mark = time.monotonic() + MARK_SECONDS
            try:
                newest = await self._do(_newest)
            except BalsamError:
                self._is_new = True
                raise
            self._marks.append((time.monotonic(), newest))
            self._drop_to = max(self._drop_to, newest - MOST_KEPT)
        while self._marks and self._marks[0][0] <= time.monotonic() - KEEP_SECONDS:
            self._drop_to = max(self._drop_to, self._marks.popleft()[1])
        while self._dropped < self._drop_to:
            if await self._do(lambda tx: _drop(tx, self._drop_to)) < _MOST_DROPPED:
                self._dropped = self._drop_to


def _newest(tx: Tx) -> int:
    return int(tx.sql.run("SELECT max(key) FROM request")[0][0] or 0)


def _drop(tx: Tx, to: int) -> int:
    # The newest stays: SQLite would give its key to the next one.
    text = """DELETE FROM request WHERE key IN (SELECT key FROM request WHERE key <= :to
              AND key < (SELECT max(key) FROM request) ORDER BY key LIMIT :most) RETURNING key"""
    return len(tx.sql.run(text, to=to, most=_MOST_DROPPED))
