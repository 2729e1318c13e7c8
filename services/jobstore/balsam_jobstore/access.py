"""Who may call what: credentials in, a caller out. What is not in the table is denied."""

from __future__ import annotations

import enum
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

from balsam.errors import NotAllowed, SiteError
from balsam.serving import CALLER, Caller
from balsam.site import Site, read_owner_token
from balsam_jobstore.database import now_us
from balsam_jobstore.users import MEMBER as MEMBER_NUMBER
from balsam_jobstore.users import TOKEN_PREFIX, Users

DENIED = "PERMISSION_DENIED"
"""Reason of a NotAllowed, and of the refusal of an item, that a caller may not do what they ask."""
OWNER, MEMBER, VIEWER, RUN = "owner", "member", "viewer", "run"
_PREFIX = "/balsam.v1."
_KEY_BYTES = 32


class Check(enum.Enum):
    """What a call is about that may be somebody else's. The owner of the site may do everything with all of it; others
    with their own. `rights` makes the comparison, in the transaction that does what is asked."""

    NOTHING = "nothing"
    """It is about nothing that has an owner, or reads what all may read."""
    READ_JOBS = "read jobs"
    """A run or script reads the jobs of its own user."""
    NEW_JOBS = "new jobs"
    """They are the caller's; what they name (application, launch, parents) must be open to them."""
    JOBS = "jobs"
    """Each of them, and what the new values name. A run's are those of its workflow, those that it has added, and what
    descends from both."""
    APPLICATION = "application"
    LAUNCH = "launch"
    OUTPUT = "output"
    """Of a job of one's own; a run reads those of its own user."""
    SESSION = "session"
    """Also what it names: its launch, and whose jobs it takes."""


@dataclass(frozen=True)
class Rule:
    """Who may call a method, and what is compared then."""

    roles: frozenset[str]
    check: Check = Check.NOTHING


_ALL = frozenset({OWNER, MEMBER, VIEWER, RUN})
_ADDING = frozenset({OWNER, MEMBER, RUN})
_PEOPLE = frozenset({OWNER, MEMBER})
_OWNER = Rule(frozenset({OWNER}))
_READ = Rule(_ALL)
_READ_JOBS = Rule(_ALL, Check.READ_JOBS)
_CHANGE_JOBS = Rule(_ADDING, Check.JOBS)
_SESSION = Rule(_PEOPLE, Check.SESSION)

METHODS: dict[str, Rule] = {
    "SiteService/GetSite": _READ,
    "JobService/CreateJobs": Rule(_ADDING, Check.NEW_JOBS),
    "JobService/GetJob": _READ_JOBS,
    "JobService/ListJobs": _READ_JOBS,
    "JobService/CountJobs": _READ_JOBS,
    "JobService/UpdateJobs": _CHANGE_JOBS,
    "JobService/UpdateMatchingJobs": _CHANGE_JOBS,
    "JobService/SetJobState": _CHANGE_JOBS,
    "JobService/KillJobs": _CHANGE_JOBS,
    "JobService/DeleteJobs": _CHANGE_JOBS,
    "JobService/ChangeDependencies": _CHANGE_JOBS,
    "ApplicationService/CreateApplication": Rule(_PEOPLE),
    "ApplicationService/GetApplication": _READ,
    "ApplicationService/ListApplications": _READ,
    "ApplicationService/UpdateApplication": Rule(_PEOPLE, Check.APPLICATION),
    "ApplicationService/DeleteApplication": Rule(_PEOPLE, Check.APPLICATION),
    "LaunchService/CreateLaunch": Rule(_PEOPLE),
    "LaunchService/GetLaunch": _READ,
    "LaunchService/ListLaunches": _READ,
    "LaunchService/UpdateLaunch": Rule(_PEOPLE, Check.LAUNCH),
    "LaunchService/DeleteLaunch": Rule(_PEOPLE, Check.LAUNCH),
    "EventService/ListEvents": _READ_JOBS,
    "EventService/WatchEvents": _READ_JOBS,
    "SessionService/OpenSession": _SESSION,
    "SessionService/RenewSession": _SESSION,
    "SessionService/CloseSession": _SESSION,
    "SessionService/ListSessions": _READ,
    "SessionService/RegisterRules": _OWNER,
    "SessionService/Work": _SESSION,
    "SessionService/RecoverReports": _SESSION,
    "OutputService/ReadOutput": Rule(_ADDING, Check.OUTPUT),
    "OutputService/SendOutput": _SESSION,
    "ArchiveService/ExportJobs": _OWNER,
    "ArchiveService/ImportJobs": _OWNER,
    "ArchiveService/RemoveArchivedJobs": _OWNER,
    "UserService/AddUser": _OWNER,
    "UserService/DropUser": _OWNER,
    "UserService/ListUsers": _OWNER,
    "UserService/ListConnections": _OWNER,
    "UserService/ListAuditEntries": _OWNER,
}
"""Method -> who may call it, and what is compared; a test holds it against the protos, and each rule against calls."""

_ROLES = {_PREFIX + method: rule.roles for method, rule in METHODS.items()}


class RunTokens:
    """The credential of each run and script: made from the site's key and the lease, and dead with the lease.

    Nothing is stored for them: ``run.KEY.FENCE.MAC`` proves itself, and is good while job KEY is leased under FENCE.
    """

    def __init__(self, key: bytes) -> None:
        # Keyed BLAKE2 is a MAC by itself, and takes a third of the time of HMAC; its key has at most 64 bytes.
        self._keyed = hashlib.blake2b(key=hashlib.sha256(key).digest(), digest_size=_KEY_BYTES)
        self.live: dict[int, tuple[int, str, int]] = {}
        """Leases that are held now: key -> (fence, job id, key of the job's owner). Kept in the loop."""

    def make(self, key: int, fence: int) -> str:
        """The token of a lease."""
        return f"run.{key}.{fence}.{self._mac(key, fence)}"

    def job_id(self, token: str) -> str:
        """The job whose run or script has this token; ``""`` if it is none, or has ended."""
        job = self.job(token)
        return job[1] if job else ""

    def job(self, token: str) -> tuple[int, str, int] | None:
        """(key, id, key of the owner) of the job whose run or script has this token; None: it is none, or has ended."""
        lease = self.lease(token)
        live = self.live.get(lease[0]) if lease else None
        return (lease[0], live[1], live[2]) if lease and live and live[0] == lease[1] else None

    def lease(self, token: str) -> tuple[int, int] | None:
        """(key, fence) of the lease, ended or not, that a token was made for; None: it is none of ours."""
        parts = token.split(".")
        if len(parts) != 4 or not (parts[1].isdecimal() and parts[2].isdecimal()) or len(token) > 200:
            return None
        key, fence = int(parts[1]), int(parts[2])
        return (key, fence) if hmac.compare_digest(parts[3].encode(), self._mac(key, fence).encode()) else None

    def _mac(self, key: int, fence: int) -> str:
        mac = self._keyed.copy()
        mac.update(b"%d.%d" % (key, fence))
        return mac.hexdigest()


def authorizer(site: Site, tokens: RunTokens, users: Users) -> Callable[[str, str], Caller]:
    """Decides who calls and whether they may.

    What it gives may be called in any thread; it raises NotAllowed for a token that is not valid, or not enough.
    """
    owner_digest = hashlib.sha256(read_owner_token(site).encode()).digest()
    owner = Caller(user=users.owner, role=OWNER)

    def authorize(method: str, token: str) -> Caller:
        if token.startswith("run."):
            job = tokens.job(token)
            if job is None:
                raise NotAllowed("the run or script that this token was given to has ended", reason="UNAUTHENTICATED")
            caller = run_caller(users, *job)
        elif hmac.compare_digest(hashlib.sha256(token.encode()).digest(), owner_digest):
            caller = owner
        else:
            caller = _user_caller(users, token)
        CALLER.set(caller)  # who is refused by their role is known all the same
        check_role(caller, method)
        return caller

    return authorize


def _user_caller(users: Users, token: str) -> Caller:
    user = users.of_token(token) if token.startswith(TOKEN_PREFIX) else None
    if user is None:
        raise NotAllowed(
            "no valid token for this site: it is wrong, or was replaced by a newer one", reason="UNAUTHENTICATED"
        )
    problem = user.problem(now_us())
    if problem:
        raise NotAllowed(problem, reason="UNAUTHENTICATED")
    return Caller(user=user.name, role=MEMBER if user.role == MEMBER_NUMBER else VIEWER, user_key=user.key)


def run_caller(users: Users, job_key: int, job_id: str, owner_key: int) -> Caller:
    """The run or script of a job as a caller.

    Raises:
        NotAllowed: the job's owner may not use the site any more.
    """
    if users.is_dropped(owner_key):
        raise NotAllowed("the user whose job this is may not use the site any more", reason="UNAUTHENTICATED")
    return Caller(user=users.name(owner_key), role=RUN, job_id=job_id, user_key=owner_key, job_key=job_key)


def check_role(caller: Caller, method: str) -> None:
    """Raises NotAllowed if the role of a caller may not call a method."""
    if caller.role not in _ROLES.get(method, ()):
        raise denied(f"{method.removeprefix(_PREFIX)} is not allowed to a {caller.role} token")


def denied(message: str, field: str = "") -> NotAllowed:
    """The error for what a caller may not do."""
    return NotAllowed(message, reason=DENIED, field=field)


def read_key(site: Site) -> bytes:
    """The site's secret key.

    Raises:
        SiteError: the file is damaged.
    """
    file = site.credentials / "site.key"
    try:
        key = bytes.fromhex(file.read_text().strip())
    except ValueError:
        key = b""
    if len(key) < _KEY_BYTES:
        raise SiteError(
            f"{file} is damaged: restore it, or write {2 * _KEY_BYTES} random hexadecimal digits to it"
            " (runs that are under way lose their access)"
        )
    return key
