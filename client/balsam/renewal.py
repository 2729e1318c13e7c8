"""A session with the job store, renewed for as long as it is needed, and the time in which it certainly lives."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable

from balsam import rpc, stores
from balsam.errors import BalsamError, NotFound, Unavailable
from balsam.site import Site
from balsam.v1 import session_service_pb2
from balsam.v1.session_service_pb2_grpc import SessionServiceStub

log = logging.getLogger("balsam.work")

_MAY_BE_ELSEWHERE = (rpc.NOT_RUNNING, rpc.SILENT, rpc.UNREACHABLE, Unavailable.reason)
"""Reasons of a job store that did not answer: another one may have the session meanwhile."""


def margin_of(lease_seconds: float) -> float:
    """How long before a lease may end trust in it ends [s]."""
    return min(10.0, lease_seconds / 4)


class Renewal(threading.Thread):
    """Renews a session, from a thread and over a channel of its own.

    Args:
        site: the site.
        session_id: the session.
        lease_seconds: so long it lives after each renewal [s].
        sent: when it was asked for, by `time.monotonic()`.
        on_end: called when it has ended.
        on_renewed: called when `trusted_until` has moved.
        address: where the job store that has the session takes renewals; empty: with all else.
        store: which job store that is.
        on_moved: called with the job store that has taken the session up.
    """

    def __init__(
        self,
        site: Site,
        session_id: str,
        lease_seconds: float,
        sent: float,
        on_end: Callable[[], object],
        on_renewed: Callable[[], object],
        address: str,
        store: str = stores.FIRST,
        on_moved: Callable[[str], object] = lambda store: None,
    ) -> None:
        super().__init__(name="renewal", daemon=True)
        self.ended = False
        self.store = store
        """The job store that has the session."""
        self._site = site
        self._first = store
        self._address = address
        self._connections: dict[str, rpc.Connection] = {}
        self._request = session_service_pb2.RenewSessionRequest(session_id=session_id)
        self._lease_seconds = lease_seconds
        self.trusted_until = sent + lease_seconds - margin_of(lease_seconds)
        self._on_end = on_end
        self._on_renewed = on_renewed
        self._on_moved = on_moved
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Ends the thread; the session then ends by itself."""
        self._stopped.set()

    def run(self) -> None:
        """The thread."""
        period = self._lease_seconds / 4
        while not self._stopped.wait(period * random.uniform(0.8, 1.0)):
            sent = time.monotonic()
            try:
                self._renew(period)
                self._trust_from(sent)
            except NotFound:
                self.ended = True
                self._on_end()
                break
            except BalsamError as error:
                if error.reason == rpc.NOT_RUNNING and time.monotonic() < self.trusted_until:
                    # A job store that starts ends no session for one lease time; before it stopped, it may have ended
                    # one that was not trusted any more.
                    self._trust_from(sent)
                log.debug("could not renew the session: %s", error)
        for connection in self._connections.values():
            connection.close()

    def _renew(self, seconds: float) -> None:
        """Asks the job store that has the session and, where that is gone, the others: one of them takes it up.

        Raises:
            NotFound: the session has ended.
            Unavailable: NOT_RUNNING if nobody listens at any of them, so that whoever has the session, or will, has had
                it for less time than we have been asking.
        """
        deadline = time.monotonic() + seconds
        names = stores.known(self._site)
        problem: BalsamError | None = None
        asked: list[str] = []
        ahead = [self.store]
        while ahead:
            store = ahead.pop(0)
            asked.append(store)
            try:
                self._ask(store, max(0.1, (deadline - time.monotonic()) / 2))
            except Unavailable as error:
                if problem is None or problem.reason == rpc.NOT_RUNNING:
                    problem = error
                if error.reason == stores.OTHER_STORE and error.field and error.field not in asked:
                    ahead = [error.field]
                elif not ahead and error.reason in _MAY_BE_ELSEWHERE:
                    ahead = [name for name in names if name not in asked]
                continue
            if store != self.store:
                self.store = store
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    self._on_moved(store)
            return
        assert problem is not None
        raise problem

    def _ask(self, store: str, seconds: float) -> None:
        if (endpoint := self._site.endpoint()) is not None:
            # One port for all; this channel has a connection of its own, behind no data.
            self._call(store, str(endpoint.address_of(store)), seconds)
            return
        # Where the first does not answer, the second decides: what it says of a job store that is away is sure.
        renewals = self._address if store == self._first else self._site.address(stores.renewals(store))
        if renewals:
            with contextlib.suppress(Unavailable):
                self._call(store, renewals, seconds)
                return
        self._call(store, self._site.address(store), seconds)

    def _call(self, store: str, address: str, seconds: float) -> None:
        if address not in self._connections:
            self._connections[address] = rpc.Connection(self._site, store, retry_seconds=0, address=address)
        try:
            self._connections[address].call(SessionServiceStub, "RenewSession", self._request, timeout=seconds)
        except BalsamError as error:
            if error.reason == rpc.UNAUTHENTICATED:  # there may be another credential now, which the next one reads
                self._connections.pop(address).close()
            raise

    def _trust_from(self, sent: float) -> None:
        self.trusted_until = sent + self._lease_seconds - margin_of(self._lease_seconds)
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._on_renewed()
