"""Tests of the scheduler's parts leave this process as they found it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest

_PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(autouse=True)
def _adopts_no_orphans_afterwards() -> Iterator[None]:
    yield
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
