"""Values of the options of `balsam plan`."""

from __future__ import annotations

import re

from balsam.errors import ValidationError

MOST_NODES = 1_000_000
_RANGE = re.compile(r"(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?")


def parse_nodes(text: str) -> list[int]:
    """Sizes of launches: ``8`` or ``8,16,32``.

    Raises:
        ValidationError: one is no number of nodes.
    """
    words = [word.strip() for word in text.split(",")]
    wrong = next(
        (word for word in words if not (word.isascii() and word.isdigit() and 0 < int(word[:9]) <= MOST_NODES)), None
    )
    if wrong is not None:
        raise ValidationError(f"--nodes {text!r:.60}: {wrong!r:.20} is no number of nodes; write it as in 8 or 8,16,32")
    return list(dict.fromkeys(int(word[:9]) for word in words))


def parse_wait(text: str) -> tuple[float, float]:
    """Minutes in the queue, the least and the most: ``30`` or ``10-120``.

    Raises:
        ValidationError: it is neither.
    """
    found = _RANGE.fullmatch(text.strip())
    if found is not None and len(text) <= 40:
        low = float(found[1])
        high = float(found[2]) if found[2] else low
        if low <= high:
            return low, high
    raise ValidationError(f"--queue-wait {text!r:.60}: must be minutes, as in 30, or from least to most, as in 10-120")
