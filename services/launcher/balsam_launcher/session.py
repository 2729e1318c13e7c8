"""How a launcher presents itself to the job store."""

from __future__ import annotations

import os
import socket

from balsam.v1 import session_pb2
from balsam_launcher.options import LauncherOptions


def session_of(options: LauncherOptions, nodes: int, address: str) -> session_pb2.Session:
    """What the session of this process is asked for with.

    Args:
        options: of the launcher.
        nodes: how many it has.
        address: gRPC address of its own server.
    """
    return session_pb2.Session(
        kind=session_pb2.Session.LAUNCHER,
        host=socket.gethostname(),
        pid=os.getpid(),
        nodes=nodes,
        job_mode=options.job_mode,
        workflow_filter=options.workflow_filter,
        address=address,
        launch=options.launch,
        trusted_users=options.trusted_users,
    )
