"""Verbs on applications. Each runs inside a transaction, on plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from balsam.errors import Conflict, NotAllowed, NotFound
from balsam.states import END
from balsam_jobstore import records
from balsam_jobstore.rules import Needs
from balsam_jobstore.tx import Tx

_ENDED = ", ".join(str(int(s)) for s in sorted(END))
SCRIPTS = int(Needs.PREPROCESS | Needs.POSTPROCESS)


@dataclass(slots=True)
class Application:
    """A row of `application`."""

    key: int
    name: str
    executable: str
    description: str
    preprocess: str
    postprocess: str
    envscript: str
    python: str
    owner: str
    create_us: int
    revision: int


_COLUMNS = tuple(field.name for field in fields(Application))


def get(tx: Tx, name: str) -> Application:
    """An application.

    Raises:
        NotFound: there is none; names those that there are.
    """
    rows = records.select(tx, "application", _COLUMNS, "name = :name", name=name)
    if not rows:
        raise unknown_application(name, application_names(tx))
    return Application(*rows[0])


def by_keys(tx: Tx, keys: list[int]) -> list[Application]:
    """The applications with these keys."""
    return [Application(*row) for row in records.select(tx, "application", _COLUMNS, "key = {keys}", keys=keys)]


def create(tx: Tx, values: Mapping[str, str], *, owner: str) -> Application:
    """Registers an application.

    Raises:
        Conflict: the name is taken.
    """
    name = values["name"]
    if tx.sql.run("SELECT 1 FROM application WHERE name = :name", name=name):
        raise Conflict(
            f"application {name!r} exists already; change it with `balsam app --update`", reason="ALREADY_EXISTS"
        )
    columns = _COLUMNS[1:]
    row = [values.get(column, "") for column in columns[:7]] + [owner, tx.now_us, 1]
    tx.sql.insert("application", columns, [row])
    return get(tx, name)


def update(tx: Tx, name: str, changes: Mapping[str, str], *, expected_revision: int = 0) -> Application:
    """Changes an application; what jobs need of its scripts follows.

    Raises:
        NotFound: there is none.
        Conflict: the revision is another.
    """
    tx.lock("application", "name = :name", name=name)
    before = get(tx, name)
    records.check_revision(f"application {name!r}", before.revision, expected_revision)
    records.change(tx, "application", before.key, changes)
    after = get(tx, name)
    bits = script_needs(after.preprocess, after.postprocess)
    if bits != script_needs(before.preprocess, before.postprocess):
        text = f"SELECT key FROM job WHERE application = :application AND state NOT IN ({_ENDED})"
        for row in tx.load([key for (key,) in tx.sql.run(text, application=after.key)]):
            row.needs = (row.needs & ~SCRIPTS) | bits
            tx.touch(row)
    return after


def delete(tx: Tx, name: str) -> None:
    """Removes an application.

    Raises:
        NotFound: there is none.
        NotAllowed: unfinished jobs use it.
    """
    tx.lock("application", "name = :name", name=name)
    application = get(tx, name)
    text = f"SELECT count(*) FROM job WHERE application = :key AND state NOT IN ({_ENDED})"
    ((used,),) = tx.sql.run(text, key=application.key)
    if used:
        raise NotAllowed(
            f"application {name!r} is used by {used} unfinished jobs; finish or kill them first", reason="IN_USE"
        )
    tx.sql.run("UPDATE job SET application = NULL WHERE application = :key", key=application.key)
    tx.sql.run("DELETE FROM application WHERE key = :key", key=application.key)


def find_needs(tx: Tx, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Name -> (key, needs) of applications."""
    wanted = sorted(names)
    if not wanted:
        return {}
    tx.lock("application", "name = {names}", "SHARE", names=wanted)
    found = tx.sql.run("SELECT name, key, preprocess, postprocess FROM application WHERE name = {names}", names=wanted)
    return {name: (key, script_needs(preprocess, postprocess)) for name, key, preprocess, postprocess in found}


def script_needs(preprocess: str, postprocess: str) -> int:
    """What an application's scripts add to a job's needs."""
    return int((Needs.PREPROCESS if preprocess else 0) | (Needs.POSTPROCESS if postprocess else 0))


def application_needs(tx: Tx, known: Mapping[str, tuple[int, int]], name: str) -> tuple[int | None, int]:
    """Key and needs of an application, of those that were looked up; None and 0 for no name.

    Raises:
        ValidationError: there is none of that name; names the nearest.
    """
    if not name:
        return None, 0
    if name not in known:
        raise unknown_application(name, application_names(tx))
    return known[name]


def application_names(tx: Tx) -> list[str]:
    """The first names of applications, for an error."""
    return [name for (name,) in tx.sql.run("SELECT name FROM application ORDER BY name LIMIT 20")]


def unknown_application(name: str, known: Sequence[str]) -> NotFound:
    """The error for an application that does not exist; names those that do."""
    there = f"there are: {', '.join(known)}" if known else "there is none yet, add it with `balsam app`"
    return NotFound(f"application {name!r} does not exist ({there})", field="application")
