"""What every service does alike: one process a site, a Unix socket, credentials, health, errors, a clean stop.

A job store may listen at a port as well (`SecurePort`); the same credentials count there.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import hmac
import logging
import os
import signal
import socket
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc

from balsam import descriptors, request_limits, stores
from balsam.errors import BalsamError, NotAllowed, ResourceExhausted, SiteError, ValidationError
from balsam.health import Health
from balsam.locks import ServiceLock as ServiceLock
from balsam.logs import keep_small
from balsam.open_streams import OpenStreams
from balsam.refusal_log import RefusalLog
from balsam.rpc import BUSY, CHANNEL_OPTIONS, OTHER_VERSION, VERSION_KEY, pack_error, shortened, status_code
from balsam.secure_port import SecurePort
from balsam.shares import Shares
from balsam.site import Site, read_owner_token
from balsam.version import VERSION, works_with

log = logging.getLogger("balsam.serving")

SERVER_OPTIONS = (
    *CHANNEL_OPTIONS,
    # A second server must not bind the same port silently.
    ("grpc.so_reuseport", 0),
    # A call that waits for its turn ends by its own deadline; gRPC would cancel it after 30 s, which says nothing.
    ("grpc.server_max_unrequested_time_in_server", 600),
    # Of more than 1,000 calls that wait for their turn gRPC cancels some at random, without a word.
    ("grpc.server.max_pending_requests", 50_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
    # Who connects from afar proves to be a client soon, or is let go; and asks now and then whether we live.
    ("grpc.server_handshake_timeout_ms", 20_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    # Packed messages are not unpacked: old versions of grpcio do that before they look at the length, and 16 MiB may
    # hold 16 GiB. Ours are not packed; such a message is none, and is refused.
    ("grpc.per_message_decompression", 0),
    # Who has no call under way for so long is let go; clients connect again with their next call.
    ("grpc.max_connection_idle_ms", 120_000),
)
HEALTH_PREFIX = "/grpc.health.v1.Health/"
_MOST_DESCRIPTORS = 65_536
STOP_SECONDS = 2.0
WATCH_SECONDS = 2.0
_OTHER_DESCRIPTORS = 256
"""So many are for the database, logs and other files."""
_LEAST_CONNECTIONS = 16
_NO_TOKEN = "UNAUTHENTICATED"
_DENIED = "PERMISSION_DENIED"
"""Reasons of what is logged: somebody tries tokens, or what they may not."""


@dataclass(frozen=True)
class Caller:
    """Who calls, by the credential and nothing else."""

    user: str
    role: str
    job_id: str = ""
    """Of the run or script that calls; empty: a person."""
    user_key: int = 1
    """The user's number; 1: the owner of the site."""
    job_key: int = 0
    """The number of the job, if it is a run or script that calls."""


CALLER: contextvars.ContextVar[Caller] = contextvars.ContextVar("caller")
"""The caller of the request that is being handled."""

Authorize = Callable[[str, str], Caller | Awaitable[Caller]]
"""(method, bearer token) -> caller, or what gives one; raises NotAllowed."""


class _Malformed:
    """Stands for a request that is not a message of the expected type."""

    def __init__(self, error: str) -> None:
        self.error = error


class Interceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Around every call: who it is, errors with their reason, and no internal text to the outside."""

    def __init__(self, authorize: Authorize) -> None:
        self._authorize = authorize
        self._handlers: dict[str, Any] = {}
        self._streams: set[asyncio.Task[Any]] = set()
        self._shares = Shares()
        self._ending = False
        self.open = OpenStreams()
        self.refusals = RefusalLog(log)

    def end_streams(self) -> None:
        """Ends the streams of answers that are open; their callers are told that the service is away."""
        self._ending = True
        for stream in self._streams:
            stream.cancel()

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """gRPC's hook: the handler of a call."""
        method = details.method
        if method.startswith(HEALTH_PREFIX):
            return await continuation(details)
        if method not in self._handlers:
            handler = await continuation(details)
            if handler is None:
                return None
            self._handlers[method] = self._wrap(method, handler)
        try:
            await self._let_in(method, details.invocation_metadata)
        except Exception as error:
            return self._refusing(method, error)
        return self._handlers[method]

    async def _let_in(self, method: str, metadata: Any) -> None:
        """Finds out who calls, before anything that they send is read."""
        token = ""
        for key, value in metadata or ():
            if key == "authorization":
                token = value.removeprefix("Bearer ")
            elif key == VERSION_KEY and value != VERSION:
                _check_version(value)
        caller = self._authorize(method, token)
        CALLER.set(caller if isinstance(caller, Caller) else await caller)

    def _wrap(self, method: str, handler: Any) -> Any:
        deserialize = _lenient(handler.request_deserializer)
        serialize = handler.response_serializer
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(
                self._streaming(method, handler.stream_stream), deserialize, serialize
            )
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(
                self._streaming(method, handler.unary_stream), deserialize, serialize
            )
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(
                self._taking(method, handler.stream_unary), deserialize, serialize
            )
        return grpc.unary_unary_rpc_method_handler(self._unary(method, handler.unary_unary), deserialize, serialize)

    def _unary(self, method: str, inner: Callable[[Any, Any], Awaitable[Any]]) -> Any:
        async def handle(request: Any, context: Any) -> Any:
            try:
                with self._shares.taken(CALLER.get()):
                    answer = await inner(_sound(request), context)
                self._log_items(context, method, answer)
                return answer
            except Exception as error:
                await self._refuse(context, method, error)

        return handle

    def _taking(self, method: str, inner: Callable[[Any, Any], Awaitable[Any]]) -> Any:
        """A handler that takes a stream and gives one answer."""

        async def collect(request: Any, context: Any) -> Any:
            with self.open.one(CALLER.get(), method, context):
                try:
                    return await inner(request, context)
                except asyncio.CancelledError:
                    await self.open.refuse_ended(context)
                    raise

        return self._unary(method, collect)

    def _streaming(self, method: str, inner: Callable[[Any, Any], AsyncIterator[Any]]) -> Any:
        async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
            stream = asyncio.current_task()
            assert stream is not None
            self._streams.add(stream)
            try:
                with self._shares.taken(CALLER.get(), stream=True), self.open.one(CALLER.get(), method, context):
                    async for response in inner(_sound(request), context):
                        yield response
            except asyncio.CancelledError:
                await self.open.refuse_ended(context)
                if not self._ending:
                    raise
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the service is stopping")
            except Exception as error:
                await self._refuse(context, method, error)
            finally:
                self._streams.discard(stream)

        return handle

    def _refusing(self, method: str, error: Exception) -> Any:
        """A handler for who is not let in. It reads nothing: what they send takes none of our memory."""

        async def handle(requests: Any, context: Any) -> None:
            await self._refuse(context, method, error)

        return grpc.stream_stream_rpc_method_handler(handle)

    async def _refuse(self, context: Any, method: str, error: Exception) -> None:
        if isinstance(error, grpc.aio.AbortError):
            raise error
        if not isinstance(error, BalsamError):
            log.exception("unexpected error in %s", method)
            await context.abort(grpc.StatusCode.INTERNAL, "an internal error, see the service's log")
            return
        text = shortened(str(error))
        if error.reason == _NO_TOKEN:
            self.refusals.refused(method, "who has no valid token", context.peer(), text)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, text)
        if error.reason == _DENIED:
            self.refusals.refused(method, _name(CALLER.get()), context.peer(), text)
        context.set_trailing_metadata((("grpc-status-details-bin", pack_error(error)),))
        await context.abort(getattr(grpc.StatusCode, status_code(error)), text)

    def _log_items(self, context: Any, method: str, answer: Any) -> None:
        """One line for what a call that is answered item by item has refused to its caller."""
        denied = [item for item in getattr(answer, "refusals", ()) if item.reason == _DENIED]
        if denied:
            more = f", and {len(denied) - 1} more" if len(denied) > 1 else ""
            self.refusals.refused(method, _name(CALLER.get()), context.peer(), denied[0].message + more)


def _name(caller: Caller) -> str:
    return f"job {caller.job_id} of {caller.user}" if caller.job_id else f"{caller.user} ({caller.role})"


def _check_version(theirs: str) -> None:
    if not works_with(theirs, VERSION):
        raise NotAllowed(
            f"Balsam {theirs[:40]} was asked to work with services of Balsam {VERSION}, and only neighbouring versions "
            "do: use the same version on both sides (`balsam down`, then `balsam up` by the newer one)",
            reason=OTHER_VERSION,
        )


def _sound(request: Any) -> Any:
    """A request, or a stream of them, within the limits.

    Raises:
        ValidationError: it is none.
    """
    if hasattr(request, "__aiter__"):
        return _checked(request)
    _check_request(request)
    return request


async def _checked(requests: Any) -> AsyncIterator[Any]:
    async for request in requests:
        _check_request(request)
        yield request


def _check_request(request: Any) -> None:
    if isinstance(request, _Malformed):
        _reject_malformed(request)
    request_limits.check(request)


def _reject_malformed(request: _Malformed) -> NoReturn:
    raise ValidationError(f"the request is not a valid message: {request.error}", reason="MALFORMED", field="request")


def _lenient(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """A malformed message is the caller's error (gRPC by itself would answer INTERNAL)."""

    def parse(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError as error:
            return _Malformed(str(error)[:200])

    return parse


def owner_only(site: Site) -> Authorize:
    """Accepts the owner's token and nothing else; of a process at somebody else's site, that of its user's login.

    What it gives raises NotAllowed for any other.
    """
    expected = (read_owner_token(site) if site.is_own else site.token()).encode()
    owner = Caller(user=user_name(), role="owner")

    def authorize(method: str, token: str) -> Caller:
        if not hmac.compare_digest(token.encode(), expected):
            raise NotAllowed("no valid token", reason="UNAUTHENTICATED")
        return owner

    return authorize


def user_name() -> str:
    """Name of the user whose process this is."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


@contextlib.contextmanager
def binding(path: Path) -> Iterator[str]:
    """Around the start of a server at a Unix socket that only its owner may use; gives its gRPC address.

    The caller holds the lock of its service: a socket that is there is a dead process's.

    Raises:
        SiteError: it cannot listen there.
    """
    if path.exists() and stat.S_ISSOCK(path.lstat().st_mode):
        path.unlink()
    before = os.umask(0o177)
    try:
        yield f"unix:{path}"
    except RuntimeError as error:
        raise SiteError(f"cannot listen on {path}: {error}") from None
    finally:
        os.umask(before)


class Service:
    """A gRPC server on the site's Unix socket, and on a port if given one, from lock to clean stop.

    Usage: make it, add servicers to `server`, then `await run()`.
    """

    def __init__(self, site: Site, name: str, authorize: Authorize, port: SecurePort | None = None) -> None:
        self.site = site
        self.name = name
        self.stopping = asyncio.Event()
        self._port = port
        self._info: dict[str, Any] = {}
        self._watch: asyncio.Task[None] | None = None
        options = (*SERVER_OPTIONS, ("grpc.max_concurrent_streams", 2000), *_bounds(name))
        self._interceptor = Interceptor(authorize)
        self.server = grpc.aio.server(interceptors=(self._interceptor,), options=options)
        self._health = Health()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)

    async def start(self, *, ready: bool = True, **info: Any) -> None:
        """Binds the socket and serves; `info` is added to what the service says of itself.

        Not `ready`: the health check says NOT_SERVING until `set_ready`.
        """
        with binding(self.site.socket(self.name)) as address:
            self.server.add_insecure_port(address)
            if self._port is not None:
                self._port.bind(self.server)
            await self.server.start()
        await self._health.set(health_pb2.HealthCheckResponse.NOT_SERVING)
        if ready:
            await self.set_ready()
        self._info = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "version": VERSION,
            "start_time": time.time(),
            "address": self.site.address(self.name),
            **({"listen": str(self._port.address)} if self._port is not None else {}),
            **info,
        }
        self._say_what_we_are()
        self._watch = asyncio.create_task(self._look_after_files())

    async def _look_after_files(self) -> None:
        """Somebody may clean up the run directory. What we say of ourselves is written again; without its socket
        a service cannot be reached any more, so it ends, and the next one can start."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if not self.site.socket(self.name).exists():
                log.error("the socket %s was removed: ending", self.site.socket(self.name))
                self.stopping.set()
                return
            if self.site.read_info(self.name) != self._info:
                log.warning("%s.json was damaged or removed: writing it again", self.name)
                self._say_what_we_are()
            await asyncio.to_thread(keep_small, self.site, f"{self.name}.out")
            self._interceptor.refusals.tell_rest()

    def _say_what_we_are(self) -> None:
        """Who finds nothing said still sees who holds the lock: without room for this, the service serves."""
        try:
            for draft in self.site.run.glob(f"{self.name}.*.tmp"):
                draft.unlink(missing_ok=True)  # of one that was killed
            self.site.write_info(self.name, **self._info)
        except OSError as error:
            log.warning("cannot write %s.json: %s", self.name, error.strerror)

    @property
    def streams(self) -> OpenStreams:
        """The streams that are open."""
        return self._interceptor.open

    async def set_ready(self) -> None:
        """The health check says SERVING from now on."""
        await self._health.set(health_pb2.HealthCheckResponse.SERVING)

    def stop_on_signals(self) -> None:
        """SIGTERM, SIGINT and SIGHUP end the service cleanly."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self.stopping.set)

    async def stop(self) -> None:
        """Answers what is under way, then closes the socket."""
        if self._watch is not None:
            self._watch.cancel()
        await self._health.stop()
        self._interceptor.end_streams()
        await self.server.stop(STOP_SECONDS)
        for path in (self.site.run / f"{self.name}.json", self.site.socket(self.name)):
            path.unlink(missing_ok=True)


def _bounds(name: str) -> tuple[tuple[str, int], ...]:
    """How many may be connected to a job store: each of its listeners has as many, so that who fills the port leaves
    the Unix socket and the files of the service alone. Other services hand their limits on to scripts."""
    if not stores.is_store(name):
        return ()
    room = descriptors.have(_MOST_DESCRIPTORS) - _OTHER_DESCRIPTORS
    return (("grpc.max_allowed_incoming_connections", max(_LEAST_CONNECTIONS, room // 2)),)


def shed(under_way: int, limit: int, what: str) -> None:
    """Refuses work beyond a limit, before it costs anything.

    Raises:
        ResourceExhausted: there is too much under way.
    """
    if under_way >= limit:
        raise ResourceExhausted(f"{under_way} {what} are under way, which is the limit; try again shortly", reason=BUSY)
