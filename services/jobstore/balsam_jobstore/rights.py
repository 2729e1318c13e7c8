"""What a caller may change, and name: jobs row by row, applications, launches and sessions by their owner.

All of it is decided in the transaction that does what is asked. For the owner of the site it asks no database, unless
there are other users and a job names an application.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from balsam.errors import NotAllowed
from balsam.serving import CALLER, Caller
from balsam_jobstore import schema
from balsam_jobstore.access import OWNER, RUN, denied
from balsam_jobstore.auditing import THE_OWNER, By
from balsam_jobstore.descent import from_some_of
from balsam_jobstore.refusals import Refused, refused
from balsam_jobstore.rows import OWNER_KEY, Row
from balsam_jobstore.sessions import Session
from balsam_jobstore.tx import Tx
from balsam_jobstore.users import Users

_job, _edge = schema.job, schema.edge


def by_of(caller: Caller) -> By:
    """In whose name something is done."""
    if caller.user_key == OWNER_KEY and not caller.job_key:
        return THE_OWNER
    return By(caller.user_key, caller.job_key, caller.job_id)


class Rights:
    """Those of one caller.

    Args:
        caller: who.
        users: those of the site.
    """

    def __init__(self, caller: Caller, users: Users) -> None:
        self.caller = caller
        self.is_all = caller.role == OWNER
        """Everything may be changed."""
        self.user_key = caller.user_key
        self.by = by_of(caller)
        self._users = users
        self._workflow: str | None = None

    # Jobs

    def visible(self) -> sa.ColumnElement[bool] | None:
        """The condition on jobs that may be read; None: all may.

        Runs and scripts read those of their user, and the parents of their own job, whosever these are.
        """
        if self.caller.role != RUN or not self._users.any:
            return None
        parents = sa.select(_edge.c.parent).where(_edge.c.child == self.caller.job_key)
        return sa.or_(_job.c.owner_key == self.user_key, _job.c.key.in_(parents))

    def own(self) -> sa.ColumnElement[bool] | None:
        """The condition on jobs of which a filter takes some to change; None: all."""
        return None if self.is_all else _job.c.owner_key == self.user_key

    def sort(self, tx: Tx, rows: Sequence[Row]) -> tuple[list[Row], list[Refused]]:
        """The jobs that may be changed, and refusals for the others."""
        if self.is_all:
            return list(rows), []
        mine = [row for row in rows if row.owner_key == self.user_key]
        if self.caller.role == RUN:
            mine = self._within_reach(tx, mine)
        keys = {row.key for row in mine}
        return mine, [refused(row.job_id, 0, self._refusal(row)) for row in rows if row.key not in keys]

    def check(self, tx: Tx, row: Row) -> None:
        """Raises NotAllowed if a job may not be changed."""
        if not self.is_all and not self.sort(tx, [row])[0]:
            raise self._refusal(row)

    def check_output(self, label: str, owner_key: int) -> None:
        """Raises NotAllowed if the output of a job may not be read by way of its launcher, which has its user's rights.

        Files are open to whom the file system lets read them; this is for the user alone, runs of theirs, and the owner
        of the site.
        """
        if not self.is_all and owner_key != self.user_key:
            raise denied(f"job {label} belongs to {self._users.name(owner_key)}, not to {self.caller.user}")

    def _within_reach(self, tx: Tx, rows: Sequence[Row]) -> list[Row]:
        """Those of its own user's jobs that a run may change."""
        others = [row for row in rows if row.key != self.caller.job_key]
        if not others:
            return list(rows)
        workflow = self._own_workflow(tx)
        far = [row for row in others if row.workflow != workflow]
        if not far:
            return list(rows)
        near = from_some_of(tx, far, owner_key=self.user_key, workflow=workflow, run_key=self.caller.job_key)
        out_of_reach = {row.key for row in far} - near
        return [row for row in rows if row.key not in out_of_reach]

    def _own_workflow(self, tx: Tx) -> str:
        own = tx.rows.get(self.caller.job_key)
        if own is not None:
            return own.workflow
        found = tx.sql.run("SELECT workflow FROM job WHERE key = :key", key=self.caller.job_key)
        return str(found[0][0]) if found else ""

    def _refusal(self, row: Row) -> NotAllowed:
        if row.owner_key != self.user_key:
            return denied(f"job {row.label} belongs to {self._users.name(row.owner_key)}, not to {self.caller.user}")
        return denied(
            f"job {row.label} of {self._users.name(row.owner_key)} is beyond what this run may change: jobs of its own "
            "workflow, jobs that it has added, and what depends on these"
        )

    # What jobs name

    def check_values(self, tx: Tx, row: Row, values: Mapping[str, Any]) -> None:
        """Raises NotAllowed if a job may not have new values, for what they name."""
        if not self._users.any:
            return
        for refusal in self.foreign_applications(tx, [values.get("application", "")], row.owner_key).values():
            raise refusal
        if values.get("queued_launch") is not None:
            self.check_launch(tx, values["queued_launch"])
        if values.get("parents"):
            self.check_parents(tx.load(tx.keys_of(values["parents"]).values()))

    def check_parents(self, parents: Iterable[Row]) -> None:
        """Raises NotAllowed if a job may not be made to wait for these: a run names jobs of its own user only."""
        if self.caller.role != RUN:
            return
        for parent in parents:
            if parent.owner_key != self.user_key:
                raise self._refusal(parent)

    def foreign_applications(self, tx: Tx, names: Iterable[str], owner_key: int | None = None) -> dict[str, NotAllowed]:
        """Those of these applications that a job of a user (of the caller's, by default) must not have, and why.

        An application is a command that its owner may change at any time, and whoever runs the job runs it: so it must
        be the user's own, the site owner's, or that of somebody whom the user trusts.
        """
        if not self._users.any:
            return {}
        wanted = sorted({name for name in names if name})
        user_key = self.user_key if owner_key is None else owner_key
        found = tx.sql.run("SELECT name, owner FROM application WHERE name = {names}", names=wanted)
        return {
            name: denied(
                f"application {name!r} belongs to {owner}: jobs of {self._users.name(user_key)} may have their own, "
                "and those of the site's owner",
                field="application",
            )
            for name, owner in found
            if not self._may_run(user_key, self._users.key(owner))
        }

    def _may_run(self, user_key: int, owner_key: int) -> bool:
        if owner_key in (user_key, OWNER_KEY):
            return True
        return user_key == OWNER_KEY and owner_key in self._users.trusted

    def check_launch(self, tx: Tx, launch: int) -> None:
        """Raises NotAllowed if a job or session may not be bound to a launch; one that does not exist is let pass."""
        if not self.is_all:
            for (owner,) in tx.sql.run("SELECT owner FROM launch WHERE key = :key", key=launch):
                self.check_record(f"launch {launch}", owner)

    # Applications, launches, sessions

    def check_record(self, what: str, owner: str) -> None:
        """Raises NotAllowed if something of this owner may not be changed."""
        if not self.is_all and self._users.key(owner) != self.user_key:
            raise denied(f"{what} belongs to {owner}, not to {self.caller.user}")

    def check_taking(self, names: Iterable[str]) -> None:
        """Raises NotAllowed if a launcher of the caller may not run the jobs of these users.

        A run has a token by which it acts for its job's user, and whoever runs it has that. So it is not for the
        launcher's user alone to decide; and a member who got one of the owner's would have the owner's account.
        """
        for name in names:
            if not self.is_all and name != self.caller.user and name not in self._users.shared:
                raise denied(
                    f"launchers of {self.caller.user} may not run the jobs of {name}: they could act for {name} in "
                    "this site; the owner of the site allows it by the setting shared_owners",
                    field="trusted_users",
                )

    def check_session(self, session: Session) -> None:
        """Raises NotAllowed if a session is somebody else's."""
        if not self.is_all and session.owner_key != self.user_key:
            raise denied(f"the {session.label} is {self._users.name(session.owner_key)}'s, not {self.caller.user}'s")


def rights_of_caller(users: Users) -> Rights:
    """Those of whoever makes the call that is being handled."""
    return Rights(CALLER.get(), users)
