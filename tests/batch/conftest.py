"""What tests of the batch side share: a batch system, and a site that submits to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from balsam.site import Site
from tests.cli.conftest import balsam as balsam
from tests.support.queues import StandIn
from tests.support.sites import make_test_site


@pytest.fixture
def stand_in(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A batch system of the kind that the test names by `indirect`, first on PATH."""
    queue = StandIn(tmp_path / "queue", request.param)
    monkeypatch.setenv("PATH", f"{queue.bin}:{os.environ['PATH']}")
    return queue


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Site:
    """A site whose batch system is that of the stand-in, else the one that is found."""
    names = getattr(getattr(request.node, "callspec", None), "params", {})
    return make_test_site(tmp_path, batch_system=names.get("stand_in", "auto"))
