"""What messages have in common: the same text with other numbers, ids and paths is one cause. Pure.

Lines that still differ in a few words are joined as Drain joins log messages: they have as many words, and most of them
are equal (He, Zhu, Zheng, Lyu: Drain, an online log parsing approach with fixed depth tree, ICWS 2017).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_SIMILAR = 0.6  # so many of their words are equal
ANY = "*"

_VARYING = re.compile(
    r"""(?P<end>\bexit\ code\ \d+|\bkilled\ by\ \S+\ \(\d+\)|\(128\ \+\ SIG\w+\))
    |(?P<id>(?<![0-9A-Za-z])
        (?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|0x[0-9a-fA-F]+|(?=[a-f]*\d)[0-9a-f]{8,})(?![0-9A-Za-z]))
    |(?P<path>(?:/[^\s/:'",()]+)+/)
    |(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    """,
    re.VERBOSE,
)


def normal(line: str) -> str:
    """A line without what differs from job to job: numbers, ids, the directories of paths. Exit codes stay."""
    return " ".join(_VARYING.sub(_mark, line).split())


def _mark(found: re.Match[str]) -> str:
    return {"end": found[0], "id": "#", "path": ".../", "number": "#"}[found.lastgroup or "end"]


def parts(message: str) -> tuple[str, str]:
    """How a job failed, and the last line of what its program said; empty: it said nothing."""
    first, *rest = [line for line in message.split("\n") if line.strip()] or [""]
    return normal(first), normal(rest[-1]) if rest else ""


def join(lines: Iterable[str]) -> dict[str, str]:
    """Each of these lines -> what it has in common with those that are like it.

    The most frequent come first, then by text: so the outcome does not depend on the order of the jobs.
    """
    counts = Counter(lines)
    joined: dict[str, str] = {}
    templates: list[tuple[str, list[str]]] = []
    for line in sorted(counts, key=lambda line: (-counts[line], line)):
        words = line.split()
        for number, (first, template) in enumerate(templates):
            if _alike(words, template):
                both = [one if one == other else ANY for one, other in zip(words, template, strict=True)]
                templates[number] = (first, both)
                joined[line] = first
                break
        else:
            templates.append((line, words))
            joined[line] = line
    shown = {first: " ".join(words) for first, words in templates}
    return {line: shown[first] for line, first in joined.items()}


def _alike(words: list[str], template: list[str]) -> bool:
    if len(words) != len(template) or not words:
        return words == template
    return sum(one == other for one, other in zip(words, template, strict=True)) >= _SIMILAR * len(words)
