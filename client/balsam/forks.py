"""Forks of a process that speaks gRPC.

gRPC prepares itself for a fork only while no thread is inside of it; else a child that uses it crashes, now and then.
So whoever calls into it passes a gate, and a fork closes that first: calls end as they do, streams are interrupted and
opened again by their owners, and the fork comes when nobody is inside.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator

PATIENCE_SECONDS = 5.0
"""A fork waits no longer than this for those inside."""


class Gate:
    """Knows which threads are inside of gRPC, and lets no other in while the process forks."""

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self._changed = threading.Condition()
        self._inside: Counter[int] = Counter()
        self._forking: int | None = None
        self._streams: list[Callable[[], None]] = []

    @property
    def closing(self) -> bool:
        """The process is about to fork: a stream that has just been opened must end."""
        return self._forking is not None

    @contextlib.contextmanager
    def passage(self, interrupt: Callable[[], None] | None = None) -> Iterator[None]:
        """Around whatever calls into gRPC; a thread that is inside may enter again.

        Args:
            interrupt: ends a stream; called from another thread when the process is about to fork.
        """
        me = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: self._forking in (None, me) or self._inside[me])
            self._inside[me] += 1
            if interrupt is not None:
                self._streams.append(interrupt)
        try:
            yield
        finally:
            with self._changed:
                self._inside[me] -= 1
                if not self._inside[me]:
                    del self._inside[me]
                if interrupt is not None:
                    self._streams.remove(interrupt)
                self._changed.notify_all()

    def before_fork(self) -> None:
        """Interrupts the streams, and waits until nobody is inside."""
        with self._changed:
            self._changed.wait_for(lambda: self._forking is None, PATIENCE_SECONDS)
            self._forking = threading.get_ident()
            streams = list(self._streams)
        for interrupt in streams:
            interrupt()
        with self._changed:
            self._changed.wait_for(lambda: not self._inside, PATIENCE_SECONDS)

    def after_fork_in_parent(self) -> None:
        """Lets everybody in again."""
        with self._changed:
            self._forking = None
            self._changed.notify_all()

    def after_fork_in_child(self) -> None:
        """Whoever was inside in the parent is not in the child."""
        self._renew()


gate = Gate()
"""The gate of this process."""
os.register_at_fork(
    before=gate.before_fork, after_in_parent=gate.after_fork_in_parent, after_in_child=gate.after_fork_in_child
)
