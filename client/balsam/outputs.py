"""Output files of runs, as they are read: one rule for all who show or send them.

A job may put anything in the place of its output, and others in the place of its directory. So a file is opened by the
descriptor of its directory and without following a link, and is read only if it is a plain one.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from balsam.commands import output_name
from balsam.directories import open_below, open_directory, unfit_output

PIECE_BYTES = 65_536
"""So much of an output is read and sent at once."""
NO_RUN = "NO_RUN"
"""Reason of a NotFound where no launcher has the job now."""
NO_OUTPUT = "NO_OUTPUT"
"""Reason of a NotFound where a launcher has it, and cannot send its output."""
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # of a pipe, nobody waits for the other end


@dataclass(frozen=True)
class OutputFile:
    """Where the output of a job's run goes.

    Attributes:
        directory: the working directory.
        name: of the file in it.
        root: a directory above `directory`; below it nothing may be a link. Empty: the directory is of the user's
            choice, and its path may lead through links.
        for_others: it is read for somebody else, who may not have the rights of this process: a file with a second
            name, which may be anybody's, is refused too.
    """

    directory: str
    name: str
    root: str = ""
    for_others: bool = False

    @property
    def path(self) -> Path:
        """For people."""
        return Path(self.directory) / self.name

    def open(self) -> int:
        """A descriptor to read it.

        Raises:
            OSError: it is not there (FileNotFoundError), is a link or no plain file, or cannot be read; names it.
        """
        try:
            directory = self._enter()
        except ValueError:
            raise OSError(errno.EINVAL, f"does not lie in {self.root}", str(self.path)) from None
        try:
            return self._open_in(directory)
        finally:
            os.close(directory)

    def _enter(self) -> int:
        if not self.root:
            return open_directory(self.directory)
        return open_below(self.root, self.directory.removeprefix(f"{self.root}/"))

    def _open_in(self, directory: int) -> int:
        try:
            descriptor = os.open(self.name, _READ, dir_fd=directory)
        except OSError as error:
            reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
            raise OSError(error.errno, reason, str(self.path)) from None
        info = os.fstat(descriptor)
        wrong = unfit_output(info) if self.for_others else "" if stat.S_ISREG(info.st_mode) else "it is no plain file"
        if wrong:
            os.close(descriptor)
            raise OSError(errno.EINVAL, wrong, str(self.path))
        return descriptor

    def read(self, offset: int, most: int = PIECE_BYTES) -> tuple[bytes, int]:
        """Some bytes, and the position of the first of them.

        Args:
            offset: of the first byte wanted; negative: so many before the end. Behind the end: the file has been
                emptied, or is another one than before, and is read from its beginning.
            most: so many bytes at most.

        Raises:
            OSError: see `open`.
        """
        descriptor = self.open()
        try:
            start = first_byte(offset, os.fstat(descriptor).st_size)
            return os.pread(descriptor, most, start), start
        except OSError as error:  # of a descriptor it names no file
            raise OSError(error.errno, error.strerror, str(self.path)) from None
        finally:
            os.close(descriptor)

    def end(self, most: int) -> tuple[bytes, int]:
        """The last bytes, at most so many, and the position of the first of them. Raises OSError: see `open`."""
        return self.read(-most, most)


def first_byte(offset: int, size: int) -> int:
    """Where reading begins that is to begin at an offset (see `OutputFile.read`), in a file of a size."""
    if offset < 0:
        return max(0, size + offset)
    return offset if offset <= size else 0


def output_of(job: Mapping[str, Any], data: Path) -> OutputFile:
    """The output file of a job.

    Args:
        job: the values of its fields.
        data: the site's directory for working directories, as this host knows it.
    """
    directory = str(job["working_directory"])
    is_below = directory.startswith(f"{data}/") and not job.get("user_workdir")
    return OutputFile(directory, output_name(job.get("name", "")), str(data) if is_below else "")
