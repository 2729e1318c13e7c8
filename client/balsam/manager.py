"""What ``BalsamJob.objects`` gives, and that of other classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from balsam.errors import NotAllowed
from balsam.queryset import QuerySet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balsam.model import Model

M = TypeVar("M", bound="Model")


class Manager(QuerySet[M]):
    """Where queries start: all objects of a class. It keeps no rows."""

    def __iter__(self) -> Iterator[M]:
        return iter(self.all())

    def _fetched(self) -> Any:
        return self.all()._fetched()

    def delete(self) -> tuple[int, dict[str, int]]:
        """Refused, as in Django: nobody should delete everything by leaving out a filter.

        Raises:
            NotAllowed: always.
        """
        raise NotAllowed(f"to delete every {self.model._kind}, say objects.all().delete()")

    def __repr__(self) -> str:
        return f"<objects of {self.model.__name__}>"
