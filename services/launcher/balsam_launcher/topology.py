"""The processors of this host: which hardware threads belong to one core. Looks at files of the kernel.

Source: Documentation/admin-guide/cputopology.rst of Linux.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/{}"


def cores_of_this_host() -> list[tuple[int, ...]]:
    """The cores that this process may use, each with the numbers of its hardware threads that it may use, in order."""
    return group({cpu: _core_of(cpu) for cpu in os.sched_getaffinity(0)})


def group(core_of: dict[int, tuple[int, int]]) -> list[tuple[int, ...]]:
    """Hardware threads by core, in the order of the first of each.

    Args:
        core_of: hardware thread -> package and core.
    """
    threads: dict[tuple[int, int], list[int]] = {}
    for cpu in sorted(core_of):
        threads.setdefault(core_of[cpu], []).append(cpu)
    return sorted(tuple(found) for found in threads.values())


def threads_of(cores: list[tuple[int, ...]], numbers: Iterable[int], threads_per_core: int) -> set[int]:
    """Hardware threads of some cores: of each the first `threads_per_core`, or all that it has.

    Raises:
        IndexError: there is no such core.
    """
    return {thread for number in numbers for thread in cores[number][:threads_per_core]}


def _core_of(cpu: int) -> tuple[int, int]:
    try:
        with (
            open(_TOPOLOGY.format(cpu, "physical_package_id")) as package,
            open(_TOPOLOGY.format(cpu, "core_id")) as core,
        ):
            return int(package.read()), int(core.read())
    except (OSError, ValueError):
        return -1, cpu  # where the kernel does not say, each is a core
