"""GPUs: which a host has, and the variables by which a run is told of its own. Pure, except `count_of_this_host`.

Sources: CUDA C++ Programming Guide, "CUDA Environment Variables"; ROCm documentation, "GPU isolation techniques"; Level
Zero specification, "Environment Variables"; gres.conf(5) of Slurm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from balsam.errors import ValidationError

_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
"""By which a batch system tells what it has assigned; the first that is set counts."""

_OURS = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
_GPU_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*")
_NONE = ("", "-1", "NoDevFiles", "void", "none")


def assigned(environ: Mapping[str, str]) -> tuple[str, tuple[str, ...]] | None:
    """The GPUs that an environment assigns to this process, and the name of the variable; None: it says nothing.

    Raises:
        ValidationError: what it says is no list of GPUs.
    """
    for name in _VARIABLES:
        if name in environ:
            return name, ids(name, environ[name])
    return None


def ids(name: str, text: str) -> tuple[str, ...]:
    """The ids (numbers or UUIDs) in the value of a variable like CUDA_VISIBLE_DEVICES.

    Raises:
        ValidationError: it is no list of GPUs, or holds one twice.
    """
    if text.strip() in _NONE:
        return ()
    found = tuple(word.strip() for word in text.split(","))
    if not all(_GPU_ID.fullmatch(word) for word in found) or len(set(found)) < len(found):
        raise ValidationError(
            f"{name} = {text!r}: is no list of GPUs like 0,1,2; unset it",
            field=name,
        )
    return found


def numbered(count: int) -> tuple[str, ...]:
    """Ids of GPUs of which only the number is known."""
    return tuple(str(number) for number in range(count))


def variables(assigned_ids: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """What a run has in its environment that some GPUs are assigned to.

    Args:
        assigned_ids: the GPUs.
        environ: the environment that the run inherits.
    """
    return dict.fromkeys(variable_names(environ), ",".join(assigned_ids))


def variable_names(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the variables by which runs are told of their GPUs.

    Where the batch system has set ROCR_VISIBLE_DEVICES, that one alone: HIP counts the GPUs that it leaves from 0, so
    ids in a second variable would be taken for others.
    """
    return ("ROCR_VISIBLE_DEVICES",) if environ.get("ROCR_VISIBLE_DEVICES") else _OURS


def count_of_this_host(root: Path = Path("/")) -> int:
    """How many GPUs the kernel knows. Looks at files: /dev/nvidia0 and so on, and AMD's nodes of the topology.

    Args:
        root: where / is, for tests.
    """
    nvidia = sum(path.name[6:].isdecimal() for path in (root / "dev").glob("nvidia[0-9]*"))
    if nvidia or not (root / "dev/kfd").exists():
        return nvidia
    return sum(_is_gpu(path) for path in (root / "sys/class/kfd/kfd/topology/nodes").glob("*/simd_count"))


def _is_gpu(simd_count: Path) -> bool:
    """Processors are in AMD's topology too, with no such units."""
    try:
        return int(simd_count.read_text()) > 0
    except (OSError, ValueError):
        return False
