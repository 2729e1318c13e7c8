"""One text for each JSON value, whichever database it comes from.

PostgreSQL's JSONB keeps neither the order of keys nor how a number was written: 1e22 comes back as a whole number.
"""

from __future__ import annotations

import decimal
import json
from typing import Any

_EXACT = decimal.Context(prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)


def canonical(text: str) -> str:
    """The text of a JSON value in a form that equal values share."""
    return json.dumps(json.loads(text, parse_float=_number, parse_int=_number), sort_keys=True)


def canonical_value(value: Any) -> str:
    """As `canonical`, of a value that was parsed."""
    return canonical(json.dumps(value))


def _number(text: str) -> str:
    """A text that no user has: theirs hold no NUL."""
    number = decimal.Decimal(text, _EXACT)
    if not number:
        return "\0 0"
    sign, digits, exponent = number.as_tuple()
    plain = "".join(map(str, digits))
    short = plain.rstrip("0")
    return f"\0 {'-' if sign else ''}{short}e{int(exponent) + len(plain) - len(short)}"
