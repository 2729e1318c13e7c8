"""Every command that prints data prints one JSON document with --json, on a real site, and nothing beside it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.site import Site
from balsam_cli.group import SUMMARIES
from tests.cli.conftest import Balsam
from tests.support.processes import launcher
from tests.support.sites import wait_for_states
from tests.unit.cli.test_every_command import WITHOUT_JSON

CALLS = {
    "init": "init {tmp}/other",
    "up": "up",
    "status": "status",
    "doctor": "doctor",
    "which": "which",
    "activate": "activate {site}",
    "server": "server --list-users",
    "app": "app --name greet --executable 'echo hello'",
    "job": "job --name b --app greet --args you",
    "dep": "dep {job} {waiting}",
    "mkchild": "mkchild --name child -- true",
    "make-dummies": "make-dummies 2 --wf many",
    "modify": "modify jobs {waiting} --attr priority --value 3",
    "kill": "kill {waiting}",
    "rm": "rm jobs --wf many --yes",
    "ls": "ls",
    "show": "show {job}",
    "why": "why {job}",
    "failures": "failures",
    "logs": "logs {job}",
    "log": "log",
    "export": "export {tmp}/all.jsonl",
    "import": "import {tmp}/all.jsonl",
    "archive": "archive --older-than 90d {tmp}/old.jsonl --yes",
    "plan": "plan",
    "plot": "plot",
    "submit-launch": "submit-launch -n 1 -t 5 --dry-run",
    "cancel": "cancel 999",
    "service": "service --dry-run",
    "launcher": "launcher --print-command",
    "login": "login {site}",
    "migrate-db": "migrate-db sqlite",
    "down": "down",
}
"""How each is called, in this order."""
REFUSED = {"cancel", "login", "migrate-db", "service"}
"""What is refused here: there is no such launch, the site is one's own, the services run, there is no policy."""


def test_every_command_is_called() -> None:
    assert SUMMARIES.keys() - CALLS.keys() - WITHOUT_JSON.keys() == set()


@pytest.fixture
def _down(balsam_process: Balsam) -> Iterator[None]:
    yield
    balsam_process("down")


@pytest.mark.usefixtures("_down")
def test_json_is_one_document(
    site: Site, balsam: Balsam, balsam_process: Balsam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert balsam_process("up").status == 0
    (job,) = balsam("job", "--name", "a", "--", "echo", "hello").ids
    launcher(site)
    wait_for_states(site, {"a": "JOB_FINISHED"})
    (waiting,) = balsam("job", "--name", "waiting", "--num-nodes", "99", "--", "true").ids
    words = {"tmp": tmp_path, "site": site.path, "job": job, "waiting": waiting}
    for name, call in CALLS.items():
        if name not in SUMMARIES:
            continue
        with monkeypatch.context() as patch:
            if name == "mkchild":
                patch.setenv("BALSAM_JOB_ID", waiting)
            # A child of its own: what starts and stops services keeps its descriptors to itself, and a launcher takes
            # the place of its process.
            run = balsam_process if name in ("up", "down", "launcher") else balsam
            done = run(name, "--json", *shlex.split(call.format(**words))[1:])
        assert "Traceback" not in done.err
        if name in REFUSED and not done.out:
            assert (done.status, done.err.count("\n")) == (1, 1), name
            continue
        assert done.status in ((0, 1) if name in REFUSED | {"doctor"} else (0,)), (name, done.err)
        assert json.loads(done.out) is not None, name
    assert json.loads(balsam_process("status", "--json").out)["up"] is False
