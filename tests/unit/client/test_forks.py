"""The gate that a fork closes before it comes: nobody is inside of gRPC then."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from balsam import forks
from balsam.forks import Gate

SECONDS = 10.0


@pytest.fixture
def gate() -> Gate:
    return Gate()


class Inside:
    """A thread that is inside until it is let go, or interrupted."""

    def __init__(self, gate: Gate) -> None:
        self._let_go = threading.Event()
        self._entered = threading.Event()
        self.has_ended = False
        self._gate = gate
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._gate.passage(self._let_go.set):
            with self._gate.passage():  # again, as a stream's thread does that makes calls
                self._entered.set()
            self._let_go.wait(SECONDS)
            with self._gate.passage():  # also while the process is about to fork
                time.sleep(0.1)  # a stream takes a moment to end
            self.has_ended = True

    def wait_until_entered(self) -> None:
        assert self._entered.wait(SECONDS)

    def is_outside(self) -> bool:
        self._thread.join(SECONDS)
        return not self._thread.is_alive()


def test_a_fork_interrupts_those_inside_and_waits_for_them(gate: Gate) -> None:
    inside = Inside(gate)
    inside.wait_until_entered()
    gate.before_fork()
    assert gate.closing
    assert inside.has_ended
    assert inside.is_outside()
    gate.after_fork_in_parent()
    assert not gate.closing


def test_nobody_enters_while_the_process_forks_but_who_forks(gate: Gate) -> None:
    gate.before_fork()
    inside = Inside(gate)
    with gate.passage():
        assert not inside._entered.wait(0.1)
    gate.after_fork_in_parent()
    inside.wait_until_entered()
    inside._let_go.set()
    assert inside.is_outside()


def test_a_child_begins_with_nobody_inside() -> None:
    with forks.gate.passage():
        pass
    child = os.fork()
    if child == 0:
        with forks.gate.passage():
            os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before
