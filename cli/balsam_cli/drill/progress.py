"""How far a drill is: one live line on a terminal, and a line for each thing that was done."""

from __future__ import annotations

import contextlib
import sys

from balsam_cli.terminal import note

_CLEAR = "\r\x1b[K"


class Progress:
    """Writes to stderr."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._open = False

    def show(self, text: str) -> None:
        """What is under way; replaced by what comes next. Nothing where there is no terminal."""
        if self._live:
            self._write(f"{_CLEAR}{text}")
            self._open = True

    def say(self, text: str) -> None:
        """What was done, to stay."""
        self.close()
        with contextlib.suppress(OSError):  # the terminal may have been closed
            note(text)

    def close(self) -> None:
        """Takes the live line away."""
        if self._open:
            self._write(_CLEAR)
            self._open = False

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()
