"""``BalsamJob``: a job as an object.

Each script of a job and each MPI rank may add jobs: what that does not need is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from balsam import attributes, errors
from balsam.errors import InvalidParentsError, NotFound, ValidationError
from balsam.fields import JOB_FIELDS, Kind, Phase
from balsam.ids import new_job_id
from balsam.job_members import DerivedMembers
from balsam.model import Values, give_attributes

if TYPE_CHECKING:
    import uuid

    from balsam.query import Node
    from balsam.queryset import QuerySet


class BalsamJob(DerivedMembers):
    """A job: what to run, what it waits for, and where it stands.

    The fields are those of `balsam.fields.JOB_FIELDS`. A field that does not exist, and a value that does not fit, are
    refused at once with a ValidationError that names them. Nothing is stored before `save`.
    """

    __slots__ = ()

    _kind = "BalsamJob"
    _table = JOB_FIELDS
    _default_order = ("create_time",)

    class DoesNotExist(NotFound):
        """There is no such job."""

    class MultipleObjectsReturned(errors.MultipleObjectsReturned):
        """More than one job where one was asked for."""

    _missing = DoesNotExist

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self._refuse_state()
        if "job_id" not in self._values:
            self._values["job_id"] = new_job_id()

    def _refuse_state(self) -> None:
        state = self._values.get("state", "CREATED")
        if state != "CREATED":
            raise JOB_FIELDS["state"].error(state, "a new job is CREATED; save it, then call update_state")

    def __repr__(self) -> str:
        return f"<{self._kind} {self.cute_id} {self.state}>"

    # Storing

    def save(self, update_fields: Iterable[str] | None = None, *, if_unchanged: bool = False) -> None:
        """Stores a new job; of one that is stored, the fields changed since it was loaded, or `update_fields`.

        Raises:
            ValidationError: the store refuses a value, or a change of the state.
            Conflict: `if_unchanged`, and somebody has changed the job since it was loaded.
            DoesNotExist: the job was deleted.
        """
        if self._stored:
            if update_fields is not None and not isinstance(update_fields, str):
                update_fields = [name for name in update_fields if name != "state_history"]
            values = self._checked_values(self._chosen_fields(update_fields))
            if values:
                self._send(values, self._known_revision() if if_unchanged else 0)
        elif update_fields is not None:
            raise ValidationError(f"{self.cute_id} is not stored yet: save() all of it first")
        else:
            self._create_many([self])

    def _known_revision(self) -> int:
        if not self._complete:
            raise ValidationError(f"{self.cute_id} was not read since it was made: call refresh_from_db() first")
        return self.revision

    def _send(self, values: Values, expected_revision: int = 0, message: str = "") -> None:
        """Stores new values of some fields; they are this object's once the store has taken them."""
        try:
            revision = self._calls().update(self._identity(), values, expected_revision, message)
        except NotFound as error:
            raise self._not_found(error) from None
        # A later revision means that somebody else changed the job too: `if_unchanged` has to notice that.
        if expected_revision or revision == self._values.get("revision", 0) + 1:
            self._values["revision"] = revision
        self._has_stored(values)

    def _not_found(self, error: NotFound) -> NotFound:
        """The error, as one of this class if it is about the job itself."""
        return self.DoesNotExist(str(error)) if error.field in ("", "job_id") else error

    @classmethod
    def _create_many(cls, instances: Sequence[Any]) -> None:
        for job in instances:
            if not cls._is_one(job):
                raise ValidationError(f"{job!r} is no {cls._kind}")
        values = [job._creation_values() for job in instances]
        cls._calls().create(values)
        for job, its in zip(instances, values, strict=True):
            job._has_stored(its if job._originals else {})

    def _creation_values(self) -> Values:
        if not self._originals:
            return self._values  # checked when they were set, and handed out to nobody since
        self._refuse_state()
        return self._checked_values(self._values)

    def delete(self, kill: bool = False) -> None:
        """Deletes the job and its history; a running one only with `kill`, which stops it.

        Raises:
            DoesNotExist: the job was deleted.
            NotAllowed: it is at work, and `kill` is not set.
        """
        try:
            self._calls().delete([self._identity()], kill).check("deleted")
        except NotFound as error:
            raise self._not_found(error) from None

    def _fetch(self) -> Values:
        try:
            return self._calls().get(self._identity())
        except NotFound as error:
            raise self._not_found(error) from None

    # States

    def update_state(self, new_state: str, message: str = "") -> None:
        """Moves the job to a state, now, with a message for its history; other changes are not sent.

        Raises:
            InvalidStateError: the job cannot be moved there from where it stands.
        """
        if not self._stored:
            raise ValidationError(f"{self.cute_id} is not stored yet: save() it first")
        self._send({"state": JOB_FIELDS["state"].check(new_state)}, message=message)

    @classmethod
    def batch_update_state(cls, jobs: Any, new_state: str, message: str = "") -> int:
        """Moves many jobs (ids, jobs, or a query) to a state in one call; returns how many.

        Raises:
            BalsamError: some were refused; the message says what became of the others.
        """
        state = JOB_FIELDS["state"].check(new_state)
        selection = selected(jobs)
        return cls._calls().set_state(selection, state, message).check("moved") if selection else 0

    # What queries do with many jobs

    @classmethod
    def _count(cls, where: Node) -> int:
        return cls._calls().count(where)

    @classmethod
    def _groups(cls, where: Node, fields: Sequence[str]) -> list[tuple[tuple[Any, ...], int]]:
        return cls._calls().groups(where, fields)

    @classmethod
    def _update_matching(cls, where: Node, values: Mapping[str, Any]) -> int:
        clean = {cls._changeable(name).name: cls._field(name).check(value) for name, value in values.items()}
        state = clean.pop("state", None)
        calls = cls._calls()
        if state is None:
            return calls.update_matching(where, clean).check("changed") if clean else 0
        if not clean:
            return calls.set_state(where, state).check("moved")
        # The first change must not decide which jobs the second is about.
        ids = [row["job_id"] for page in calls.pages(where, fields=["job_id"]) for row in page]
        if ids:
            calls.update_matching(ids, clean).check("changed")
            calls.set_state(ids, state).check("moved")
        return len(ids)

    @classmethod
    def _delete_matching(cls, where: Node) -> int:
        return cls._calls().delete(where).check("deleted")

    # The graph

    def get_parents(self) -> QuerySet[Self]:
        """The jobs that this one depends on, as a query."""
        if self._stored and "parents" not in self.changed_fields():
            return type(self).objects.filter(children=self._identity())
        return type(self).objects.filter(pk__in=self.parents)

    def get_parents_by_id(self) -> list[str]:
        """Ids of the jobs that this one depends on."""
        return list(self.parents)

    def get_children(self) -> QuerySet[Self]:
        """The jobs that depend on this one, as a query."""
        return type(self).objects.filter(parents=self._identity())

    def get_children_by_id(self) -> list[uuid.UUID]:
        """Ids of the jobs that depend on this one."""
        return list(self.get_children().values_list("job_id", flat=True))

    def get_child_by_name(self, name: str) -> Self:
        """The child with a name. Raises ValidationError if there is none, or more than one."""
        found = list(self.get_children().filter(name=name)[:2])
        if len(found) != 1:
            raise ValidationError(f"{self.cute_id} has {'several children' if found else 'no child'} named {name!r}")
        return found[0]

    def set_parents(self, parents: Any) -> None:
        """Replaces the parents (jobs, ids, or a query); stored at once if the job is.

        Raises:
            InvalidParentsError: one does not exist, or a cycle would be made.
        """
        try:
            ids = ids_of(parents)
        except ValidationError as error:
            raise InvalidParentsError(str(error), field="parents") from None
        if self._stored:
            self._send({"parents": ids})
        else:
            self.parents = ids

    # Plain data

    def to_dict(self) -> dict[str, Any]:
        """Every field as `json` can write it: ids and times are text, the times RFC 3339 in UTC."""
        from balsam.convert import plain

        if self._stored:
            self._attributes["parents"].__get__(self, type(self))
            self._attributes["revision"].__get__(self, type(self))
        return plain(self._values, self._table)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Self:
        """The job that `to_dict` described; one that was stored is taken as just loaded.

        Raises:
            ValidationError: a field does not exist, or a value does not fit.
        """
        values: Values = {}
        for name, value in d.items():
            field = cls._field(name)
            if field.kind is Kind.TIME and isinstance(value, str):
                value = datetime.fromisoformat(value).astimezone(UTC)
            if value != field.default:
                values[field.name] = field.check(value)
        values.setdefault("job_id", new_job_id())
        instance = cls._from_values(values)
        instance._stored = instance._complete = bool(values.get("revision"))
        return instance


def is_query(value: object) -> bool:
    """Whether `value` is a query."""
    return hasattr(value, "_as_condition")


def ids_of(jobs: Any) -> list[str]:
    """Ids of jobs that are given as a query, one job or id, or several.

    Raises:
        ValidationError: one is not an id.
    """
    import uuid

    if is_query(jobs):
        jobs = jobs.values_list("pk", flat=True)
    elif isinstance(jobs, (BalsamJob, uuid.UUID)):
        jobs = [jobs]
    ids: list[str] = JOB_FIELDS["parents"].check(jobs)
    return ids


def selected(jobs: Any) -> Node | list[str]:
    """Jobs as the store is told of them: a condition if they are given as a whole query, else ids."""
    if is_query(jobs):
        where: Node | None = jobs._as_condition(JOB_FIELDS, "job_id")
        if where is not None:
            return where
    return ids_of(jobs)


give_attributes(
    BalsamJob,
    {
        **{name: attributes.OutputAttribute for name, field in JOB_FIELDS.items() if field.phase is Phase.NEVER},
        "job_id": attributes.IdAttribute,
        "data": attributes.DataAttribute,
        "environ_vars": attributes.EnvironAttribute,
        "parents": attributes.ParentsAttribute,
    },
)
