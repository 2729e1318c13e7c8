"""Finding the nodes that a launcher may use."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from balsam.errors import ValidationError


@dataclass(frozen=True)
class Node:
    """A node.

    Attributes:
        name: the name by which MPI run commands know it.
        cores: processors that this process may use there.
        gpus: GPUs to assign.
    """

    name: str
    cores: int
    gpus: int = 0


def find_nodes(*, gpus_per_node: int | None = None) -> list[Node]:
    """The nodes of this allocation: this host."""
    return [Node(socket.gethostname(), len(os.sched_getaffinity(0)), gpus_per_node or 0)]


def select(nodes: list[Node], *, limit: int | None = None, offset: int = 0) -> list[Node]:
    """At most `limit` nodes after the first `offset`.

    Raises:
        ValidationError: that leaves none.
    """
    chosen = nodes[offset:][:limit]
    if not chosen:
        names = ", ".join(node.name for node in nodes[:3])
        raise ValidationError(
            f"offset_nodes = {offset} leaves no node: there are {len(nodes)} ({names})", field="offset_nodes"
        )
    return chosen
