"""Text for people: one line, ages, times. Pure."""

from __future__ import annotations

import datetime
import re

from balsam.errors import ValidationError

NOT_RUNNING = "the services are not running; start them with `balsam up`"
"""Said where the services are not there."""

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def one_line(text: str) -> str:
    """`text` without line breaks, tabs, and characters that could steer a terminal."""
    joined = " ".join(text.split())
    return joined if joined.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in joined)


def cut(text: str, most: int) -> str:
    """`text` in one line, of so many characters at most."""
    line = one_line(text)
    return line if len(line) <= most else f"{line[: most - 4]} ..."


def printable(text: str) -> str:
    """`text` with its line breaks, without characters that could steer a terminal."""
    return "\n".join(
        "".join(c if c.isprintable() else "\ufffd" for c in line.expandtabs(4)) for line in text.split("\n")
    )


def age(seconds: float) -> str:
    """A span of time in its two largest units: ``45s``, ``3m20s``, ``2d4h``, ``1h``."""
    rest = max(0, int(seconds))
    counts = []
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        counts.append((count, unit))
    first = next((n for n, (count, _) in enumerate(counts) if count), len(counts) - 1)
    head, *tail = counts[first : first + 2]
    return f"{head[0]}{head[1]}" + "".join(f"{count}{unit}" for count, unit in tail if count)


_SPAN = re.compile(r"(?:\d{1,6}[wdhms])+")


def parse_age(text: str, option: str) -> float:
    """The seconds of a span of time: ``90d``, ``12h``, ``1d12h``.

    Raises:
        ValidationError: it is none; names the option.
    """
    if not _SPAN.fullmatch(text):
        raise ValidationError(f"{option} {text!r:.40}: must be a span of time such as 90d, 12h, 30m or 1d12h")
    sizes = {**dict(_UNITS), "w": 7 * 86400}
    return float(sum(int(count) * sizes[unit] for count, unit in re.findall(r"(\d+)([wdhms])", text)))


def local_time(moment: datetime.datetime | None, *, fraction: bool = False) -> str:
    """A moment in local time, to the second, or to the millisecond with `fraction`."""
    if moment is None:
        return ""
    return moment.astimezone().replace(tzinfo=None).isoformat(" ", "milliseconds" if fraction else "seconds")


def parse_time(text: str | None) -> datetime.datetime | None:
    """The moment that a record holds, as RFC 3339."""
    return datetime.datetime.fromisoformat(text) if text else None


def count(number: int, noun: str) -> str:
    """``1 job``, ``2 jobs``, ``1,000 jobs``, ``2 launches``."""
    plural = "es" if noun.endswith("ch") else "s"
    return f"{number:,} {noun}{'' if number == 1 else plural}"
