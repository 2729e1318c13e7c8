"""What tests of the launcher share: a way to add jobs, and a script that tells when it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.site import Site
from tests.support.scheduling import Jobs
from tests.support.sites import wait_until


@pytest.fixture
def jobs(site: Site) -> Iterator[Jobs]:
    """The jobs of the fixture `site`."""
    jobs = Jobs(site)
    yield jobs
    jobs.close()


class Witness:
    """A run that trusts no clock: it holds a lock while it runs, and writes down when it finds it taken."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "witness"
        self.gate = directory / "gate"
        self.script = directory / "witness.sh"
        self.script.write_text(
            f"""
            exec 9>>{directory}/lock
            flock -n 9 || echo overlap >> {self.file}
            trap 'echo term >> {self.file}; exit 1' TERM
            echo begin $BALSAM_ATTEMPT $$ >> {self.file}
            while [ ! -e {self.gate} ]; do sleep 0.02; done
            echo end $BALSAM_ATTEMPT >> {self.file}
            """
        )

    @property
    def command(self) -> str:
        """What a job runs."""
        return f"bash {self.script}"

    def lines(self) -> list[str]:
        """What it has written."""
        return self.file.read_text().splitlines() if self.file.exists() else []

    def wait_until_begun(self, times: int = 1) -> int:
        """Waits until it has begun so many times; gives the pid of the last."""

        def begun() -> list[str]:
            return [line for line in self.lines() if line.startswith("begin")]

        wait_until(lambda: len(begun()) >= times, what=f"{times} begun, of {self.lines()}")
        return int(begun()[-1].split()[2])

    def let_go(self) -> None:
        """Lets it end by itself."""
        self.gate.touch()

    @property
    def overlapped(self) -> bool:
        """Whether two ran at once."""
        return "overlap" in self.lines()


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    """A script that tells when it runs, and waits until it is let go."""
    return Witness(tmp_path)
