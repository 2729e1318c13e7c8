"""The process of the automatic submitter: woken by the event stream, and by a timer for the batch system."""

from __future__ import annotations

import contextlib
import logging
import queue
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from balsam import logs
from balsam.client import Client
from balsam.errors import BalsamError, Unavailable
from balsam.event_stream import EventStream
from balsam.locks import ServiceLock
from balsam.run_times import expected_minutes
from balsam.site import Site
from balsam.states import State
from balsam_cli.policy_note import SERVICE_LOCK
from balsam_cli.reach import unreachable
from balsam_cli.submitter_view import waiting_lines
from balsam_cli.terminal import note
from balsam_scheduler.batch import rounds, systems

log = logging.getLogger("balsam.service")

_WAKES = tuple(state.name for state in (State.CREATED, State.READY, State.RESTART_READY))
"""States in which there is new work; READY: the parents have finished."""
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_SHARE = 20
"""A question to the job store that took a second is not followed by another within so many: jobs come first there."""
_LEAST_PAUSE = 0.1  # seconds
_LEARN_SECONDS = 600.0


@dataclass(frozen=True)
class _Pace:
    """What the time until the next round depends on.

    Attributes:
        interval: of the policy [s].
        gather: of the policy [s].
        took: how long the job store took to answer [s].
        busy: there is something to wait for, other than new work.
    """

    interval: float = 60.0
    gather: float = 1.0
    took: float = 0.0
    busy: bool = True


class Submitter:
    """One round after the other, until a signal comes."""

    def __init__(self, site: Site, store: Client) -> None:
        self._site = site
        self._store = store
        # Of all that threads share this alone may be used in a signal handler.
        self._wakes: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._woken = threading.Event()
        self._said: set[str] = set()
        self._trouble = ""
        self._ask_at = 0.0
        """When the batch system is asked next, by the clock that only rises."""
        self._stopping = False
        self._known: Mapping[str, int] = {}
        self._learned: float | None = None
        """When that was read, by the clock that only rises."""

    def run(self, *, once: bool) -> int:
        """Works in the foreground. Returns the exit status.

        Raises:
            SiteError: another one works for this site, or the policy is not valid.
            BalsamError: with `once`, what was wrong.
        """
        lock = ServiceLock(self._site.make_run() / SERVICE_LOCK)
        lock.acquire("automatic submitter")
        logs.open_log(self._site, "service")
        policy = rounds.policy_of(self._store)
        if once:
            self._say_trouble(failure := self._round(ask_batch=True).failure)
            return 1 if failure else 0
        for number in _STOPS:
            # What was ignored stays so: `nohup`, and Ctrl-C for what runs in the background of a script.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: self._stop())
        self._say(f"submitting to {', '.join(one.label for one in policy.queues)}, by {self._site.path}/policy.toml")
        if text := unreachable(self._site, systems.choose(self._site.settings.batch_system).name):
            self._say(text)
        with self._listening():
            self._work()
        self._say("stopped; launches that are queued stay")
        return 0

    def _work(self) -> None:
        """Rounds: soon after something came, then at pauses that double up to the interval of the policy."""
        pause = 0.0
        while not self._stopping:
            pace = self._try_round()
            rest = min(pace.interval, _SHARE * pace.took)
            pause = max(_LEAST_PAUSE, min(pace.interval, max(pace.gather, 2 * pause)), rest)
            if self._wait(pause if pace.busy else None):
                pause = 0.0
                self._wait_out(max(pace.gather, rest))

    def _try_round(self) -> _Pace:
        """A round, which may fail; says what is wrong when that changes."""
        try:
            policy = rounds.policy_of(self._store)
            due = time.monotonic() >= self._ask_at
            done = self._round(ask_batch=due)
        except BalsamError as error:
            away = isinstance(error, Unavailable) and error.reason == Unavailable.reason
            trouble = "the job store is not running; waiting for it" if away else f"nothing is submitted: {error}"
            self._say_trouble(trouble)
            return _Pace()
        self._say_trouble(done.failure)
        if due:
            self._ask_at = time.monotonic() + policy.interval_seconds
        # Without launches, and without work but that of children, only an event can change anything.
        others = any(not verdict.work.waits for verdict in done.plan.verdicts)
        busy = bool(done.plan.open or done.plan.launches or others)
        return _Pace(policy.interval_seconds, policy.gather_seconds, done.seconds, busy)

    def _round(self, *, ask_batch: bool) -> rounds.Round:
        done = rounds.do_round(
            self._store,
            time.time(),
            self._say,
            ask_batch=ask_batch,
            expected=self._expected(),
            stopping=lambda: self._stopping,
        )
        # A note that is the reason why jobs wait is said with their number.
        lines = {note: note for note in done.plan.notes} | waiting_lines(done.plan.verdicts)
        for why, line in lines.items():
            if why not in self._said:
                self._say(line)
        self._said = set(lines)
        return done

    def _expected(self) -> Mapping[str, int]:
        """How long launchers expect runs to take [minutes], by application; read as seldom as they read it."""
        if self._learned is None or time.monotonic() >= self._learned + _LEARN_SECONDS:
            self._known = expected_minutes(self._store)
            self._learned = time.monotonic()
        return self._known

    # Waiting

    def _stop(self) -> None:
        """Of a signal handler: ends the wait, and a round before its next submission."""
        self._stopping = True
        self._wakes.put("stop")

    def _wait(self, seconds: float | None) -> bool:
        """Waits for so long, or until something comes: True if it was work."""
        try:
            what = self._wakes.get(timeout=seconds)
        except queue.Empty:
            return False
        return what == "work"

    def _wait_out(self, seconds: float) -> None:
        """Lets more come, so that it counts together."""
        until = time.monotonic() + seconds
        while not self._stopping and (left := until - time.monotonic()) > 0:
            self._wait(left)
        self._woken.clear()

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        events = EventStream(self._store, states=_WAKES)
        threading.Thread(target=self._listen, args=(events,), name="events", daemon=True).start()
        try:
            yield
        finally:
            events.close()

    def _listen(self, events: EventStream) -> None:
        while not self._stopping:
            try:
                for _ in events:
                    self._wake()
            except BalsamError:
                # It has stopped, or was never there: it may be started again.
                time.sleep(1.0)

    def _wake(self) -> None:
        if not self._woken.is_set():
            self._woken.set()
            self._wakes.put("work")

    # Saying

    def _say(self, text: str) -> None:
        log.info("%s", text)
        with contextlib.suppress(OSError):
            note(f"balsam service: {text}")

    def _say_trouble(self, text: str) -> None:
        """Says what is wrong when that changes."""
        if text and text != self._trouble:
            self._say(text)
        self._trouble = text
