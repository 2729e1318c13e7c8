"""``python -m balsam_cli``: the same as ``balsam``."""

import sys

from balsam_cli.start import main

sys.exit(main())
