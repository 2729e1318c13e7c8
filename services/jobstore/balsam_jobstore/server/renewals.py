"""Renewals of sessions, on a socket and in threads of their own: no load of other calls can starve them.

In the loop that serves all else, a renewal waits for its turn like everything: behind a thousand connections that call
as fast as they can, for longer than a lease. Here nobody else calls, and a renewal needs neither loop nor database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from balsam import stores
from balsam.errors import BalsamError, NotFound, Unavailable
from balsam.rpc import pack_error, status_code
from balsam.serving import SERVER_OPTIONS, Caller, binding
from balsam.site import Site
from balsam.v1 import session_service_pb2
from balsam_jobstore.access import OWNER, denied
from balsam_jobstore.sessions import Sessions

Request = session_service_pb2.RenewSessionRequest

_NAME = "renewals"
_METHOD = "/balsam.v1.SessionService/RenewSession"
_THREADS = 4


class RenewalServer:
    """The server, from `start` to `stop`.

    Args:
        site: the site; the caller holds the lock of its job store.
        sessions: those that are renewed.
        authorize: says who may call.
        service: the name of the job store.
        is_alone: there is no other one that may have a session.
    """

    def __init__(
        self,
        site: Site,
        sessions: Sessions,
        authorize: Callable[[str, str], Caller],
        service: str = stores.FIRST,
        *,
        is_alone: bool = True,
    ) -> None:
        self._path = site.socket(stores.renewals(service))
        self._server = grpc.server(ThreadPoolExecutor(_THREADS, thread_name_prefix=_NAME), options=SERVER_OPTIONS)
        self._is_alone = is_alone
        self._sessions = sessions
        self._authorize = authorize
        handler = grpc.unary_unary_rpc_method_handler(
            self._renew, Request.FromString, session_service_pb2.RenewSessionResponse.SerializeToString
        )
        service, _, method = _METHOD.strip("/").partition("/")
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))

    def start(self) -> None:
        """Serves from now on.

        Raises:
            SiteError: it cannot listen.
        """
        with binding(self._path) as address:
            self._server.add_insecure_port(address)
            self._server.start()

    def stop(self) -> None:
        """Ends it; blocks until it has ended."""
        self._server.stop(None).wait()
        self._path.unlink(missing_ok=True)

    def _renew(self, request: Request, context: Any) -> session_service_pb2.RenewSessionResponse:
        try:
            caller = self._authorize(_METHOD, _bearer(context.invocation_metadata()))
            self._renew_here(request.session_id, caller)
        except BalsamError as error:
            context.set_trailing_metadata((("grpc-status-details-bin", pack_error(error)),))
            name = "UNAUTHENTICATED" if error.reason == "UNAUTHENTICATED" else status_code(error)
            context.abort(getattr(grpc.StatusCode, name), str(error))
        return session_service_pb2.RenewSessionResponse()

    def _renew_here(self, session_id: str, caller: Caller) -> None:
        try:
            if caller.role != OWNER and self._sessions.get(session_id).owner_key != caller.user_key:
                raise denied(f"session {session_id!r} is not {caller.user}'s")
            self._sessions.renew(session_id)
        except NotFound:
            if self._is_alone:
                raise
            # The database knows, and is asked where all else is.
            raise Unavailable("the session is none of this job store", reason=stores.OTHER_STORE) from None


def _bearer(metadata: Iterable[tuple[str, str]]) -> str:
    return next((value.removeprefix("Bearer ") for key, value in metadata if key == "authorization"), "")
