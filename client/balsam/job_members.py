"""The fields of a job as a reader of code sees them, and what is derived from them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from balsam.errors import NotFound, ValidationError
from balsam.model import Model

if TYPE_CHECKING:
    import uuid
    from pathlib import Path

    from balsam.application import ApplicationDefinition
    from balsam.history import Passage
    from balsam.job_calls import JobCalls


class DerivedMembers(Model):
    """The part of a job that changes nothing."""

    __slots__ = ()

    job_id: uuid.UUID
    name: str
    workflow: str
    description: str
    application: str
    args: str
    environ_vars: str | dict[str, str]
    data: dict[str, Any]
    parents: list[str]
    wait_for_parents: bool
    input_files: str
    stage_in_url: str
    stage_out_url: str
    stage_out_files: str
    user_workdir: str
    wall_time_minutes: int
    num_nodes: int
    coschedule_num_nodes: int
    ranks_per_node: int
    threads_per_rank: int
    threads_per_core: int
    cpu_affinity: str
    mpi_flags: str
    node_packing_count: int
    gpus_per_rank: float
    priority: int
    post_error_handler: bool
    post_timeout_handler: bool
    auto_timeout_retry: bool
    max_restarts: int
    queued_launch: int | None
    state: str
    owner: str
    create_time: datetime | None
    attempt: int
    exit_code: int | None
    working_directory: str
    message: str
    revision: int
    restarts: int
    leased: bool
    timeouts: int
    node: str

    @classmethod
    def _calls(cls) -> JobCalls:
        return cls._client().jobs

    @property
    def cute_id(self) -> str:
        """Name and the start of the id: ``[hello | 1f4a09c2]``."""
        short = self._identity()[:8]
        return f"[{self.name} | {short}]" if self.name else f"[{short}]"

    @property
    def num_ranks(self) -> int:
        """MPI ranks of a run."""
        return self.num_nodes * self.ranks_per_node

    @property
    def required_num_cores(self) -> int:
        """Cores of a run on all its nodes, with `threads_per_core` threads on each."""
        return self.num_nodes * -(-self.ranks_per_node * self.threads_per_rank // self.threads_per_core)

    # The application

    def get_application(self) -> ApplicationDefinition:
        """The application that it runs.

        Raises:
            NoApplication: the job has none, or there is none of that name.
        """
        from balsam.application import NoApplication

        if not self.application:
            raise NoApplication(f"{self.cute_id} has no application: its args are the whole command")
        model = self._client().ApplicationDefinition
        try:
            return model._from_values(model._calls().get(self.application))
        except NotFound as error:
            raise NoApplication(str(error)) from None

    def _of_application(self, name: str) -> str:
        return str(getattr(self.get_application(), name)) if self.application else ""

    @property
    def app_cmd(self) -> str:
        """The command line of a run, as a launcher starts it but for its MPI command and its envscript."""
        import shlex

        from balsam.commands import command_line

        job: Any = self
        application = self.get_application() if self.application else None
        environ = {**os.environ, **self._values.get("environ_vars", {})}
        return shlex.join(command_line(application, job, environ))

    @property
    def envscript(self) -> str:
        """The application's bash script that is sourced before it starts, or ``""``."""
        return self._of_application("envscript")

    @property
    def preprocess(self) -> str:
        """The application's pre-processing command, or ``""``."""
        return self._of_application("preprocess")

    @property
    def postprocess(self) -> str:
        """The application's post-processing command, or ``""``."""
        return self._of_application("postprocess")

    # The working directory

    def read_file_in_workdir(self, name: str) -> str:
        """The text of a file in the working directory; links to files of its parents are followed.

        Raises:
            ValidationError: it does not exist, or is outside of the directories of this site and of the parents.
        """
        from pathlib import Path

        if os.path.isabs(name) or ".." in Path(name).parts:
            raise ValidationError(f"{name!r} leaves the working directory of {self.cute_id}")
        directory = Path(self.working_directory)
        target = directory / name
        if not self.working_directory or not target.is_file():
            raise ValidationError(f"there is no file {name!r} in the working directory of {self.cute_id}, {directory}")
        if not any(target.resolve().is_relative_to(place.resolve()) for place in self._readable(directory)):
            raise ValidationError(f"{name!r} in {directory} is a link that leaves the site")
        return target.read_text(errors="replace")

    def _readable(self, directory: Path) -> Iterable[Path]:
        yield directory
        yield self._client().site.data
        parents = type(self).objects.filter(children=self._identity())
        yield from map(type(directory), parents.values_list("working_directory", flat=True))

    # The history

    def _passages(self) -> list[Passage]:
        return self._client().events.history(self._identity()) if self._stored else []

    @property
    def state_history(self) -> str:
        """Every state that it entered: lines ``[MM-DD-YYYY HH:MM:SS.ffffff STATE] message``, in UTC."""
        from balsam import history

        return history.text(self._passages())

    def get_recent_state_str(self) -> str:
        """The last line of the history."""
        from balsam import history

        return history.text(self._passages()[-1:])

    def get_state_times(self) -> dict[str, datetime]:
        """When each state was entered last, in UTC."""
        from balsam import history

        return history.state_times(self._passages())

    @property
    def runtime_seconds(self) -> float | None:
        """How long the last run that ended took [s]; None before one has."""
        from balsam import history

        return history.run_seconds(self._passages())
