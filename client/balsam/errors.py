"""Everything that Balsam raises on purpose.

    BalsamError
    |-- ValidationError         a value is wrong (also a ValueError)
    |   |-- InvalidStateError       a move that the state graph does not allow
    |   `-- InvalidParentsError     parents that do not exist, or a cycle
    |-- NotFound                no such job, application, launch or session
    |-- MultipleObjectsReturned more than one where one was asked for
    |-- Conflict                somebody else changed it first, or the name is taken
    |-- NotAllowed              the credential does not permit it, or now is not the time
    |-- Unavailable             did not arrive: services not running, unreachable, timed out
    |-- SiteError               no site, or one that cannot be used
    `-- TaskFailed              the job behind a future did not finish

Every message names the value and what to do next.
"""

from __future__ import annotations


class BalsamError(Exception):
    """Base of all errors that Balsam raises on purpose.

    Attributes:
        reason: stable name of the cause, the same in gRPC's ``ErrorInfo``.
        field: name of the field at fault, or ``""``.
    """

    reason = "ERROR"

    def __init__(self, message: str = "", *, reason: str = "", field: str = "") -> None:
        super().__init__(message)
        self.reason = reason or type(self).reason
        self.field = field


class ValidationError(BalsamError, ValueError):
    """A value is wrong; nothing was written."""

    reason = "INVALID_VALUE"


class InvalidStateError(ValidationError):
    """A move between states that the graph does not allow."""

    reason = "INVALID_STATE"


class InvalidParentsError(ValidationError):
    """Parents that do not exist, or that would close a cycle."""

    reason = "INVALID_PARENTS"


class NotFound(BalsamError):
    """No such object. ``BalsamJob.DoesNotExist`` is below it."""

    reason = "NOT_FOUND"


class MultipleObjectsReturned(BalsamError):
    """More than one object where one was asked for."""

    reason = "MULTIPLE_OBJECTS"


class Conflict(BalsamError):
    """Somebody else was first: a changed revision, a lost lease, a name that is taken."""

    reason = "CONFLICT"


class NotAllowed(BalsamError):
    """The credential does not permit it, or the state of things does not."""

    reason = "NOT_ALLOWED"


class Unavailable(BalsamError):
    """The call did not arrive: services not running, unreachable, or too slow to answer."""

    reason = "UNAVAILABLE"


class ResourceExhausted(Unavailable):
    """The service is at a limit: a message too large, too many calls, no room on the disk."""

    reason = "RESOURCE_EXHAUSTED"


class SiteError(BalsamError):
    """There is no site, or it cannot be used."""

    reason = "NO_SITE"


class TaskFailed(BalsamError):
    """The job behind a future ended without finishing."""

    reason = "TASK_FAILED"
