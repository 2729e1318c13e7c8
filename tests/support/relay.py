"""A line to the job store that can be cut between what was done and its answer."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

from balsam.site import Site


class Relay:
    """Stands between the job store of a site and its callers, from now until it is closed."""

    def __init__(self, site: Site) -> None:
        self._path = site.socket("jobstore")
        self._behind = self._path.with_name("behind.sock")
        self._path.rename(self._behind)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self._path))
        self._server.listen()
        self._open: list[socket.socket] = [self._server]
        self._passes = threading.Event()
        self._passes.set()
        self._closed = False
        threading.Thread(target=self._accept, name="relay", daemon=True).start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def hold_answers(self) -> None:
        """From now on nothing comes back, and what is asked still arrives."""
        self._passes.clear()

    def close(self) -> None:
        """Cuts every line."""
        self._closed = True
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._passes.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                front, _ = self._server.accept()
                back = socket.socket(socket.AF_UNIX)
                self._open += [front, back]
                back.connect(str(self._behind))
                for source, target, is_answer in ((front, back, False), (back, front, True)):
                    threading.Thread(target=self._pass_on, args=(source, target, is_answer), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_answer:
                    self._passes.wait()
                if self._closed:
                    return
                target.sendall(data)
