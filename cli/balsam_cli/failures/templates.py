"""What messages have in common: the same text with other numbers, ids and paths is one cause. Pure.

Lines that still differ in a few words are joined as Drain joins log messages: they have as many words, and most of them
are equal (He, Zhu, Zheng, Lyu: Drain, an online log parsing approach with fixed depth tree, ICWS 2017). Two words are
too few for that: of lines `KeyError: NAME` the name does not count where many names are each rare.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

_SIMILAR = 0.6  # so many of their words are equal
_MANY = 10
"""So many different names after one kind of error are values of one cause; one with more than its share is its own."""
ANY = "*"

_SAYS_NOTHING = re.compile(
    r"(?:abort(?:ing|ed)?|exit(?:ing|ed)?|terminat(?:ing|ed)|stop(?:ping|ped)?|quit(?:ting)?|bye)?\W*", re.IGNORECASE
)

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
    """How a job failed, and the last line of what its program said; empty: it said nothing.

    A farewell ("Aborting."), a rule, or bytes that are no text count only if there is nothing else.
    """
    first, *rest = [line for line in message.split("\n") if line.strip()] or [""]
    telling = [line for line in rest if not _SAYS_NOTHING.fullmatch(line.strip())]
    return normal(first), normal((telling or rest or [""])[-1])


def join(lines: Iterable[str]) -> dict[str, str]:
    """Each of these lines -> what it has in common with those that are like it.

    The most frequent come first, then by text: so the outcome does not depend on the order of the jobs.
    """
    said = Counter(lines)
    without = _without_names(said)
    counts: Counter[str] = Counter()
    for line, count in said.items():
        counts[without.get(line, line)] += count
    joined = _joined(counts)
    return {line: joined[without.get(line, line)] for line in said}


def _without_names(counts: Counter[str]) -> dict[str, str]:
    """Lines `KIND: NAME` whose name does not count -> the line without it."""
    by_kind: dict[str, list[str]] = defaultdict(list)
    for line in counts:
        kind, *names = line.split() or [""]
        if len(names) == 1 and kind.endswith(":"):
            by_kind[kind].append(line)
    found: dict[str, str] = {}
    for kind, alike in by_kind.items():
        total = sum(counts[line] for line in alike)
        rare = [line for line in alike if counts[line] * _MANY <= total]
        if len(rare) >= _MANY:
            found |= dict.fromkeys(rare, f"{kind} {ANY}")
    return found


def _joined(counts: Counter[str]) -> dict[str, str]:
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
