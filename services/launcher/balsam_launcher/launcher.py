"""The launcher: takes work from the job store, has it run by its node agents, and reports what became of it.

Plain callbacks in one asyncio loop: messages of the work stream and notices of the agents come in, orders and reports
go out in batches, after each callback what follows from it (`_settle`). What to do is decided elsewhere: which jobs
start where in `pool`, how in `prepare`, how many are fetched ahead in `appetite` and `credit`, what becomes of runs in
`outcomes`, `ends` and `orders`, and what of nodes in `losses`. Here it is brought together.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from balsam import failpoints
from balsam.commands import NOT_STARTED_CODE, base_environment
from balsam.errors import ValidationError
from balsam.ledger import Ledger
from balsam.site import Site
from balsam.v1 import lease_pb2
from balsam.work import Credit, Response, Worker
from balsam_launcher import reports, traces
from balsam_launcher.ahead import Ahead
from balsam_launcher.appetite import Appetite
from balsam_launcher.credit import CreditTerms, Standing
from balsam_launcher.ends import Ends
from balsam_launcher.experience import Experience
from balsam_launcher.fleet import HEAD, Fleet
from balsam_launcher.leased import Ending, LeasedJob, need_of_job
from balsam_launcher.leftover import lacking
from balsam_launcher.losses import Losses
from balsam_launcher.mpi import Mpi, NoMpi
from balsam_launcher.nodes import Node
from balsam_launcher.options import LauncherOptions
from balsam_launcher.orders import Orders
from balsam_launcher.outcomes import Outcomes
from balsam_launcher.output_sending import OutputSending
from balsam_launcher.outputs import Outputs
from balsam_launcher.pool import Pool
from balsam_launcher.prepare import Surroundings, make_start
from balsam_launcher.session import session_of
from balsam_launcher.starting import Starter, in_allocation
from balsam_launcher.timers import Timers
from balsam_launcher.trust import TrustWatch

log = logging.getLogger("balsam.launcher")

_REFRESH_SECONDS = 15.0  # so often a credit with a time limit is said again
_SECOND_GRACE_SECONDS = 1.0
_STOP_PATIENCE_SECONDS = 10.0


class Launcher:
    """One launcher, from `open` to `close`.

    Args:
        site: the site.
        options: how it was started.
        nodes: the nodes that it uses.
        mpi: the MPI run command.
        starter: what starts agents on other nodes; None: this host is the only node.
        address: gRPC address of its own server.
    """

    def __init__(
        self,
        site: Site,
        options: LauncherOptions,
        nodes: Sequence[Node],
        mpi: Mpi | NoMpi,
        starter: Starter | None = None,
        address: str = "",
    ) -> None:
        self.site = site
        self.options = options
        self.nodes = list(nodes)
        self.done = asyncio.Event()
        """Nothing runs any more and nothing more is wanted: time to `close`."""
        self.pool = Pool(nodes)
        self.draining = False
        self.failure = ""
        """Why it cannot go on, once it cannot."""
        self._grace = site.settings.kill_grace_seconds
        environ = base_environment(os.environ)
        self._scratch = tempfile.TemporaryDirectory(prefix="balsam-launcher-", ignore_cleanup_errors=True)
        self._around = Surroundings(site.path, site.data, environ, nodes, options.job_mode, mpi, self._scratch.name)
        self._appetite = Appetite(len(nodes))
        self._experience = Experience(site)
        self._credit_terms = CreditTerms(self.pool, options.job_mode)
        self._credit_said: Credit | None = None
        self._programs: dict[int, lease_pb2.Program] = {}
        self._run_ids = itertools.count(1)
        self._began = time.monotonic()
        self._stopping = ""
        self._asked_drained = False
        self._reports: list[lease_pb2.Report] = []
        self._timers = Timers()
        self._log_file = site.log / f"{traces.log_name(site)}.log"
        self._agents = Fleet([node.name for node in nodes], starter, environ, self._log_file, self._on_notices)
        if self._agents.has_ensemble:
            for number in range(len(nodes)):  # until its agent is there
                self.pool.placement.close(number, serial=True, mpi=False)
        self.outputs = Outputs(self.pool, self._agents, self._around.root_of)
        later = self._timers.later
        self._orders = Orders(self.pool, self._agents, report=self._reports.append, later=later)
        self._ahead = Ahead(self.pool, self._appetite, drop=self._orders.drop, later=later)
        self._ends = Ends(
            nodes,
            self._agents,
            self.pool.placement,
            in_allocation=in_allocation(os.environ),
            is_reached=self._agents.reaches,
            running=self.pool.running.values,
            report=lambda leased, report: self._reports.append(report),
            report_late=lambda report: self.worker.report_late(report),
            set_aside=lambda node, reason: self._losses.set_aside(node, reason),
            later=later,
            looked=self._settle,
        )
        self._losses = Losses(
            nodes,
            self.pool,
            self._agents,
            self._ends,
            self._orders,
            grace_seconds=self._grace,
            settle=self._settle,
            hopeless=self._give_up,
        )
        self.outcomes = Outcomes(
            self.pool,
            self._ends,
            self._orders,
            self._appetite,
            self._ahead,
            report=self._reports.append,
            report_late=lambda report: self.worker.report_late(report),
        )
        self.worker = Worker(
            site,
            session_of(options, len(nodes), address),
            on_response=self._on_response,
            on_lost=self._on_lost,
            on_session=lambda session_id: log.info("session %s", session_id),
            on_renewed=self._on_renewed,
            on_refused=lambda problem: self._give_up(f"its runs were stopped: {problem}"),
            ledger=Ledger(site),
        )
        self._sending = OutputSending(self.worker, self.pool, self.outputs)
        self._trust = TrustWatch(lambda: self.worker.trusted_until, on_end=self._on_untrusted, on_return=self._settle)

    # Life

    async def open(self) -> None:
        """Starts the agent and opens the session; from then on work comes.

        Raises:
            BalsamError: the job store refuses, or is not there.
        """
        await self._agents.start(self._losses)
        if self.options.time_limit_minutes is not None:
            await self._experience.start()  # before the first credit is said
        await self.worker.start()
        self._agents.lease(self.worker.lease_seconds)
        limit = self.options.time_limit_minutes
        if limit is not None:
            self._timers.later(limit * 60, lambda: self.stop("the launcher's time limit is reached"))
            self._refresh()
        self._trust.start()
        self._settle()

    async def close(self) -> None:
        """Ends the session, which gives back what is still held, and the agent, which kills what still runs."""
        self._timers.stop()
        self._experience.stop()
        self._trust.stop()
        await self._sending.close()
        # What may still run on a node out of reach must not be given to others before its time is over there.
        out_of_reach = any(not self._agents.serves(leased.agent) for leased in self.pool.handed_over)
        await self.worker.close(end_session=not out_of_reach)
        await self._agents.close()
        self._scratch.cleanup()

    @property
    def stopping(self) -> str:
        """Why it stops; empty: it does not."""
        return self._stopping

    def stop(self, reason: str) -> None:
        """Stops all runs, gives back the rest; `done` follows. A second call shortens the grace."""
        grace = min(self._grace, _SECOND_GRACE_SECONDS) if self._stopping else self._grace
        log.info("stopping: %s (%d runs)", reason, len(self.pool.running))
        self._stopping = self._stopping or reason
        self._ends.stopping(f"stopped: {self._stopping}")
        self._orders.give_back_waiting()
        for leased in self.pool.handed_over:
            self._orders.stop(leased, Ending.TIMED_OUT, f"stopped: {self._stopping}", grace)
        self._timers.later(grace + _STOP_PATIENCE_SECONDS, self.done.set)
        self._settle()

    def drain(self) -> None:
        """Starts nothing more; `done` follows when what runs has ended."""
        if not self.draining:
            log.info("draining: %d runs go on", len(self.pool.running))
        self.draining = True
        self._orders.give_back_waiting()
        self._orders.drop(self.pool.queued.values())
        self._settle()

    def fail(self, reason: str) -> None:
        """Drains, and says in the end why: what it still runs can end as it should."""
        log.error("%s", reason)
        self.failure = self.failure or reason
        self.drain()

    def stop_job(self, leased: LeasedJob) -> None:
        """Stops one run, which ends as RUN_TIMEOUT."""
        self._orders.stop(leased, Ending.TIMED_OUT, "stopped at a user's request", self._grace)
        self._settle()

    @property
    def seconds_left(self) -> float | None:
        """Until the time limit; None: there is none."""
        limit = self.options.time_limit_minutes
        return None if limit is None else max(0.0, self._began + limit * 60 - time.monotonic())

    @property
    def _closing(self) -> bool:
        """It starts nothing more."""
        return bool(self._stopping) or self.draining

    @property
    def minutes_left(self) -> int | None:
        """Whole minutes until the time limit; None: there is none."""
        seconds = self.seconds_left
        return None if seconds is None else int(seconds / 60)

    @property
    def set_aside(self) -> dict[int, str]:
        """Nodes that get nothing more for good, by number, and why."""
        return self._ends.closed.aside

    @property
    def utilization(self) -> float:
        """Share of the nodes in use, 0 to 1."""
        return min(1.0, self.pool.placement.used / len(self.nodes))

    # What the job store says

    def _on_response(self, response: Response) -> None:
        for program in response.programs:
            self._programs[program.program_id] = program
        for lease in response.ack.refused:
            self._revoke(lease)
        for lease in response.stops:
            self._kill(lease)
        for grant in response.grants:
            self._take(grant)
            self._credit_said = None  # it counts against what we said, and what is not sent yet knows nothing of it
        for wanted in response.outputs:
            self._sending.begin(wanted)
        if response.drained:
            self._asked_drained = False
            if not self.pool and not self._ends.keeps and not self.options.persistent:
                log.info("nothing more to do")
                self.draining = True  # what is granted from now on goes back at once
        self._settle()

    def _take(self, grant: lease_pb2.Grant) -> None:
        lease, job = grant.lease, grant.job
        held = self.pool.find(lease.handle)
        if held is not None and held.lease.token == lease.token:
            return  # said twice
        if held is not None:
            self._orders.let_go(held, Ending.REVOKED, "the job was granted anew", 0.0)
        need = need_of_job(job, self.options.job_mode)
        if need is None or need.nodes > len(self.nodes):
            self._reports.append(lease_pb2.Report(lease=lease, release=True))
            return
        program = self._programs.get(grant.program_id) if grant.program_id else None
        leased = LeasedJob(next(self._run_ids), lease, job, program, grant.token, need, after=held)
        if self._closing:
            self._reports.append(reports.given_back(leased))
        elif self.pool.placement.could_hold(need):
            self.pool.add(leased)
        else:  # a job store of an earlier version heeds no node_kinds, and would grant it again and again
            sizes = [(node.cores, len(node.gpus)) for node in self.nodes]
            self.outcomes.refused(leased, NOT_STARTED_CODE, time.time_ns() // 1000, f"the job {lacking(job, sizes)}")
        failpoints.hit("launcher.after-grant")

    def _kill(self, lease: lease_pb2.Lease) -> None:
        leased = self.pool.find(lease.handle)
        if leased is None or leased.lease.token != lease.token:
            # It has ended meanwhile, and its report is under way; or we never had it.
            if lease.handle not in self.worker.held:
                self._reports.append(lease_pb2.Report(lease=lease, release=True))
            return
        self._orders.let_go(leased, Ending.KILLED, "killed", self._grace)

    def _revoke(self, lease: lease_pb2.Lease) -> None:
        leased = self.pool.find(lease.handle)
        if leased is not None and leased.lease.token == lease.token:
            log.warning("job %s is not ours any more: stopping it", leased.job.job_id)
            self._orders.let_go(leased, Ending.REVOKED, "the lease was lost", 0.0)

    def _on_renewed(self) -> None:
        """The leases live longer: so may the runs."""
        until, margin = self.worker.trusted_until, self.worker.margin_seconds
        self._agents.trust(until, min(self._grace, margin / 2), until + 0.75 * margin)

    def _on_lost(self) -> None:
        """The session has ended: others may run our jobs already."""
        self._ends.revoke()
        log.warning("the session has ended: stopping %d runs", len(self.pool.running))
        handed_over = self.pool.handed_over
        for leased in [*self.pool.waiting, *handed_over]:
            self._orders.let_go(leased, Ending.REVOKED, "the session has ended", 0.0)
        self._orders.insist(handed_over)
        self._programs.clear()
        self._asked_drained = False
        self._settle()

    def _on_untrusted(self) -> None:
        """The agent stops the runs now, or else its warden does."""
        log.warning("no word from the job store for a lease time: %d runs are stopped", len(self.pool.running))

    # What agents say

    def _on_notices(self, notices: list[tuple[Any, ...]]) -> None:
        self.outcomes.told(notices, time.monotonic(), closing=self._closing)
        self._settle()

    # What follows from either

    def _settle(self) -> None:
        """After whatever happened: fills the nodes, says what more is wanted, and sends it all."""
        if self._agents.serves(HEAD) and not self._closing and self._trust.holds:
            self._fill()
        self._agents.flush()
        self._say()
        if self.pool or self._ends.keeps:
            return
        if self._closing:
            self.done.set()
        elif not self._asked_drained and not self.options.persistent:
            self._asked_drained = True
            self.worker.ask_drained()

    def _fill(self) -> None:
        left = self.minutes_left
        ahead = self._ahead.jobs
        for leased in self.pool.startable(ahead):
            leased.node = self.nodes[leased.nodes[0]].name
            if left is not None and self._experience.minutes(leased) > left:
                self._orders.finish(leased, reports.given_back(leased))
                continue
            try:
                leased.agent = self._agents.agent_for(leased.need, leased.nodes)
                self._agents.order(leased.agent, *make_start(leased, self._around))
            except ValidationError as error:
                self.outcomes.refused(leased, NOT_STARTED_CODE, time.time_ns() // 1000, str(error))
            except Exception:  # one odd job must not stop the others
                log.exception("cannot prepare the run of job %s", leased.job.job_id)
                message = f"the launcher could not prepare this run; see its log {self._log_file.name}"
                self.outcomes.refused(leased, NOT_STARTED_CODE, time.time_ns() // 1000, message)
        self._ahead.watch()

    def _say(self) -> None:
        """Sends reports and new credit; they travel together."""
        # While something waits here, no slot idles: then messages may gather.
        urgent = not self.pool.waiting and not self.pool.queued
        credit = self._credit()
        if credit != self._credit_said:
            self._credit_said = credit
            self.worker.set_credit(credit, urgent=urgent)
        if self._reports:
            self.worker.report(*self._reports, urgent=urgent)
            self._reports.clear()

    def _credit(self) -> Credit:
        minutes = self.minutes_left
        now = Standing(
            takes=self._agents.serves(HEAD),
            closing=self._closing,
            ahead=self._appetite.nodes,
            minutes=minutes,
            quick_applications=self._experience.quick(minutes),
        )
        return self._credit_terms.credit(now)

    def _refresh(self) -> None:
        self._settle()
        self._timers.later(_REFRESH_SECONDS, self._refresh)

    def _give_up(self, reason: str) -> None:
        self.failure = reason
        self.stop(reason)
