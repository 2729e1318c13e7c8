"""A site as seen from a program: its job store, and the classes of its jobs, applications and launches."""

from __future__ import annotations

import functools
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc

    from balsam.application import ApplicationDefinition
    from balsam.application_calls import ApplicationCalls
    from balsam.errors import BalsamError
    from balsam.event_calls import EventCalls
    from balsam.job import BalsamJob
    from balsam.job_calls import JobCalls
    from balsam.launch import QueuedLaunch
    from balsam.launch_calls import LaunchCalls
    from balsam.output_calls import OutputCalls
    from balsam.site import Site


class Client:
    """One site. Nothing is contacted before the first call; any number of threads may share it.

    ``client.BalsamJob``, ``client.ApplicationDefinition`` and ``client.QueuedLaunch`` are the classes bound to it.
    """

    def __init__(self, site: Site, retry_seconds: float | None = None) -> None:
        """`retry_seconds`: how long a call is tried again that did not arrive; None: a while."""
        from balsam.rpc import RETRY_SECONDS, Connection

        self.site = site
        self._connection = Connection(site, retry_seconds=RETRY_SECONDS if retry_seconds is None else retry_seconds)
        self._lock = threading.Lock()
        _every_client.add(self)

    def __repr__(self) -> str:
        return f"<Client of {self.site.path}>"

    def call(self, make: Callable[[Any], Any], method: str, request: Any, timeout: float | None = None) -> Any:
        """Calls a method of the job store. `make` is a generated stub class; `timeout` is in seconds.

        Raises:
            BalsamError: what the job store said, or Unavailable.
        """
        from balsam.rpc import DEADLINE_SECONDS

        with self._lock:
            self._connection.stub(make)
        return self._connection.call(make, method, request, timeout or DEADLINE_SECONDS)

    def stream(self, make: Callable[[Any], Any], method: str, request: Any) -> Any:
        """Opens a stream of answers."""
        with self._lock:
            self._connection.stub(make)
        return self._connection.stream(make, method, request)

    def explained(self, error: grpc.RpcError) -> BalsamError:
        """The exception for a stream that failed: what the job store said, or why there is no answer."""
        return self._connection.explained(error)

    def close(self) -> None:
        """Closes the connection; the next call opens another."""
        with self._lock:
            self._connection.close()

    @functools.cached_property
    def jobs(self) -> JobCalls:
        """Calls about jobs, in plain values."""
        from balsam.job_calls import JobCalls

        return JobCalls(self)

    @functools.cached_property
    def applications(self) -> ApplicationCalls:
        """Calls about applications, in plain values."""
        from balsam.application_calls import ApplicationCalls

        return ApplicationCalls(self)

    @functools.cached_property
    def launches(self) -> LaunchCalls:
        """Calls about launches, in plain values."""
        from balsam.launch_calls import LaunchCalls

        return LaunchCalls(self)

    @functools.cached_property
    def events(self) -> EventCalls:
        """Calls about events, in plain values."""
        from balsam.event_calls import EventCalls

        return EventCalls(self)

    @functools.cached_property
    def outputs(self) -> OutputCalls:
        """Calls about outputs of runs."""
        from balsam.output_calls import OutputCalls

        return OutputCalls(self)

    @functools.cached_property
    def BalsamJob(self) -> type[BalsamJob]:
        """The class of this site's jobs."""
        from balsam.job import BalsamJob

        return BalsamJob._bind(self)

    @functools.cached_property
    def ApplicationDefinition(self) -> type[ApplicationDefinition]:
        """The class of this site's applications."""
        from balsam.application import ApplicationDefinition

        return ApplicationDefinition._bind(self)

    @functools.cached_property
    def QueuedLaunch(self) -> type[QueuedLaunch]:
        """The class of this site's launches."""
        from balsam.launch import QueuedLaunch

        return QueuedLaunch._bind(self)


_every_client: weakref.WeakSet[Client] = weakref.WeakSet()
_clients: dict[str, Client] = {}
_default: Client | None = None
_lock = threading.Lock()


def _renew_locks() -> None:
    """A forked child would wait forever for a lock that another thread of its parent held."""
    global _lock
    _lock = threading.Lock()
    for client in tuple(_every_client):
        client._lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_locks)


def _client_of(site: Site) -> Client:
    return _clients.setdefault(str(site.path), Client(site))


def connect(path: str | os.PathLike[str] | None = None) -> Client:
    """The site at `path`, without contacting it; without a path: the one that is found.

    Called with a path before anything has used the plain names (``BalsamJob``, ``balsam.launcher.dag``, ...), it also
    says what site these belong to. Inside a job they always belong to the job's site.

    Raises:
        SiteError: there is no site.
    """
    if path is None:
        return default_client()
    from balsam.site import open_site

    global _default
    with _lock:
        client = _client_of(open_site(path))
        if _default is None and not os.environ.get("BALSAM_JOB_ID"):
            _default = client
    return client


def default_client() -> Client:
    """The site of the plain names, found at the first use.

    Raises:
        SiteError: there is no site.
    """
    global _default
    if _default is None:
        from balsam.site import find_site

        with _lock:
            if _default is None:
                _default = _client_of(find_site())
    return _default


def reset() -> None:
    """Forgets every site; for tests, and for programs that change to another one."""
    global _default
    with _lock:
        clients = list(_clients.values())
        _clients.clear()
        _default = None
    for client in clients:
        client.close()
