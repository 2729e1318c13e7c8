"""Which jobs or applications a command means: id prefixes, and names that are exact or globs."""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from balsam.client import Client
from balsam.errors import MultipleObjectsReturned, NotFound, ValidationError
from balsam.query import AllOf, Key, Node, Test
from balsam.states import State

_PREFIX = re.compile(r"[0-9a-f][0-9a-f-]{0,35}")
_SHOWN = 8  # matches that an ambiguous prefix lists
PAGE = 1000


def test(field: str, op: str, *values: str) -> Node:
    """The condition that `field` compares with texts; `op` is a name of `balsam.v1.Test.Op`."""
    return Test(field, (), op, values)


def exact_or_glob(field: str, pattern: str) -> Node:
    """The condition that `field` is `pattern`, or matches it when it holds `*` or `?`."""
    return test(field, "GLOB" if is_glob(pattern) else "EXACT", pattern)


def is_glob(pattern: str) -> bool:
    """Whether it is a pattern and not a name."""
    return "*" in pattern or "?" in pattern


def check_state(name: str) -> str:
    """The name of a state, in capitals.

    Raises:
        ValidationError: there is no such state; names the nearest, and those that there are.
    """
    if name.upper() in State.__members__:
        return name.upper()
    import difflib

    near = difflib.get_close_matches(name.upper(), State.__members__, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValidationError(f"state {name!r} does not exist{hint} (states: {', '.join(State.__members__)})")


def job_conditions(
    *, name: str | None = None, workflow: str | None = None, states: Sequence[str] = (), ids: Sequence[str] = ()
) -> list[Node]:
    """The conditions that the options of a command give."""
    conditions = []
    if name is not None:
        conditions.append(exact_or_glob("name", name))
    if workflow is not None:
        conditions.append(exact_or_glob("workflow", workflow))
    if states:
        conditions.append(test("state", "IN", *(check_state(state) for state in states)))
    if ids:
        conditions.append(test("job_id", "IN", *ids))
    return conditions


def list_jobs(
    store: Client,
    conditions: Sequence[Node],
    *,
    limit: int | None = None,
    fields: Sequence[str] = (),
    order: Sequence[Key] = (),
) -> Iterator[dict[str, Any]]:
    """The values of the jobs that match, page by page, at most `limit` of them."""
    if limit == 0:
        return iter(())
    pages = store.jobs.pages(AllOf(tuple(conditions)), order, page_size=min(PAGE, limit or PAGE), fields=fields)
    return itertools.islice(itertools.chain.from_iterable(pages), limit)


def count_jobs(store: Client, conditions: Sequence[Node]) -> int:
    """How many jobs match."""
    return store.jobs.count(AllOf(tuple(conditions)))


def find_ids(store: Client, prefixes: Iterable[str]) -> list[str]:
    """The full id for each prefix, without repeats.

    Raises:
        ValidationError: one is no part of an id.
        NotFound: no job has an id that starts so.
        MultipleObjectsReturned: several have; the message lists them.
    """
    return list(dict.fromkeys(_find_id(store, prefix) for prefix in prefixes))


def _find_id(store: Client, prefix: str) -> str:
    wanted = prefix.strip().lower()
    try:
        return str(uuid.UUID(wanted))
    except ValueError:
        pass
    if not _PREFIX.fullmatch(wanted):
        raise ValidationError(f"{prefix!r} is not a job id, nor the start of one; `balsam ls` shows them")
    condition = test("job_id", "STARTSWITH", wanted)
    jobs = list(list_jobs(store, [condition], limit=_SHOWN + 1, fields=("name", "workflow")))
    if not jobs:
        raise NotFound(f"no job has an id that starts with {prefix!r}; `balsam ls` shows them")
    if len(jobs) > 1:
        shown = ", ".join(f"{job['job_id']} ({job.get('name') or 'job'})" for job in jobs[:_SHOWN])
        more = " and more" if len(jobs) > _SHOWN else ""
        raise MultipleObjectsReturned(f"{prefix!r} could be {shown}{more}; give more digits")
    return str(jobs[0]["job_id"])


def why_none(store: Client, name: str | None, workflow: str | None) -> str:
    """What to say when no job matches: how many would with `*S*` in place of S."""
    hints = []
    for field, given in (("name", name), ("workflow", workflow)):
        if given is not None and not is_glob(given):
            loose = f"*{given}*"
            matches = count_jobs(store, [test(field, "GLOB", loose)])
            hints.append(f"{field} {loose!r} would match {matches:,}")
    return "no job matches" + (f"; {', '.join(hints)}" if hints else "")
