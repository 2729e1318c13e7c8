"""The databases that a site may be given on the command line."""

from __future__ import annotations

import re

from balsam.errors import ValidationError

_URL = re.compile(r"(postgres|postgresql)(\+psycopg2)?://.+")


def check_database(value: str, option: str) -> str:
    """A value for the setting `database`.

    Raises:
        ValidationError: it is none; names the option.
    """
    if value in ("sqlite", "postgres") or _URL.fullmatch(value):
        return value
    # The value may hold a password: it is not repeated.
    raise ValidationError(
        f"{option} must be sqlite, postgres, or a URL such as postgresql://user@host/name", field=option.strip("-")
    )
