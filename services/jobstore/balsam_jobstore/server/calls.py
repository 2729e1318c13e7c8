"""Calls that change something: each is carried out once, however often its request comes."""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Generic, NoReturn, TypeVar

from google.protobuf.message import Message

from balsam.errors import BalsamError, Unavailable, ValidationError
from balsam.fields import check_id
from balsam.serving import CALLER
from balsam_jobstore.auditing import THE_OWNER, By
from balsam_jobstore.requests import Once, OtherRequest, Request
from balsam_jobstore.rights import by_of
from balsam_jobstore.store import Store
from balsam_jobstore.tx import Tx

M = TypeVar("M", bound=Message)
T = TypeVar("T")

_AT_ONCE = 500


class Call(Generic[M]):
    """One call.

    Args:
        store: what is asked.
        request: what is asked for; of a stream, its first message.
        answer: the kind of the answer.

    Raises:
        ValidationError: `request_id` is not a UUID.
    """

    def __init__(self, store: Store, request: Message, answer: type[M]) -> None:
        caller = CALLER.get()
        self._by = by_of(caller)
        self._store = store
        self._answer = answer
        self._id = _request_id(request.request_id)  # type: ignore[attr-defined]
        self._method = request.DESCRIPTOR.name.removesuffix("Request")
        self._caller = f"{caller.user} {caller.job_id}".strip()
        self._content = hashlib.blake2b(digest_size=16)
        self.add(request)

    @property
    def is_remembered(self) -> bool:
        """Whether it can be known again."""
        return bool(self._id)

    def empty(self) -> M:
        """An answer to which those of parts are added."""
        return self._answer()

    def add(self, message: Message) -> None:
        """Takes a message as (more) content of the request."""
        if self._id:
            self._content.update(message.SerializeToString(deterministic=True))

    async def once(
        self, command: Callable[[Tx], M], part: int = 0, refuse: Callable[[BalsamError], M] | None = None
    ) -> M:
        """The answer of a command that is the whole request, or a part of it: with `refuse`, one that may be refused
        by itself.

        Raises:
            BalsamError: why it was not done.
        """
        answer, _ = await self.step(part, lambda tx: (command(tx), None), refuse)
        return answer

    async def step(
        self,
        part: int,
        command: Callable[[Tx], tuple[M, int | None]],
        refuse: Callable[[BalsamError], M] | None = None,
    ) -> tuple[M, int | None]:
        """The answer of a command that is a part of the request, and where the next one goes on (None: nowhere).

        Raises:
            BalsamError: why it was not done.
        """
        if self._by is not THE_OWNER:
            command = _in_name(self._by, command)
        request = Request(self._id, self._method, self._caller, self._content.digest())
        answer = await self._store.requests.once(Once(request, part, command, _pack, refuse))
        message = self._answer()
        if answer.result is not None:
            message.CopyFrom(answer.result)
        else:
            message.ParseFromString(answer.content)
        return message, answer.next


def _in_name(by: By, command: Callable[[Tx], tuple[M, int | None]]) -> Callable[[Tx], tuple[M, int | None]]:
    def run(tx: Tx) -> tuple[M, int | None]:
        with tx.acting(by):
            return command(tx)

    return run


def total(answer: M, part: M) -> M:
    """Adds the answer of a part of a request to that of the parts before: counts and lists."""
    for field, value in part.ListFields():
        if isinstance(value, int):
            setattr(answer, field.name, getattr(answer, field.name) + value)
        else:
            getattr(answer, field.name).extend(value)
    return answer


async def one_by_one(
    call: Call[M],
    items: Sequence[T],
    command: Callable[[T], Callable[[Tx], M]],
    refuse: Callable[[int, BalsamError], M],
) -> M:
    """Does each item by itself, in order, in as few commits as may be.

    Args:
        call: the request, of which each item is a part.
        items: what to do.
        command: makes the command of an item; may refuse it.
        refuse: the answer of an item that is refused.

    Raises:
        Unavailable: some could not be done.
    """

    async def one(part: int) -> M:
        try:
            return await call.once(_made(command, items[part]), part, functools.partial(refuse, part))
        except (Unavailable, OtherRequest):
            raise
        except BalsamError as error:
            return refuse(part, error)

    answer = call.empty()
    # The first by itself: if it was the first of another request, the others must not be done.
    start, end = 0, 1 if call.is_remembered else _AT_ONCE
    while start < len(items):
        parts = range(start, min(end, len(items)))
        for done in await asyncio.gather(*map(one, parts), return_exceptions=True):
            if isinstance(done, BaseException):
                raise done
            total(answer, done)
        start, end = end, end + _AT_ONCE
    return answer


def _made(command: Callable[[T], Callable[[Tx], M]], item: T) -> Callable[[Tx], M]:
    """The command of an item; of one that is refused already, one that says so."""
    try:
        return command(item)
    except BalsamError as error:
        refusal = error

        def refuse(tx: Tx) -> NoReturn:
            raise refusal

        return refuse


def _pack(message: Message) -> bytes:
    return message.SerializeToString()


def _request_id(text: str) -> str:
    try:
        return check_id(text) if text else ""
    except ValidationError:
        raise ValidationError(
            f"request_id = {text!r}: must be a UUID that the client makes, another one for each request",
            field="request_id",
        ) from None
