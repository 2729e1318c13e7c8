"""The line between a launcher and the agent of another node: real processes, and connections that break."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from balsam.processes import process_table
from balsam_launcher import starters
from balsam_launcher.ensemble import Ensemble
from balsam_launcher.frames import Notice, Order, Start

PATIENCE_SECONDS = 30.0
TRUST_SECONDS = 15.0


class Cable:
    """Passes bytes on between members and the launcher, until it is pulled; then members may connect anew."""

    def __init__(self) -> None:
        self.target = ""
        self._silent = False
        self._ends: set[asyncio.StreamWriter] = set()
        self.connections = 0

    async def open(self) -> str:
        """Where members connect to."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def pull(self) -> None:
        """Breaks every connection; what is on the way is lost."""
        for end in self._ends:
            end.transport.abort()

    def cut(self) -> None:
        """From now on nothing comes through, and nobody is told."""
        self._silent = True

    def close(self) -> None:
        """Breaks them, and takes no more."""
        self._server.close()
        self.pull()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        host, _, port = self.target.rpartition(":")
        behind, back = await asyncio.open_connection(host, int(port))
        self._ends |= {writer, back}
        await asyncio.gather(self._pass_on(reader, back), self._pass_on(behind, writer))
        self._ends -= {writer, back}

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                if not self._silent:
                    target.write(data)
        target.transport.abort()


class Launcher:
    """What an ensemble tells a launcher; and orders for its only node."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.notices: list[tuple[Any, ...]] = []
        self.lost: list[tuple[int, str, bool]] = []
        self.answers: list[tuple[int, int]] = []
        self.down: list[tuple[int, str]] = []
        self.cable = Cable()
        self._ids = itertools.count(1)
        self.ensemble = Ensemble(
            ["here"],
            self._command,
            dict(os.environ),
            "127.0.0.1",
            directory / "log",
            on_notices=self.notices.extend,
            on_change=lambda node: None,
            on_lost=lambda node, reason, blamed: self.lost.append((node, reason, blamed)),
            on_alive=lambda node, question: self.answers.append((node, question)),
            on_down=lambda node, reason: self.down.append((node, reason)),
            on_vain=lambda node, reason, for_good: pytest.fail(reason),
            on_hopeless=pytest.fail,
        )
        self.ensemble.lease(3.0)
        self._address = ""

    def _command(self, names: object) -> list[str]:
        where = ["env", f"BALSAM_MEMBER_OF={self._address}"]
        return [*where, sys.executable, "-P", "-m", "balsam_launcher.member"]

    async def start(self) -> None:
        """Returns when the agent is there and trusted."""
        self._address = await self.cable.open()
        await self.ensemble.start()
        self.cable.target = self.ensemble.address
        self.trust(TRUST_SECONDS)
        await self.until(lambda: self.agent.serves)

    @property
    def agent(self) -> Any:
        """The only node's."""
        return self.ensemble.agents[0]

    def trust(self, seconds: float) -> None:
        """Until when the agent may let runs run."""
        until = time.monotonic() + seconds
        self.agent.trust(until, 0.5, until + 1.0)

    def run(self, *words: str) -> int:
        """Orders a run; gives its id."""
        run_id = next(self._ids)
        directory = str(self.directory / f"run-{run_id}")
        variables = {"BALSAM_JOB_ID": f"job-{run_id}", "BALSAM_ATTEMPT": "1"}
        self.agent.order(*Start(Order.START, run_id, list(words), variables, directory, "job.out", "", False))
        self.agent.flush()
        return run_id

    def ended(self) -> Counter[int]:
        """Run id -> how often its end was told."""
        return Counter(notice[1] for notice in self.notices if notice[0] == Notice.ENDED)

    async def until(self, condition: Callable[[], object]) -> None:
        """Waits for it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def launcher(directory: Path) -> AsyncIterator[Launcher]:
    """One with an agent."""
    one = Launcher(directory)
    await one.start()
    try:
        yield one
    except TimeoutError:
        pytest.fail(f"waited in vain; {one.notices[-5:]}, {one.lost}\n{(directory / 'log').read_text()}")
    finally:
        await one.ensemble.close()
        one.cable.close()


def drive(directory: Path, story: Callable[[Launcher], Awaitable[None]]) -> None:
    """Tells a story to a launcher with an agent."""

    async def run() -> None:
        async with launcher(directory) as one:
            await story(one)

    asyncio.run(run())


def processes_of_members() -> dict[str, int]:
    """Module -> pid, of what runs below this process."""
    table = process_table()
    found = {}
    for pid in table.descendants([os.getpid()]):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            found.update({word: pid for word in words if word.startswith("balsam_launcher.")})
    return found


def test_every_end_is_told_once_however_often_the_connection_breaks(tmp_path: Path) -> None:
    async def story(one: Launcher) -> None:
        runs = []
        for number in range(120):
            runs.append(one.run("true"))
            if number % 20 == 10:
                one.cable.pull()
            await asyncio.sleep(0.005)
        await one.until(lambda: len(one.ended()) == len(runs))
        assert one.ended() == dict.fromkeys(runs, 1)
        assert one.cable.connections > 3
        assert one.lost == []

    drive(tmp_path, story)


def test_runs_go_on_while_the_launcher_is_out_of_reach(tmp_path: Path) -> None:
    async def story(one: Launcher) -> None:
        gate = tmp_path / "gate"
        run = one.run("sh", "-c", f"while [ ! -e {gate} ]; do sleep 0.01; done; exit 7")
        await one.until(lambda: any(notice[0] == Notice.STARTED for notice in one.notices))
        one.cable.pull()
        await one.until(lambda: not one.agent.serves)
        gate.touch()
        await one.until(lambda: one.ended())
        (end,) = [notice for notice in one.notices if notice[0] == Notice.ENDED]
        assert (end[1], end[2], end[-1]) == (run, 7, False)

    drive(tmp_path, story)


def test_when_trust_ends_the_runs_end_though_nobody_says_so(tmp_path: Path) -> None:
    async def story(one: Launcher) -> None:
        pid_file = tmp_path / "pid"
        one.run("sh", "-c", f"echo $$ > {pid_file}; exec sleep 1000")
        await one.until(lambda: pid_file.exists() and pid_file.read_text())
        pid = int(pid_file.read_text())
        one.cable.cut()
        await one.until(lambda: not process_table().alive(pid))
        await one.until(lambda: one.lost)
        node, reason, blamed = one.lost[0]
        assert (node, blamed) == (0, True)
        assert "here was lost" in reason
        assert one.down == [(0, reason)]  # and what others have started there

    drive(tmp_path, story)


def test_when_the_agent_dies_its_runs_are_lost_and_another_serves(tmp_path: Path) -> None:
    async def story(one: Launcher) -> None:
        one.run("sleep", "1000")
        await one.until(lambda: any(notice[0] == Notice.STARTED for notice in one.notices))
        os.kill(processes_of_members()["balsam_launcher.agent"], signal.SIGKILL)
        await one.until(lambda: one.lost)
        assert one.lost == [(0, "the node agent on here was lost", True)]
        assert one.down == []
        run = one.run("true")
        await one.until(lambda: one.ended()[run] == 1)

    drive(tmp_path, story)


def test_a_question_is_answered_once_the_node_is_back_in_reach(tmp_path: Path) -> None:
    async def story(one: Launcher) -> None:
        one.agent.ask(1)
        await one.until(lambda: one.answers)
        one.cable.pull()
        await one.until(lambda: not one.agent.serves)
        one.agent.ask(2)
        await one.until(lambda: len(one.answers) > 1)
        assert one.answers == [(0, 1), (0, 2)]

    drive(tmp_path, story)


def test_a_node_whose_clock_begins_anew_was_started_anew(tmp_path: Path) -> None:
    async def story(one: Launcher) -> None:
        await one.until(lambda: one.agent._last_ahead is not None)
        one.agent._last_ahead += 3600.0  # as if the node had been up for an hour more
        await one.until(lambda: one.down)
        assert one.down == [(0, "the node here was started anew")]
        assert one.lost == []

    drive(tmp_path, story)


def test_a_member_ends_with_its_launcher(tmp_path: Path) -> None:
    async def story(one: Launcher) -> None:
        one.run("sleep", "1000")
        await one.until(lambda: any(notice[0] == Notice.STARTED for notice in one.notices))

    drive(tmp_path, story)
    assert processes_of_members() == {}


def test_of_two_agents_on_a_node_the_one_that_came_first_leaves(tmp_path: Path) -> None:
    """As after an outage in which a second one was started: they must not end each other's runs by turns."""

    async def story(one: Launcher) -> None:
        one.run("true")
        await one.until(one.ended)
        first = processes_of_members()["balsam_launcher.member"]
        environ = one.ensemble._environ | {"BALSAM_MEMBER_NODES": "here=0"}
        second = await asyncio.create_subprocess_exec(*one._command(()), env=environ)
        try:
            await one.until(lambda: not process_table().alive(first))
            assert one.lost[-1] == (0, "the node agent on here ended", True)
            run = one.run("true")
            await one.until(lambda: one.ended()[run] == 1)
            assert second.returncode is None
        finally:
            await one.ensemble.close()
            await second.wait()

    drive(tmp_path, story)


def test_a_node_on_which_nothing_starts_keeps_no_other_from_its_agent_and_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run command starts nobody if it cannot start all: then fewer are tried at once."""
    monkeypatch.setattr(starters, "_VAIN_SECONDS", 1.0)
    script = tmp_path / "run-command"
    script.write_text(
        f"""#!/bin/sh
        case $* in *bad*) echo "cannot reach bad" >&2; exit 1;; esac
        PMI_RANK=0 exec {sys.executable} -P -m balsam_launcher.member
        """
    )
    script.chmod(0o755)

    told: list[tuple[int, str, bool]] = []

    async def story() -> None:
        ensemble = Ensemble(
            ["good", "bad", "well"],
            lambda names: [str(script), *names],
            dict(os.environ),
            "127.0.0.1",
            tmp_path / "log",
            on_notices=lambda notices: None,
            on_change=lambda node: None,
            on_lost=lambda node, reason, blamed: None,
            on_alive=lambda node, question: None,
            on_down=lambda node, reason: None,
            on_vain=lambda *news: told.append(news),
            on_hopeless=pytest.fail,
        )
        await ensemble.start()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while [agent.serves for agent in ensemble.agents] != [True, False, True]:
                    await asyncio.sleep(0.05)
                while not any(for_good for _, _, for_good in told):
                    await asyncio.sleep(0.05)
        finally:
            await ensemble.close()

    asyncio.run(story())
    assert set(told) == {(1, "cannot reach bad", False), (1, "cannot reach bad", True)}


def test_a_run_command_that_goes_on_without_a_node_and_says_so_is_not_waited_for(tmp_path: Path) -> None:
    """As srun does where a program is missing on one of its nodes."""
    script = tmp_path / "run-command"
    script.write_text(
        f"""#!/bin/sh
        case $* in
            bad) echo "srun: error: bad: task 0: Exited with exit code 2" >&2; exit 2;;
            *bad*) echo "srun: error: bad: task 1: Exited with exit code 2" >&2;;
        esac
        SLURM_PROCID=0 exec {sys.executable} -P -m balsam_launcher.member
        """
    )
    script.chmod(0o755)
    told: list[tuple[int, str, bool]] = []

    async def story() -> None:
        ensemble = Ensemble(
            ["good", "bad"],
            lambda names: [str(script), *names],
            dict(os.environ),
            "127.0.0.1",
            tmp_path / "log",
            on_notices=lambda notices: None,
            on_change=lambda node: None,
            on_lost=lambda node, reason, blamed: None,
            on_alive=lambda node, question: None,
            on_down=lambda node, reason: None,
            on_vain=lambda *news: told.append(news),
            on_hopeless=pytest.fail,
        )
        await ensemble.start()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(told) < 2:
                    await asyncio.sleep(0.05)
            assert [agent.serves for agent in ensemble.agents] == [True, False]
        finally:
            await ensemble.close()

    asyncio.run(story())
    assert told[0] == (1, "Exited with exit code 2", False)
    assert told[1] == (1, "srun: error: bad: task 0: Exited with exit code 2", False)
