"""``QueuedLaunch``: a launch of a batch system as an object."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from balsam import errors
from balsam.errors import NotFound
from balsam.fields import LAUNCH_FIELDS
from balsam.model import give_attributes
from balsam.record import Record

if TYPE_CHECKING:
    from balsam.launch_calls import LaunchCalls


class QueuedLaunch(Record):
    """A launcher that a batch system starts, from before its submission until after its end.

    The fields are those of `balsam.fields.LAUNCH_FIELDS`; `launch_id` is given by the store. Jobs whose `queued_launch`
    it is are run by its launcher only, until it is over or deleted. To store one submits nothing.
    """

    __slots__ = ()

    _kind = "QueuedLaunch"
    _table = LAUNCH_FIELDS
    _default_order = ("launch_id",)

    class DoesNotExist(NotFound):
        """There is no such launch."""

    class MultipleObjectsReturned(errors.MultipleObjectsReturned):
        """More than one launch where one was asked for."""

    _missing = DoesNotExist

    launch_id: int | None
    scheduler_id: str
    project: str
    queue: str
    nodes: int
    wall_minutes: int
    job_mode: str
    wf_filter: str
    sched_flags: str
    command: str
    state: str
    prescheduled_only: bool
    from_balsam: bool
    owner: str
    create_time: datetime | None
    revision: int
    message: str
    batch_system: str

    def __repr__(self) -> str:
        return f"<{self._kind} {self.launch_id or 'not stored'} {self.state}>"

    @property
    def id(self) -> int | None:
        """The identity, as scripts of Balsam 0.x name it; None before it is stored."""
        return self.launch_id

    @classmethod
    def _calls(cls) -> LaunchCalls:
        return cls._client().launches


give_attributes(QueuedLaunch, {})
