"""Who may call what: credentials in, a caller out. What is not in the table is denied."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from balsam.errors import NotAllowed, SiteError
from balsam.serving import Caller, user_name
from balsam.site import Site, read_owner_token

OWNER, RUN = "owner", "run"
_BOTH = frozenset({OWNER, RUN})
_OWNER = frozenset({OWNER})
_PREFIX = "/balsam.v1."
_KEY_BYTES = 32

METHODS: dict[str, frozenset[str]] = {
    "SiteService/GetSite": _BOTH,
    "JobService/CreateJobs": _BOTH,
    "JobService/GetJob": _BOTH,
    "JobService/ListJobs": _BOTH,
    "JobService/CountJobs": _BOTH,
    "JobService/UpdateJobs": _BOTH,
    "JobService/UpdateMatchingJobs": _BOTH,
    "JobService/SetJobState": _BOTH,
    "JobService/KillJobs": _BOTH,
    "JobService/DeleteJobs": _BOTH,
    "JobService/ChangeDependencies": _BOTH,
    "ApplicationService/CreateApplication": _OWNER,
    "ApplicationService/GetApplication": _BOTH,
    "ApplicationService/ListApplications": _BOTH,
    "ApplicationService/UpdateApplication": _OWNER,
    "ApplicationService/DeleteApplication": _OWNER,
    "LaunchService/CreateLaunch": _OWNER,
    "LaunchService/GetLaunch": _BOTH,
    "LaunchService/ListLaunches": _BOTH,
    "LaunchService/UpdateLaunch": _OWNER,
    "LaunchService/DeleteLaunch": _OWNER,
    "EventService/ListEvents": _BOTH,
    "EventService/WatchEvents": _BOTH,
    "SessionService/OpenSession": _OWNER,
    "SessionService/RenewSession": _OWNER,
    "SessionService/CloseSession": _OWNER,
    "SessionService/ListSessions": _BOTH,
    "SessionService/RegisterRules": _OWNER,
    "SessionService/Work": _OWNER,
    "SessionService/RecoverReports": _OWNER,
    "ArchiveService/ExportJobs": _OWNER,
    "ArchiveService/ImportJobs": _OWNER,
    "ArchiveService/RemoveArchivedJobs": _OWNER,
}
"""Method -> roles that may call it; a test holds it against the protos."""

_ROLES = {_PREFIX + method: roles for method, roles in METHODS.items()}


class RunTokens:
    """The credential of each run and script: made from the site's key and the lease, and dead with the lease.

    Nothing is stored for them: ``run.KEY.FENCE.MAC`` proves itself, and is good while job KEY is leased under FENCE.
    """

    def __init__(self, key: bytes) -> None:
        # Keyed BLAKE2 is a MAC by itself, and takes a third of the time of HMAC; its key has at most 64 bytes.
        self._keyed = hashlib.blake2b(key=hashlib.sha256(key).digest(), digest_size=_KEY_BYTES)
        self.live: dict[int, tuple[int, str]] = {}
        """Leases that are held now: key -> (fence, job id). Kept in the loop."""

    def make(self, key: int, fence: int) -> str:
        """The token of a lease."""
        return f"run.{key}.{fence}.{self._mac(key, fence)}"

    def job_id(self, token: str) -> str:
        """The job whose run or script has this token; ``""`` if it is none, or has ended."""
        lease = self.lease(token)
        live = self.live.get(lease[0]) if lease else None
        return live[1] if lease and live and live[0] == lease[1] else ""

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


def authorizer(site: Site, tokens: RunTokens) -> Callable[[str, str], Caller]:
    """Decides who calls and whether they may."""
    owner_digest = hashlib.sha256(read_owner_token(site).encode()).digest()
    user = user_name()

    def authorize(method: str, token: str) -> Caller:
        if token.startswith("run."):
            job_id = tokens.job_id(token)
            if not job_id:
                raise NotAllowed("the run or script that this token was given to has ended", reason="UNAUTHENTICATED")
            caller = Caller(user=user, role=RUN, job_id=job_id)
        elif hmac.compare_digest(hashlib.sha256(token.encode()).digest(), owner_digest):
            caller = Caller(user=user, role=OWNER)
        else:
            raise NotAllowed("no valid token for this site", reason="UNAUTHENTICATED")
        check_role(caller, method)
        return caller

    return authorize


def check_role(caller: Caller, method: str) -> None:
    """Raises NotAllowed if the role of a caller may not call a method."""
    if caller.role not in _ROLES.get(method, ()):
        raise NotAllowed(f"{method.removeprefix(_PREFIX)} is not allowed to a {caller.role} token")


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
