"""Between the fields of a job and the columns of its two tables."""

from __future__ import annotations

import json
from typing import Any

from balsam_jobstore.rules import Needs

HOT_FIELDS = frozenset(
    {
        "name",
        "workflow",
        "application",
        "priority",
        "num_nodes",
        "ranks_per_node",
        "node_packing_count",
        "wall_time_minutes",
        "max_restarts",
        "queued_launch",
    }
)
"""Fields that are columns of `job` (`queued_launch` is `launch` there); the others are columns of `job_detail`."""
NEEDS_BY_FLAG: dict[str, tuple[int, bool | str]] = {
    "wait_for_parents": (int(Needs.NO_WAIT), False),
    "auto_timeout_retry": (int(Needs.NO_TIMEOUT_RETRY), False),
    "post_error_handler": (int(Needs.ERROR_HANDLER), True),
    "post_timeout_handler": (int(Needs.TIMEOUT_HANDLER), True),
    "stage_in_url": (int(Needs.STAGE_IN_URL), True),
    "input_files": (int(Needs.INPUT_FILES), True),
    "gpus_per_rank": (int(Needs.GPUS), True),
    "cpu_affinity": (int(Needs.BOUND_CORES), "depth"),
}
"""Field -> the bit of a job's needs that it sets, when it is this: something or nothing, or a text."""


def bit_of_flag(name: str, value: Any) -> int:
    """The bit that a field of `NEEDS_BY_FLAG` with this value sets, or 0."""
    bit, when = NEEDS_BY_FLAG[name]
    return bit if (value if isinstance(when, str) else bool(value)) == when else 0


def encode(name: str, value: Any) -> Any:
    """A field's value as its column holds it."""
    if name == "environ_vars":
        return json.dumps(value, ensure_ascii=False) if value else ""
    if name == "data":
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if name == "cpu_affinity":
        return 2 if value == "depth" else 1
    if isinstance(value, bool):
        return int(value)
    return value
