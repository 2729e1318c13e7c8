"""The line to a service: channels, credentials, deadlines, retries, and errors in both directions.

Everything that crosses a process boundary in Balsam goes through here. Channels are made when first used and belong to
the process that made them: an inherited gRPC channel hangs, so a forked child opens its own.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from balsam import errors, failpoints, stores
from balsam.forks import gate
from balsam.ids import new_id
from balsam.site import ENV_JOB_TOKEN, ENV_TOKEN_FILE, Site, read_token
from balsam.version import VERSION

if TYPE_CHECKING:
    import grpc

    from balsam.endpoints import Endpoint

T = TypeVar("T")

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
DEADLINE_SECONDS = 60.0
RETRY_SECONDS = 10.0
"""How long a call is tried again when it did not arrive, for example while services restart."""

CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
)

# Reason in ErrorInfo -> class to raise. What is not here falls back on the status code.
_BY_REASON: Mapping[str, type[errors.BalsamError]] = {
    cls.reason: cls
    for cls in (
        errors.ValidationError,
        errors.InvalidStateError,
        errors.InvalidParentsError,
        errors.NotFound,
        errors.Conflict,
        errors.NotAllowed,
        errors.Unavailable,
        errors.ResourceExhausted,
    )
} | {
    "UNKNOWN_FIELD": errors.ValidationError,
    "UNKNOWN_LOOKUP": errors.ValidationError,
    "CYCLE": errors.InvalidParentsError,
    "ALREADY_EXISTS": errors.Conflict,
    "TOO_LATE": errors.InvalidStateError,
    "IN_USE": errors.NotAllowed,
    "OTHER_VERSION": errors.NotAllowed,
    "PERMISSION_DENIED": errors.NotAllowed,
}

# One table maps errors to gRPC codes (names of grpc.StatusCode), most specific first.
STATUS_CODES: tuple[tuple[type[errors.BalsamError], str], ...] = (
    (errors.InvalidStateError, "FAILED_PRECONDITION"),
    (errors.ValidationError, "INVALID_ARGUMENT"),
    (errors.NotFound, "NOT_FOUND"),
    (errors.Conflict, "ABORTED"),
    (errors.NotAllowed, "PERMISSION_DENIED"),
    (errors.ResourceExhausted, "RESOURCE_EXHAUSTED"),
    (errors.Unavailable, "UNAVAILABLE"),
)

_BY_CODE = {code: cls for cls, code in STATUS_CODES}

ERROR_DOMAIN = "balsam"
NOT_RUNNING = "NOT_RUNNING"
"""Reason of an Unavailable where nobody listens at all, which is more than silence."""

NO_DATABASE = "NO_DATABASE"
"""Reason of an Unavailable where the job store has lost its database, which it looks for again at every call."""

BUSY = "BUSY"
"""Reason of a ResourceExhausted that passes by itself: too much is under way. That of a message that is too large,
or of a full disk, is another."""

UNREACHABLE = "UNREACHABLE"
"""Reason of an Unavailable where the way to a job store over TLS is barred; whether it runs is not known."""

SILENT = "SILENT"
"""Reason of an Unavailable where the process of the service lives on this host, and a line to it gets no answer."""

BAD_CERTIFICATE = "BAD_CERTIFICATE"
"""Reason of a NotAllowed where what answers cannot prove to be the site's."""

OTHER_HOST = "OTHER_HOST"
"""Reason of a SiteError where the services run on another host, and it cannot be reached from here."""

UNAUTHENTICATED = "UNAUTHENTICATED"
"""Reason of a NotAllowed where the credential is not good: wrong, revoked, or expired."""

VERSION_KEY = "balsam-version"
"""Metadata of every call: the version of the caller."""
OTHER_VERSION = "OTHER_VERSION"
"""Reason of a NotAllowed where the two sides are of versions that do not work together."""

_MOST_ERROR_BYTES = 1500
_REFUSED = ("Connection refused", "No such file or directory")
_WORTH_WAITING = frozenset(
    {errors.Unavailable.reason, NOT_RUNNING, SILENT, UNREACHABLE, NO_DATABASE, BUSY, stores.OTHER_STORE}
)
_AWAY = frozenset({NOT_RUNNING, UNREACHABLE})


def error_for(reason: str, message: str, field: str = "", code: str = "") -> errors.BalsamError:
    """The exception for a refusal with this reason; for one that has no class of its own, by the status code."""
    cls = _BY_REASON.get(reason) or _BY_CODE.get(code, errors.BalsamError)
    return cls(message, reason=reason, field=field)


def status_code(error: errors.BalsamError) -> str:
    """Name of the gRPC status code for an error."""
    if error.reason == "ALREADY_EXISTS":
        return "ALREADY_EXISTS"
    if error.reason == "IN_USE":
        return "FAILED_PRECONDITION"
    return next((code for cls, code in STATUS_CODES if isinstance(error, cls)), "FAILED_PRECONDITION")


def pack_error(error: errors.BalsamError) -> bytes:
    """The status details of an error, for the ``grpc-status-details-bin`` trailer."""
    import grpc
    from google.protobuf import any_pb2
    from google.rpc import error_details_pb2, status_pb2

    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN)
    if error.field:
        info.metadata["field"] = error.field[:200]
    packed = any_pb2.Any()
    packed.Pack(info)
    code = getattr(grpc.StatusCode, status_code(error)).value[0]
    status = status_pb2.Status(code=code, message=shortened(str(error)), details=[packed])
    return bytes(status.SerializeToString())


def shortened(text: str) -> str:
    """The text of an error, as long as it may be: gRPC drops answers whose metadata, in which it travels twice and
    once as `%C3%A9` and the like, has more than 8 KiB."""
    data = text.encode(errors="replace")
    if len(data) <= _MOST_ERROR_BYTES:
        return data.decode()
    return data[:_MOST_ERROR_BYTES].decode(errors="ignore") + " ..."


def _too_large(details: str, service: str) -> str:
    """In place of what gRPC says of a message that is too large; empty: it says something else."""
    found = re.search(r"message larger than max \((\d+) vs", details)
    if found is None:
        return ""
    return (
        f"a message to or from {service} has {int(found[1]):,} bytes, and at most {MAX_MESSAGE_BYTES:,} are allowed: "
        "ask for fewer at once, or send fewer (batch_size)"
    )


def unpack_error(error: grpc.RpcError, service: str = "the job store") -> errors.BalsamError:
    """The exception for a failed call."""
    code = error.code().name
    details = error.details() or ""
    trailer: Any = error.trailing_metadata() or ()
    for key, value in trailer:
        if key == "grpc-status-details-bin":
            from google.rpc import error_details_pb2, status_pb2

            status = status_pb2.Status.FromString(value)
            for packed in status.details:
                info = error_details_pb2.ErrorInfo()
                if packed.Unpack(info):
                    return error_for(info.reason, status.message, info.metadata.get("field", ""), code)
    if code == "UNAVAILABLE":
        refused = any(sign in details for sign in _REFUSED)
        return errors.Unavailable(
            f"{service} is not running; start it with `balsam up`", reason=NOT_RUNNING if refused else ""
        )
    if code == "DEADLINE_EXCEEDED":
        return errors.Unavailable(f"{service} did not answer in time; see `balsam status`", reason="DEADLINE")
    if code == "UNAUTHENTICATED":
        return errors.NotAllowed(f"{service} does not accept the credential: {details}", reason="UNAUTHENTICATED")
    if code == "RESOURCE_EXHAUSTED":
        return errors.ResourceExhausted(_too_large(details, service) or details)
    if code == "INVALID_ARGUMENT":
        return errors.ValidationError(details)
    return errors.BalsamError(f"{service} answered {code}: {details}", reason=code)


def is_away(problem: errors.BalsamError) -> bool:
    """Whether nobody listens where a job store was looked for, or it is out of reach."""
    return problem.reason in _AWAY


def identified(request: Any) -> Any:
    """The same request (or what gives the messages of one) with an id of its own, if it takes one and has none."""
    request_id = new_id()
    if callable(request):
        return lambda: _identified_stream(request(), request_id)
    return _identified(request, request_id)


def _identified(message: Any, request_id: str) -> Any:
    if "request_id" not in message.DESCRIPTOR.fields_by_name or message.request_id:
        return message
    copy = type(message)()  # the caller's may be sent again, and is another request then
    copy.CopyFrom(message)
    copy.request_id = request_id
    return copy


def _identified_stream(messages: Iterator[Any], request_id: str) -> Iterator[Any]:
    for number, message in enumerate(messages):
        yield _identified(message, request_id) if number == 0 else message


def metadata(site: Site) -> tuple[tuple[str, str], ...]:
    """The credential and who we are, as call metadata."""
    return (("authorization", f"Bearer {read_token(site)}"), (VERSION_KEY, VERSION))


def aio_channel(site: Site, service: str) -> grpc.aio.Channel:
    """A channel to a job store of a site, for asyncio."""
    import grpc.aio

    endpoint = site.endpoint()
    if endpoint is not None:
        return endpoint.aio_channel(service)
    return grpc.aio.insecure_channel(_own_socket(site, site.address(service)), options=CHANNEL_OPTIONS)


def _own_socket(site: Site, address: str) -> str:
    """The address of a Unix socket, if nobody but us, or the owner of the site, could have put it there.

    Raises:
        SiteError: it is no socket, or its directory is somebody else's, or can be changed by others.
    """
    kind, _, path = address.partition(":")
    if kind != "unix":
        raise errors.SiteError(f"{address} is no Unix socket, and a line without TLS is refused")
    directory = os.path.dirname(path)
    try:
        info = os.lstat(directory)
    except OSError:
        return address  # nobody listens there: the call will say so
    is_ours = info.st_uid == os.getuid() or info.st_uid == _owner_of(site)
    if not is_ours or not stat.S_ISDIR(info.st_mode) or info.st_mode & 0o022:
        raise errors.SiteError(
            f"{directory}, where the sockets of the services are to be, is not yours alone: what listens there may be "
            "somebody else's, and is sent nothing; remove it, or have its owner do so, then `balsam up`"
        )
    return address


def _owner_of(site: Site) -> int:
    """The Unix user whose site it is; -1: there is no such directory here."""
    try:
        return site.path.stat().st_uid
    except OSError:
        return -1


def runs_elsewhere(site: Site, host: str, service: str) -> errors.SiteError:
    """The error where what is wanted can be done on the host of a site's services only."""
    there = "use balsam there"
    if site.endpoint() is None:
        there += f", or have them listen: `balsam server --listen {host}:7443` there"
    text = f"the services of {site.path} run on {host}: {there}"
    gone = f" (if that host is gone for good, remove {site.run / service}.json)"
    return errors.SiteError(text + gone, reason=OTHER_HOST)


def does_not_answer(service: str, pid: int, host: str) -> str:
    """What is said of a service whose process runs and is silent; pid 0: it is not known which process that is."""
    process = f" (pid {pid} on {host})" if pid else ""
    return f"{service}{process} is running, but does not answer; see `balsam log`"


class Connection:
    """A lazily opened channel to one service of a site, and calls over it.

    Where the site has several job stores, one of those that live is asked, and another one when that has gone; with an
    address, that one only. The one that is preferred is asked first.
    """

    def __init__(
        self,
        site: Site,
        service: str = stores.FIRST,
        retry_seconds: float = RETRY_SECONDS,
        address: str = "",
        prefer: str = "",
    ) -> None:
        self.site = site
        self.service = service
        """The one that is asked."""
        self.retry_seconds = retry_seconds
        self._address = address
        self._prefer = prefer
        self._may_turn = service == stores.FIRST and not address
        self._pid = 0
        self._channel: grpc.Channel | None = None
        self._endpoint: Endpoint | None = None
        self._stubs: dict[Any, Any] = {}
        self._metadata: tuple[tuple[str, str], ...] = ()

    def stub(self, make: Callable[[Any], T]) -> T:
        """The stub that `make` (a generated class) gives for this channel."""
        if self._pid != os.getpid():
            failpoints.arm("client")
            self._metadata = metadata(self.site)
            self._open(stores.choose(self.site, prefer=self._prefer) if self._may_turn else self.service)
            self._pid = os.getpid()
        stubs = self._stubs
        if make not in stubs:
            stubs[make] = make(self._channel)
        stub: T = stubs[make]
        return stub

    def _open(self, service: str) -> None:
        import grpc

        self.service = service
        self._endpoint = self.site.endpoint() if stores.is_store(service) else None
        if self._endpoint is not None:
            self._channel = self._endpoint.channel(service)
        else:
            address = _own_socket(self.site, self._address or self.site.address(service))
            self._channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._stubs = {}  # after the channel: another thread may be making one

    def call(self, make: Callable[[Any], Any], method: str, request: Any, timeout: float = DEADLINE_SECONDS) -> Any:
        """Calls a method; tries again while the service cannot be reached, or has too much to do.

        Every call of ours may be repeated: what changes something bears an id, the same one each time, by which the job
        store knows it again.

        Args:
            make: the generated stub class.
            method: the rpc.
            request: a message; of a stream, what gives its messages, each time anew.
            timeout: of each try [s].

        Raises:
            BalsamError: what the service said, or Unavailable.
        """
        import grpc

        request = identified(request)
        give_up = time.monotonic() + self.retry_seconds
        delay = 0.02
        tried: set[str] = set()
        while True:
            try:
                with gate.passage():
                    callee = getattr(self.stub(make), method)
                    answer = callee(
                        request() if callable(request) else request, timeout=timeout, metadata=self._metadata
                    )
                    failpoints.hit("client.before-answer", failpoints.as_broken_call)
                    return answer
            except grpc.RpcError as error:
                problem = self.explained(error)
                if self._turn(problem, tried):
                    continue
                if problem.reason not in _WORTH_WAITING or time.monotonic() + delay > give_up or not self._expected():
                    raise problem from None
            import random

            tried.clear()
            time.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, 0.5)

    def explained(self, error: grpc.RpcError) -> errors.BalsamError:
        """The exception for a call that failed, and what is behind it: where the services are, that they are silent,
        or what is wrong with the way to them."""
        return self._explained(unpack_error(error, self._described()))

    def _explained(self, problem: errors.BalsamError) -> errors.BalsamError:
        is_of_login = not (self.site.is_own or os.environ.get(ENV_JOB_TOKEN) or os.environ.get(ENV_TOKEN_FILE))
        if problem.reason == "UNAUTHENTICATED" and is_of_login:
            return errors.NotAllowed(
                f"{problem}; log in again with `balsam login {self.site.path}`", reason=problem.reason
            )
        if self._endpoint is not None:
            return self._endpoint.explained(problem, self.service)
        if stores.is_store(self.service) and problem.reason in (NOT_RUNNING, errors.Unavailable.reason):
            host = self.site.read_info(self.service).get("host")
            if isinstance(host, str) and host not in ("", os.uname().nodename):
                return runs_elsewhere(self.site, host, self.service)
        return self._silent(problem) or problem

    def _silent(self, problem: errors.BalsamError) -> errors.BalsamError | None:
        """The same problem, where a process has the service's lock: it runs. None: there is no such process."""
        from balsam import locks  # for who is in trouble only

        if problem.reason not in (NOT_RUNNING, errors.Unavailable.reason):
            return None
        try:
            holder = locks.holder(self.site.run / f"{self.service}.lock")
        except OSError:
            return None
        if holder is None:
            return None
        # A refused connection still proves that nobody listens yet, or any more.
        reason = NOT_RUNNING if problem.reason == NOT_RUNNING else SILENT
        return errors.Unavailable(does_not_answer(self._described(), holder.pid, holder.host), reason=reason)

    def _turn(self, problem: errors.BalsamError, tried: set[str]) -> bool:
        """Turns to another job store, where this one is gone or names that; False: there is none, or no reason to."""
        if not self._may_turn or problem.reason not in _WORTH_WAITING or len(stores.known(self.site)) == 1:
            return False
        tried.add(self.service)
        if problem.reason == stores.OTHER_STORE and problem.field:
            other = problem.field
        elif is_away(problem) or not stores.is_alive(self.site, self.service):
            other = stores.choose(self.site, tried)
        else:
            return False
        if other in tried:
            return False
        self._open(other)
        return True

    def stream(self, make: Callable[[Any], Any], method: str, request: Any) -> Any:
        """Opens a stream of answers; no deadline."""
        if self._may_turn and self._pid == os.getpid() and self._is_gone():
            self._open(stores.choose(self.site))
        callee = getattr(self.stub(make), method)
        return callee(request, metadata=self._metadata)

    def _is_gone(self) -> bool:
        """Whether the job store that is asked is dead, and there are others."""
        return len(stores.known(self.site)) > 1 and not stores.is_alive(self.site, self.service)

    def _expected(self) -> bool:
        """Whether the service is worth waiting for: it said that it runs, and did not say that it stopped."""
        return stores.expected(self.site) if self._may_turn else bool(self.site.read_info(self.service))

    def _described(self) -> str:
        if stores.is_store(self.service):
            return "the job store"
        return "the scheduler" if self.service == "scheduler" else "the launcher"

    def close(self) -> None:
        """Closes the channel; the next call opens another."""
        if self._channel is not None and self._pid == os.getpid():
            self._channel.close()
        self._pid = 0
        self._stubs = {}


def ask_site(site: Site, retry_seconds: float = RETRY_SECONDS) -> Any:
    """What the job store of a site says of itself and the site (a GetSiteResponse).

    Raises:
        BalsamError: it does not let us in, or is not there.
    """
    from balsam.v1 import site_service_pb2
    from balsam.v1.site_service_pb2_grpc import SiteServiceStub

    connection = Connection(site, retry_seconds=retry_seconds)
    try:
        return connection.call(SiteServiceStub, "GetSite", site_service_pb2.GetSiteRequest(version=VERSION), 10.0)
    finally:
        connection.close()
