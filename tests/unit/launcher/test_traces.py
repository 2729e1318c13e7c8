"""What dead launchers have left is removed by launchers of the same host, and by no others."""

from __future__ import annotations

import json
import os
import socket

import pytest

from balsam.site import Site
from balsam_launcher import traces

DEAD = 2**22 + 1
"""No process has such a number."""


def leave(site: Site, host: str, *pids: int) -> None:
    """What killed launchers of a host have left."""
    site.make_run()
    suffix = "" if host == "login" else f"@{host}"
    for pid in pids:
        (site.run / f"launcher-{pid}.json").write_text(json.dumps({"pid": pid, "host": host}))
        (site.run / f"launcher-{pid}.sock").touch()
        (site.log / f"launcher-{pid}{suffix}.log").touch()
        (site.log / f"launcher-{pid}-steps{suffix}.log").touch()


def names(site: Site) -> set[str]:
    return {path.name for directory in (site.run, site.log) for path in directory.glob("launcher-*")}


@pytest.mark.parametrize("here", ["login", "node1"])
def test_each_host_tidies_up_its_own(site: Site, monkeypatch: pytest.MonkeyPatch, here: str) -> None:
    monkeypatch.setattr(traces, "KEPT_LOGS", 0)
    monkeypatch.setattr(socket, "gethostname", lambda: here)
    site.make_run()
    (site.run / "jobstore.json").write_text(json.dumps({"host": "login"}))
    leave(site, "login", DEAD)
    leave(site, "node1", DEAD + 1)
    leave(site, here, os.getpid())
    before = names(site)
    traces.tidy(site)
    gone = {"login": DEAD, "node1": DEAD + 1}[here]
    suffix = "" if here == "login" else "@node1"
    assert before - names(site) == {f"launcher-{gone}.{kind}" for kind in ("json", "sock")} | {
        f"launcher-{gone}{part}{suffix}.log" for part in ("", "-steps")
    }


def test_the_newest_logs_are_kept(site: Site) -> None:
    site.make_run()
    for number in range(traces.KEPT_LOGS + 3):
        path = site.log / f"launcher-{DEAD + number}.log"
        path.touch()
        os.utime(path, (number, number))
    traces.tidy(site)
    assert {path.name for path in site.log.glob("launcher-*")} == {
        f"launcher-{DEAD + number}.log" for number in range(3, traces.KEPT_LOGS + 3)
    }


def test_the_log_of_a_launcher_on_another_host_tells_which(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.make_run()
    assert traces.log_name(site) == f"launcher-{os.getpid()}"
    (site.run / "jobstore.json").write_text(json.dumps({"host": "login"}))
    monkeypatch.setattr(socket, "gethostname", lambda: "node1")
    assert traces.log_name(site) == f"launcher-{os.getpid()}@node1"
