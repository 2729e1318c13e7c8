"""The node agent starts on every node, and every start of a launcher waits for it: it loads little."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {"grpc", "google", "asyncio", "subprocess", "psutil", "logging", "rich", "sqlalchemy"}


def test_the_agent_loads_nothing_heavy() -> None:
    program = "import sys, balsam_launcher.agent; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stdout.split()) == set()
