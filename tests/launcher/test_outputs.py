"""Outputs of runs that are read by way of the job store: of launchers whose files nobody else can see."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from balsam.client import Client
from balsam.errors import NotFound, Unavailable
from balsam.outputs import NO_OUTPUT, NO_RUN, PIECE_BYTES
from balsam.site import Site
from balsam.states import State
from tests.support.own_files import with_own_files
from tests.support.processes import Services, running_launcher
from tests.support.scheduling import Jobs
from tests.support.sites import wait_until


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    """Somebody with the owner's credential."""
    client = Client(site)
    yield client
    client.close()


@pytest.fixture
def elsewhere(site: Site, services: Services) -> Iterator[int]:
    """A launcher that stays, with files of its own; its process id."""
    with running_launcher(site, "--persistent", words=with_own_files(site.data)) as process:
        yield process.pid


def add_script(jobs: Jobs, script: str, name: str = "run") -> str:
    """A job that runs a script of sh; gives its id, once it runs."""
    job_id = jobs.add(name, args=f"sh -c '{script}'", node_packing_count=4)
    jobs.wait(job_id, State.RUNNING)
    return job_id


def until(gate: Path) -> str:
    """What waits in a script until a file is there."""
    return f"while [ ! -e {gate} ]; do sleep 0.02; done"


def joined(pieces: Iterator[tuple[bytes, int]]) -> bytes:
    """The pieces, each of which must follow the one before."""
    text = b""
    for data, offset in pieces:
        assert (offset, len(data) <= PIECE_BYTES) == (len(text), True)
        text += data
    return text


def test_it_is_followed_to_its_end_where_nobody_else_sees_the_file(
    client: Client, jobs: Jobs, elsewhere: int, tmp_path: Path
) -> None:
    job_id = add_script(jobs, f"echo one; {until(tmp_path / 'go')}; seq 100000")
    assert not Path(jobs.get(job_id).working_directory).exists()
    pieces = iter(client.outputs.read(job_id, follow=True))
    assert next(pieces) == (b"one\n", 0)
    (tmp_path / "go").touch()
    rest = b"".join(data for data, _ in pieces)
    assert rest == b"".join(b"%d\n" % number for number in range(1, 100_001))
    jobs.wait(job_id, State.JOB_FINISHED)


def test_without_following_it_is_what_there_is_from_where_it_was_asked_for(
    client: Client, jobs: Jobs, elsewhere: int, tmp_path: Path
) -> None:
    job_id = add_script(jobs, f"echo one; echo two; touch {tmp_path}/said; {until(tmp_path / 'go')}")
    wait_until((tmp_path / "said").exists)
    assert joined(iter(client.outputs.read(job_id))) == b"one\ntwo\n"
    assert list(client.outputs.read(job_id, 4)) == [(b"two\n", 4)]
    assert list(client.outputs.read(job_id, -2)) == [(b"o\n", 6)]
    assert list(client.outputs.read(job_id, 8)) == []
    (tmp_path / "go").touch()


def test_a_reader_that_takes_nothing_holds_up_neither_the_launcher_nor_other_readers(
    client: Client, jobs: Jobs, elsewhere: int, tmp_path: Path
) -> None:
    job_id = add_script(jobs, f"head -c 40000000 /dev/zero; {until(tmp_path / 'go')}")
    slow = iter(client.outputs.read(job_id, follow=True))
    _, first_offset = next(slow)
    began = time.monotonic()
    for _ in range(3):
        jobs.wait(jobs.add("other", args="true", node_packing_count=4), State.JOB_FINISHED)
    assert sum(len(data) for data, _ in client.outputs.read(job_id)) == 40_000_000
    assert (first_offset, time.monotonic() - began < 30) == (0, True)
    (tmp_path / "go").touch()
    jobs.wait(job_id, State.JOB_FINISHED)
    assert len(next(slow)[0]) == PIECE_BYTES


def test_a_reader_that_leaves_makes_room_for_another(
    client: Client, jobs: Jobs, elsewhere: int, tmp_path: Path
) -> None:
    job_id = add_script(jobs, f"echo one; {until(tmp_path / 'go')}")
    readers = [client.outputs.read(job_id, follow=True) for _ in range(20)]
    pieces = [iter(reader) for reader in readers]
    for piece in pieces:
        assert next(piece) == (b"one\n", 0)
    with pytest.raises(Unavailable, match=r"20 outputs .* which is the limit"):
        list(client.outputs.read(job_id))
    for reader in readers:
        reader.close()

    def may_read() -> bool:
        try:
            return list(client.outputs.read(job_id)) == [(b"one\n", 0)]
        except Unavailable:
            return False

    wait_until(may_read, what="there is room")
    (tmp_path / "go").touch()


def test_a_job_that_no_launcher_has_says_so(client: Client, jobs: Jobs, services: Services) -> None:
    job_id = jobs.add("run", args="true")
    with pytest.raises(NotFound, match="does not run now: it is ") as caught:
        list(client.outputs.read(job_id))
    assert caught.value.reason == NO_RUN
    with pytest.raises(NotFound, match="there is no job"):
        list(client.outputs.read("00000000-0000-4000-8000-000000000000"))


def test_what_a_job_has_put_in_the_place_of_its_output_is_not_read(
    client: Client, jobs: Jobs, elsewhere: int, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("secret")
    swaps = {
        "link": (f"ln -sf {tmp_path}/secret link.out", "it is a symbolic link"),
        "twice": ("ln twice.out another", "hard link"),
        "pipe": ("rm pipe.out; mkfifo pipe.out", "it is not a regular file"),
        "moved": (f"mv ../moved_* {tmp_path}/there && ln -s {tmp_path}/there $PWD", "is a symbolic link"),
    }
    for name, (swap, why) in swaps.items():
        job_id = add_script(jobs, f"{swap}; touch {tmp_path}/{name}.done; {until(tmp_path / 'go')}", name)
        wait_until((tmp_path / f"{name}.done").exists)
        with pytest.raises(NotFound, match=why) as caught:
            list(client.outputs.read(job_id))
        assert caught.value.reason == NO_OUTPUT
        jobs.kill(job_id)


def test_a_launcher_that_dies_ends_the_line_with_a_clear_word(
    site: Site, client: Client, jobs: Jobs, services: Services, tmp_path: Path
) -> None:
    with running_launcher(site, "--persistent", words=with_own_files(site.data)) as process:
        job_id = add_script(jobs, f"echo one; {until(tmp_path / 'go')}")
        pieces = iter(client.outputs.read(job_id, follow=True))
        assert next(pieces) == (b"one\n", 0)
        process.kill()
        with pytest.raises(Unavailable, match=r"the line to the launcher on .* broke"):
            next(pieces)
    (tmp_path / "go").touch()
