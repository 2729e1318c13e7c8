"""A site with several job stores on its private PostgreSQL, from the command line."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from balsam.rpc import Connection
from balsam.site import Site
from balsam_cli.why import asking
from tests.cli.conftest import Balsam
from tests.support.processes import running_launcher
from tests.support.sites import make_test_site, wait_until

pytestmark = [pytest.mark.postgres, pytest.mark.usefixtures("postgres_cluster")]


@pytest.fixture
def site(short_directory: Path) -> Site:
    """A site with two job stores; its services do not run."""
    return make_test_site(short_directory, "postgres", job_stores=2)


@pytest.fixture(autouse=True)
def _down(site: Site, balsam_process: Balsam) -> Iterator[None]:
    yield
    assert balsam_process("down").status == 0


def test_up_starts_all_and_again_the_one_that_was_killed_and_down_stops_all(site: Site, balsam_process: Balsam) -> None:
    names = ["jobstore", "jobstore-2", "scheduler"]
    first = balsam_process("up", "--json").json["services"]
    assert [(service["name"], service["state"]) for service in first] == [(name, "started") for name in names]
    (job_id,) = balsam_process("job", "--name", "a", "--", "true").ids

    os.kill(site.read_info("jobstore")["pid"], signal.SIGKILL)
    status = balsam_process("status", "--json")
    assert {service["name"]: service["state"] for service in status.json["services"]} == {
        "jobstore": "down",
        "jobstore-2": "up",
        "scheduler": "up",
    }
    assert status.json["jobs"] == {"PREPROCESSED": 1}  # said by the other one
    assert [row["job_id"] for row in balsam_process("ls", "--json").json] == [job_id]

    again = balsam_process("up")
    assert "job store started" in again.out
    assert "job store 2 was up already" in again.out
    doctor = {finding["check"]: finding for finding in balsam_process("doctor", "--json").json}
    assert "job store 2 up" in doctor["services"]["found"]
    assert doctor["leftovers"]["level"] == "ok"
    stopped = balsam_process("down", "--json").json["stopped"]
    assert [(one["name"], one["killed"]) for one in stopped] == [(name, False) for name in reversed(names)]


class Line:
    """A client of one of the job stores."""

    def __init__(self, site: Site, name: str) -> None:
        self.site = site
        self._connection = Connection(site, name, address=site.address(name))

    def call(self, make: Any, method: str, request: Any) -> Any:
        return self._connection.call(make, method, request)


def test_whichever_is_asked_what_launchers_can_take_is_known(site: Site, balsam_process: Balsam) -> None:
    assert balsam_process("up").status == 0
    with running_launcher(site, "--persistent", "--gpus-per-node", "3"):
        for name in ("jobstore", "jobstore-2"):
            store: Any = Line(site, name)

            def known(store: Any = store) -> bool:
                return [[one.gpus for one in taker.kinds] for taker in asking.takers_at_work(store)] == [[3]]

            wait_until(known, what=f"{name} says what the launcher has", site=site)


def test_more_than_one_is_refused_over_sqlite(site: Site, balsam_process: Balsam) -> None:
    settings = site.path / "settings.toml"
    settings.write_text(settings.read_text().replace('database = "postgres"', 'database = "sqlite"'))
    refused = balsam_process("up")
    assert refused.status == 1
    assert "job_stores = 2 needs a database that several processes can serve" in refused.err
    settings.write_text(settings.read_text().replace("job_stores = 2", "job_stores = 9"))
    assert "job_stores = 9 must be at most 8" in balsam_process("up").err


def test_a_site_with_several_cannot_move_to_sqlite(site: Site, balsam_process: Balsam) -> None:
    refused = balsam_process("migrate-db", "sqlite")
    assert refused.status == 1
    assert "job_stores = 2 needs a database" in refused.err
