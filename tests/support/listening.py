"""The threads in which a test's process listens to the events of sites."""

from __future__ import annotations

import threading

from balsam import completions
from balsam.client import Client


def threads_that_listen(client: Client) -> list[threading.Thread]:
    """Those for a site; those of sites that earlier tests had are left out."""
    others = {stream._thread for path, stream in completions._made.items() if path != str(client.site.path)}
    return [t for t in threading.enumerate() if t.name == "balsam-completions" and t not in others]
