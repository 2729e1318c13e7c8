"""Figures into files."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from balsam.errors import ValidationError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
"""Endings of the files that can be written."""


def check_target(path: str) -> Path:
    """Where a picture goes.

    Raises:
        ValidationError: the name has another ending than `FORMATS`.
    """
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise ValidationError(f"--out {path!r}: the name must end with {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    return target


def save(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Writes a figure as PNG, SVG or PDF, by the ending of the name; what was there is replaced when it is whole.

    Raises:
        ValidationError: the ending is another; matplotlib is not installed.
        OSError: it cannot be written.
    """
    from balsam.plots.style import RC, matplotlib_or_say

    matplotlib = matplotlib_or_say()
    target = check_target(os.fspath(path))
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=target.suffix)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None
    os.close(handle)
    try:
        with warnings.catch_warnings(), matplotlib.rc_context(RC):
            warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
            figure.savefig(name, dpi=150, format=target.suffix.lower()[1:])
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    return target


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
