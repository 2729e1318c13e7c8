"""Calls about what there are few of, and is stored one by one: plain values in, plain values out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from google.protobuf.field_mask_pb2 import FieldMask

from balsam.filters import filter_message, order_messages
from balsam.query import Key, Node

if TYPE_CHECKING:
    from balsam.client import Client

Values = dict[str, Any]


class RecordCalls:
    """The job store's service for one kind of resource; its methods and messages are named by the rule."""

    _noun: ClassVar[str]
    _plural: ClassVar[str]
    _identity: ClassVar[str]
    """The field by which requests name one."""
    _messages: ClassVar[ModuleType]
    """Where the requests are."""
    _stub: ClassVar[Any]

    def __init__(self, client: Client) -> None:
        self._client = client

    @staticmethod
    def _message(values: Mapping[str, Any]) -> Any:
        raise NotImplementedError

    @staticmethod
    def _values(message: Any) -> Values:
        raise NotImplementedError

    def _call(self, verb: str, noun: str, **request: Any) -> Any:
        method = f"{verb}{noun}"
        return self._client.call(self._stub, method, getattr(self._messages, f"{method}Request")(**request))

    def create(self, values: Mapping[str, Any]) -> Values:
        """Stores a new one; returns all its fields. Raises Conflict if its name is taken."""
        return self._values(self._call("Create", self._noun, **{self._noun.lower(): self._message(values)}))

    def get(self, identity: Any) -> Values:
        """One of them. Raises NotFound."""
        return self._values(self._call("Get", self._noun, **{self._identity: identity}))

    def pages(
        self, where: Node, order: Sequence[Key] = (), page_size: int = 0, fields: Iterable[str] | None = None
    ) -> Iterator[list[Values]]:
        """Those that match, page by page, with all their fields."""
        token = ""
        while True:
            answer = self._call(
                "List",
                self._plural,
                filter=filter_message(where),
                order_by=order_messages(order),
                page_size=page_size,
                page_token=token,
            )
            yield [self._values(message) for message in getattr(answer, self._plural.lower())]
            token = answer.next_page_token
            if not token:
                return

    def update(self, identity: Any, values: Mapping[str, Any], expected_revision: int = 0) -> Values:
        """Changes fields of one; returns all of them.

        Raises:
            Conflict: the revision is not the expected one (0: any is).
        """
        message = self._message({**values, self._identity: identity})
        changed = {self._noun.lower(): message, "expected_revision": expected_revision}
        return self._values(self._call("Update", self._noun, **changed, update_mask=FieldMask(paths=values)))

    def delete(self, identity: Any) -> None:
        """Removes one. Raises NotAllowed while it is needed."""
        self._call("Delete", self._noun, **{self._identity: identity})
