"""What the scheduler holds: takes grants, has their steps done by a bounded number of threads, reports, gives credit.

All of it runs in one asyncio loop; only the steps themselves run in threads.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from balsam import failpoints
from balsam.states import State
from balsam.v1.lease_pb2 import Grant, Lease, Program, Report
from balsam.work import Credit, Response
from balsam_scheduler.limits import Limit, Stopped
from balsam_scheduler.steps import Outcome, Step

log = logging.getLogger("balsam.scheduler")

_ANY_SIZE = 2**31 - 1
_MESSAGE_CHARACTERS = 8000


class Line(Protocol):
    """The line to the job store; see `balsam.work.Worker`."""

    def report(self, report: Report, *, urgent: bool) -> None:
        """Reports on a lease."""

    def set_credit(self, credit: Credit, *, urgent: bool = True) -> None:
        """Says how much more work is wanted."""


@dataclass(eq=False)
class _Task:
    grant: Grant
    program: Program
    limit: Limit | None = None
    """Of the step, while it is being done."""
    silent: bool = False
    """The lease is not ours any more: nothing is to be reported."""
    next: _Task | None = field(default=None, repr=False)
    """The same job, granted anew; starts when this one has ended."""

    @property
    def lease(self) -> Lease:
        return self.grant.lease


class Dispatcher:
    """Has granted steps done.

    Args:
        do: does one step, in a thread.
        workers: how many steps are done at once.
        limit_seconds: how long one step may take.
    """

    def __init__(self, do: Callable[[Step], Outcome], *, workers: int, limit_seconds: float) -> None:
        self.workers = workers
        self.running = 0
        self.done = 0
        self._do = do
        self._limit_seconds = limit_seconds
        self._line: Line | None = None
        self._open = False
        self._stopping = False
        self._programs: dict[int, Program] = {}
        self._tasks: dict[int, _Task] = {}
        self._queue: deque[_Task] = deque()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="step")
        self._runs: set[asyncio.Task[None]] = set()

    def connect(self, line: Line) -> None:
        """Gives the line to report on; before anything else."""
        self._line = line

    def open(self) -> None:
        """Asks for work."""
        self._open = True
        self._give_credit()

    def close(self) -> None:
        """Asks for no more work."""
        self._open = False
        self._give_credit()

    def receive(self, response: Response) -> None:
        """Takes a message of the job store."""
        for program in response.programs:
            self._programs[program.program_id] = program
        for grant in response.grants:
            self._accept(grant)
        for lease in response.stops:
            self._stop(lease, silent=False)
        for lease in response.ack.refused:
            self._stop(lease, silent=True)
        if response.grants or response.stops or response.ack.refused:
            self._fill()
            self._give_credit()

    def lost(self) -> None:
        """The session has ended: nothing that was granted is ours any more."""
        for task in list(self._tasks.values()):
            task.next = None
            self._stop(task.lease, silent=True)

    async def stop(self) -> None:
        """Stops everything; what did not get done is given back."""
        self._stopping = True
        self.close()
        for task in list(self._tasks.values()):
            if task.next is not None:
                self._stop(task.next.lease, silent=False)
            self._stop(task.lease, silent=False)
        while self._runs:
            await asyncio.wait(self._runs)
        self._threads.shutdown()

    # Leases

    def _accept(self, grant: Grant) -> None:
        task = _Task(grant, self._programs.get(grant.program_id, Program()))
        before = self._tasks.get(grant.lease.handle)
        if self._stopping:
            self._release(task)
        elif before is None:
            self._tasks[grant.lease.handle] = task
            self._queue.append(task)
        elif grant.lease.token > (before.next or before).lease.token:
            before.next = task
            self._stop(before.lease, silent=True)

    def _stop(self, lease: Lease, *, silent: bool) -> None:
        task = self._tasks.get(lease.handle)
        if task is None:
            return  # it has ended: its report is on the way
        if task.next is not None and task.next.lease.token == lease.token:
            if not silent:
                self._release(task.next)
            task.next = None
        elif task.lease.token == lease.token:
            task.silent |= silent
            if task.limit is not None:
                task.limit.stop()
            else:
                self._queue.remove(task)
                if not task.silent:
                    self._release(task)
                self._end(task)

    def _release(self, task: _Task) -> None:
        """Gives a lease back with nothing done."""
        self._report(Report(lease=task.lease, release=True))

    def _end(self, task: _Task) -> None:
        if task.next is None:
            del self._tasks[task.lease.handle]
        else:
            self._tasks[task.lease.handle] = task.next
            self._queue.append(task.next)

    # Work

    def _fill(self) -> None:
        while self._queue and self.running < self.workers:
            task = self._queue.popleft()
            task.limit = Limit(self._limit_seconds)
            self.running += 1
            run = asyncio.create_task(self._run(task, task.limit))
            self._runs.add(run)
            run.add_done_callback(self._runs.discard)

    async def _run(self, task: _Task, limit: Limit) -> None:
        step = Step(task.grant, task.program, limit)
        try:
            outcome = await asyncio.get_running_loop().run_in_executor(self._threads, self._attempt, step)
        finally:
            self.running -= 1
            self.done += 1
            limit.close()
        failpoints.hit("scheduler.before-report")
        if not task.silent:
            self._report(_report_of(task, outcome))
        self._end(task)
        self._fill()
        self._give_credit()

    def _attempt(self, step: Step) -> Outcome | None:
        """In a thread. None: it was stopped."""
        try:
            return self._do(step)
        except Stopped:
            return None
        except Exception as error:
            # Given back, it would come again at once, and for ever.
            log.exception("job %s", step.grant.job.job_id)
            return Outcome(State.FAILED, f"{type(error).__name__}: {error} (see the scheduler's log)")

    # The line

    def _report(self, report: Report) -> None:
        if self._line is not None:
            # With a queue of work the next report is near, and they go together.
            self._line.report(report, urgent=not self._queue)

    def _give_credit(self) -> None:
        """As much again as is done at once lies ready, so that no worker waits for a grant."""
        jobs = max(0, 2 * self.workers - len(self._tasks)) if self._open else 0
        if self._line is not None:
            credit = Credit(nodes=float(_ANY_SIZE), jobs=jobs, largest=_ANY_SIZE)
            self._line.set_credit(credit, urgent=self.running < self.workers)


def _report_of(task: _Task, outcome: Outcome | None) -> Report:
    report = Report(lease=task.lease, release=True)
    if outcome is None:
        log.info("job %s: stopped", task.grant.job.job_id)
        return report
    # A name of a file need not be text; a message must be.
    message = outcome.message[:_MESSAGE_CHARACTERS].encode(errors="replace").decode()
    if outcome.state is State.FAILED:
        log.info("job %s: %s", task.grant.job.job_id, message)
    report.passages.add(state=outcome.state.value, time_us=time.time_ns() // 1000)
    report.message = message
    return report
