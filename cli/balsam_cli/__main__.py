"""``python -m balsam_cli``: the same as ``balsam``."""

from balsam_cli.main import run

run()
