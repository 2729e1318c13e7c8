"""A valley that is not along the axes; it has no value where x is above 3."""

import sys

x, y = float(sys.argv[1]), float(sys.argv[2])
if x > 3:
    sys.exit(f"x = {x} is out of range")
print((x - 0.75) ** 2 + 2 * (y + 0.5) ** 2 + (x - 0.75) * (y + 0.5))
