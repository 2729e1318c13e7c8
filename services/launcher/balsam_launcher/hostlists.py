"""Lists of hosts as batch systems write them: ``n[01-03,7],login``, ``4(x3),2``, one name a line. Pure.

Sources: the section HOSTLIST EXPRESSIONS of sinfo(1) and scontrol(1), and SLURM_JOB_CPUS_PER_NODE in sbatch(1), Slurm
22.05; RFC 29 of Flux, "Hostlist Format".
"""

from __future__ import annotations

import re

from balsam.errors import ValidationError

_ALLOWED = re.compile(r"[A-Za-z0-9_.,\[\]-]+")
_BETWEEN = re.compile(r",(?![^\[]*\])")  # commas that are in no brackets
_REPEATED = re.compile(r"(\d{1,9})(?:\(x(\d{1,6})\))?")
_RANGES = re.compile(r"\[([^\[\]]*)\]")
_RANGE = re.compile(r"(\d{1,20})-(\d{1,20})")
MOST_NODES = 200_000
"""No list names more: a wrong number in it must not fill the memory."""
HINT = "unset it, or name the nodes in a file and that in settings.toml (node_file)"


def expand(variable: str, text: str) -> list[str]:
    """The names in a list of hosts, in its order; within brackets, by number.

    Args:
        variable: where it comes from, for errors.
        text: the list.

    Raises:
        ValidationError: it is empty or damaged, names a host twice, or more than MOST_NODES.
    """
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException  # 40 ms, which only allocations pay

    if not text.strip():
        raise ValidationError(f"{variable} is empty: it names no node; {HINT}", field=variable)
    parts = _BETWEEN.split(text)
    if not _ALLOWED.fullmatch(text) or not all(parts):
        raise _damaged(variable, text)
    if sum(map(_size, parts)) > MOST_NODES:
        raise ValidationError(
            f"{variable} = {_shown(text)}: names more than {MOST_NODES} nodes, which no machine has; {HINT}",
            field=variable,
        )
    try:
        names = [name for part in parts for name in NodeSet(part, resolver=RESOLVER_NOGROUP)]
    except (NodeSetException, ValueError):
        raise _damaged(variable, text) from None
    # A run command would take a name that begins with a dash for an option.
    if not names or len(set(names)) < len(names) or any(name.startswith("-") for name in names):
        raise _damaged(variable, text)
    return names


def repeated(variable: str, text: str) -> list[int]:
    """The numbers in ``4(x3),2``: 4, 4, 4, 2.

    Raises:
        ValidationError: it is damaged, or of more than MOST_NODES nodes.
    """
    counts: list[int] = []
    for part in text.split(","):
        found = _REPEATED.fullmatch(part)
        if found is None or not int(found[1]) or len(counts) + int(found[2] or 1) > MOST_NODES:
            raise ValidationError(
                f"{variable} = {text!r}: is no list of numbers like 4(x3),2; unset it, or set cores_per_node in "
                "settings.toml",
                field=variable,
            )
        counts += [int(found[1])] * int(found[2] or 1)
    return counts


def lines(origin: str, text: str) -> dict[str, int]:
    """The names in a file of one name a line, in order, and how often each is there. Blank lines and what follows a
    ``#`` count for nothing; ``n[1-3]`` is three names.

    Raises:
        ValidationError: there is none, or a line is no name.
    """
    counts: dict[str, int] = {}
    for line in text.splitlines():
        word = line.partition("#")[0].strip()
        if not word:
            continue
        if not _ALLOWED.fullmatch(word) or "," in _RANGES.sub("", word) or word.startswith("-"):
            raise ValidationError(f"{origin}: {word!r} is no name of a node; {HINT}", field=origin)
        for name in _expanded(origin, word) if "[" in word or "]" in word else (word,):
            counts[name] = counts.get(name, 0) + 1
    if not counts:
        raise ValidationError(f"{origin}: the file names no node; {HINT}", field=origin)
    return counts


def _expanded(origin: str, word: str) -> list[str]:
    try:
        return expand(origin, word)
    except ValidationError:
        raise ValidationError(f"{origin}: {word!r} is no list of nodes like n[1-3,7]; {HINT}", field=origin) from None


def _size(part: str) -> int:
    """How many names one part of a list stands for, at most; without writing them down."""
    size = 1
    for ranges in _RANGES.findall(part):
        sizes = [_RANGE.match(one) for one in ranges.split(",")]
        size *= sum(max(1, int(found[2]) - int(found[1]) + 1) if found else 1 for found in sizes)
    return size


def _shown(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:100]}...")


def _damaged(variable: str, text: str) -> ValidationError:
    return ValidationError(f"{variable} = {_shown(text)}: is no list of nodes like n[1-3,7]; {HINT}", field=variable)
