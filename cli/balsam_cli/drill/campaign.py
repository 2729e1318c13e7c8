"""The jobs of a drill, and what the job store says of them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from balsam.client import Client
from balsam.errors import NotFound
from balsam.query import AllOf, NotOf
from balsam.states import END
from balsam.v1 import session_pb2, session_service_pb2
from balsam.v1.session_service_pb2_grpc import SessionServiceStub
from balsam_cli import listing, new_jobs, selection
from balsam_cli.drill import witness
from balsam_cli.drill.verdict import Job

_END_STATES = tuple(sorted(state.name for state in END))
_FIELDS = ("name", "state", "attempt", "leased", "working_directory")


class Campaign:
    """Jobs in a workflow of their own, in a directory of their own below data/.

    Args:
        store: the job store.
        workflow: their workflow.
        jobs: how many.
        at_once: how many share one node.
    """

    def __init__(self, store: Client, workflow: str, jobs: int, at_once: int) -> None:
        self.store = store
        self.workflow = workflow
        self.jobs = jobs
        self.at_once = at_once
        self.directory = store.site.data / workflow
        self._where = selection.test("workflow", "EXACT", workflow)

    def add(self) -> None:
        """Writes their program, and adds them."""
        self.directory.mkdir()
        (self.directory / "witness.py").write_text(witness.PROGRAM)
        fields = {"workflow": self.workflow, "args": witness.command(self.directory)}
        width = len(str(self.jobs - 1))
        names = (f"{number:0{width}}" for number in range(self.jobs))
        new_jobs.add(self.store, [{"name": n, "node_packing_count": self.at_once, **fields} for n in names])

    def counts(self) -> dict[str, int]:
        """State -> number of jobs."""
        return listing.states_of(self.store, [self._where])

    def ended(self) -> int:
        """How many are in an end state."""
        counts = self.counts()
        return sum(counts.get(state, 0) for state in _END_STATES)

    def others(self) -> int:
        """Jobs of other workflows that have not ended."""
        ended = selection.test("state", "IN", *_END_STATES)
        return self.store.jobs.count(AllOf((NotOf(self._where), NotOf(ended))))

    def leased(self) -> int:
        """Jobs that somebody holds, of all on the site."""
        return sum(session.leases for session in self.sessions())

    def sessions(self) -> list[session_pb2.Session]:
        """The launchers at work on the site."""
        return new_jobs.launchers(self.store)

    def session_of(self, pid: int) -> session_pb2.Session | None:
        """That of a launcher of this drill; None: it has none (any more)."""
        mine = (one for one in self.sessions() if one.pid == pid and one.workflow_filter == self.workflow)
        return next(mine, None)

    def close_session(self, session_id: str) -> None:
        """Ends the session of a launcher that is dead for certain; what it held is given back."""
        request = session_service_pb2.CloseSessionRequest(session_id=session_id)
        try:
            self.store.call(SessionServiceStub, "CloseSession", request)
        except NotFound:
            pass  # it has expired meanwhile

    def accounts(self) -> list[Job]:
        """Each job as the job store and its own runs tell it."""
        rows = list(selection.list_jobs(self.store, [self._where], fields=_FIELDS))
        entered: dict[str, list[str]] = defaultdict(list)
        for move in self.store.events.moves([row["job_id"] for row in rows] or [""]):
            entered[move.job_id] += move.states
        return [
            Job(
                name=row.get("name", ""),
                state=str(row.get("state", "")),
                attempt=row.get("attempt", 0),
                leased=row.get("leased", False),
                entered=entered[row["job_id"]],
                witness=witness.read(Path(row["working_directory"])),
            )
            for row in rows
        ]

    def delete(self) -> int:
        """Deletes the jobs, running ones too; returns how many are still there."""
        self.store.jobs.delete(self._where, kill=True)
        return self.store.jobs.count(self._where)
