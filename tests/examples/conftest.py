"""The example's own modules, importable as its executables import them."""

from __future__ import annotations

import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "equation_of_state"

if str(EXAMPLE) not in sys.path:
    sys.path.insert(0, str(EXAMPLE))
