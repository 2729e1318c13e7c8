"""What a launcher can be told when it is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from balsam.errors import ValidationError
from balsam.fields import JOB_MODES, MAX_INT

ENV_LAUNCH_ID = "BALSAM_LAUNCH_ID"
"""Names the batch launch that a launcher belongs to; what the batch system starts has it."""


@dataclass(frozen=True)
class LauncherOptions:
    """Options of `balsam launcher`.

    Attributes:
        job_mode: ``auto``, ``mpi`` or ``serial``.
        workflow_filter: takes jobs of this workflow only (exact, or a glob); empty: of all.
        time_limit_minutes: stops by itself after so long [minutes]; None: what the batch system leaves, else never.
        limit_nodes: uses at most so many nodes; None: all.
        offset_nodes: leaves out so many nodes at the beginning of the list.
        gpus_per_node: GPUs of each node; None: what the settings say, else what is found.
        persistent: stays when there is nothing more to do.
        progress: shows a live line on the terminal.
        launch: id of the batch launch that it belongs to; None: none.
        trusted_users: users whose jobs it runs, too, in the account of its own user.
    """

    job_mode: str = "auto"
    workflow_filter: str = ""
    time_limit_minutes: float | None = None
    limit_nodes: int | None = None
    offset_nodes: int = 0
    gpus_per_node: int | None = None
    persistent: bool = False
    progress: bool = False
    launch: int | None = None
    trusted_users: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require(self.job_mode in JOB_MODES, "job_mode", self.job_mode, f"must be one of {', '.join(JOB_MODES)}")
        limit = self.time_limit_minutes
        _require(limit is None or 0 < limit < float("inf"), "time_limit_minutes", limit, "must be more than 0")
        _require(
            self.limit_nodes is None or self.limit_nodes >= 1, "limit_nodes", self.limit_nodes, "must be at least 1"
        )
        _require(self.offset_nodes >= 0, "offset_nodes", self.offset_nodes, "must be at least 0")
        gpus = self.gpus_per_node
        _require(gpus is None or gpus >= 0, "gpus_per_node", gpus, "must be at least 0")


def launch_of(environ: Mapping[str, str]) -> int | None:
    """The batch launch that an environment names; None: none.

    Raises:
        ValidationError: what it names is no id of a launch.
    """
    text = environ.get(ENV_LAUNCH_ID, "")
    valid = text.isascii() and text.isdecimal() and 1 <= int(text[:20]) <= MAX_INT
    _require(valid or not text, ENV_LAUNCH_ID, text, "must be the id of a launch; unset it for a launcher of none")
    return int(text) if text else None


def _require(condition: bool, name: str, value: object, rule: str) -> None:
    if not condition:
        raise ValidationError(f"{name} = {value!r}: {rule}", field=name)
