"""Whether nodes reach the services is known before a launcher comes up there in vain."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from balsam.settings import Settings
from balsam.site import Site
from balsam_cli.reach import unreachable
from balsam_scheduler.batch.calls import Call, CannotRun, Output

HERE = socket.gethostname()
ON_SOCKET, ON_LOOPBACK = f"on a Unix socket of {HERE} only", "at 127.0.0.1:7443, where only this host"


def nodes(text: str, code: int = 0) -> object:
    def run(call: Call) -> Output:
        assert call.words[0] == "sinfo"
        return Output(code, text)

    return run


def silent(call: Call) -> Output:
    raise CannotRun("there is no program 'sinfo' on PATH")


@pytest.mark.parametrize(
    ("listen", "batch_system", "run", "said"),
    [
        ("", "local", silent, ""),
        ("", "slurm", nodes("nid1\nnid2\n"), ON_SOCKET),
        ("", "slurm", nodes(f"{HERE}\nnid2\n"), ON_SOCKET),
        ("", "slurm", nodes(f"{HERE}\n{HERE}\n"), ""),
        ("", "slurm", nodes(f"{HERE}.example.org\n"), ""),
        ("", "slurm", nodes("", 1), ON_SOCKET),
        ("", "slurm", silent, ON_SOCKET),
        ("", "pbs", silent, ON_SOCKET),
        ("127.0.0.1:7443", "pbs", silent, ON_LOOPBACK),
        ("login1:7443", "pbs", silent, ""),
        ("0.0.0.0:7443", "pbs", silent, ""),
    ],
)
def test_who_is_told_that_nodes_do_not_reach_the_services(
    tmp_path: Path, listen: str, batch_system: str, run: object, said: str
) -> None:
    site = Site(tmp_path)
    site.__dict__["settings"] = Settings(listen=listen)
    text = unreachable(site, batch_system, run)  # type: ignore[arg-type]
    assert said in text
    assert bool(said) == bool(text)
