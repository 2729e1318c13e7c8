"""The launcher: takes work from the job store, has it run by its node agent, and reports what became of it.

Plain callbacks in one asyncio loop: messages of the work stream and notices of the agent come in, orders and reports go
out in batches. What to do is decided in `pool`, `appetite`, `prepare` and `reports`; here it is done.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from balsam import failpoints
from balsam.commands import NOT_STARTED_CODE, base_environment
from balsam.errors import ValidationError
from balsam.ledger import Ledger
from balsam.site import Site
from balsam.v1 import lease_pb2, session_pb2, session_service_pb2
from balsam.work import Credit, Response, Worker
from balsam_launcher import reports, traces
from balsam_launcher.agent_keeper import AgentKeeper
from balsam_launcher.appetite import Appetite
from balsam_launcher.endings import Endings
from balsam_launcher.ensemble import Ensemble
from balsam_launcher.experience import Experience
from balsam_launcher.fleet import HEAD, Fleet
from balsam_launcher.frames import Notice, Order
from balsam_launcher.leased import Ending, LeasedJob, need_of_job
from balsam_launcher.leftover import lacking
from balsam_launcher.mpi import Mpi, NoMpi
from balsam_launcher.mpi_ends import SETTLE_SECONDS, MpiEnd, MpiEnds
from balsam_launcher.nodes import Node
from balsam_launcher.options import LauncherOptions
from balsam_launcher.output_sending import OutputSending
from balsam_launcher.outputs import Outputs
from balsam_launcher.pool import Pool
from balsam_launcher.prepare import Surroundings, make_start
from balsam_launcher.quarantine import QUICK_SECONDS
from balsam_launcher.starting import Starter, in_allocation
from balsam_launcher.trust import TrustWatch

log = logging.getLogger("balsam.launcher")

_MOST_NODE_KINDS = 16  # as many as count
_MOST_JOBS = 10_000  # held at once, and on many nodes more:
_MOST_JOBS_A_NODE = 256
_REFRESH_SECONDS = 15.0  # so often a credit with a time limit is said again
_SECOND_GRACE_SECONDS = 1.0
_STOP_PATIENCE_SECONDS = 10.0
_QUEUE_SECONDS = 1.0
_ENDINGS_SECONDS = 1.0  # so often those that are kept back are looked at
_BY_ORDER = (Ending.KILLED, Ending.REVOKED, Ending.LOST, Ending.NODE_LOST)
_MOST_DEATHS = 5
_STUCK_SECONDS = 3.0  # an agent that has not ended runs so long after their time hangs


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
        self.ended = 0
        self.errors = 0
        self.draining = False
        self.failure = ""
        """Why it cannot go on, once it cannot."""
        self._grace = site.settings.kill_grace_seconds
        environ = base_environment(os.environ)
        self._scratch = tempfile.TemporaryDirectory(prefix="balsam-launcher-", ignore_cleanup_errors=True)
        self._around = Surroundings(site.path, site.data, environ, nodes, options.job_mode, mpi, self._scratch.name)
        self._node_kinds = [
            session_service_pb2.WorkRequest.NodeKind(count=count, cores=cores, gpus=gpus)
            for count, cores, gpus in self.pool.placement.kinds(_MOST_NODE_KINDS)
        ]
        self._appetite = Appetite(len(nodes))
        self._experience = Experience(site)
        self._programs: dict[int, lease_pb2.Program] = {}
        self._run_ids = itertools.count(1)
        self._began = time.monotonic()
        self._stopping = ""
        self._asked_drained = False
        self._last_end = -_QUEUE_SECONDS
        self._watches_queue = False
        self._watches_endings = False
        self._watches_mpi_ends = False
        self._reports: list[lease_pb2.Report] = []
        self._credit_said: Credit | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self.set_aside: dict[int, str] = {}
        """Nodes that get nothing more, by number, and why."""
        self._suspended: set[int] = set()
        self._deaths: Counter[int] = Counter()
        self._endings = Endings(
            several_nodes=len(nodes) > 1,
            in_allocation=in_allocation(os.environ),
            report=lambda leased, report: self._reports.append(report),
            set_aside=self._on_set_aside,
        )
        self._log_file = log_file = site.log / f"{traces.log_name(site)}.log"
        head = AgentKeeper(
            environ,
            log_file,
            on_notices=self._on_notices,
            on_lost=lambda: self._on_agent_lost(HEAD, f"the node agent on {socket.gethostname()} was lost"),
            on_back=self._settle,
            on_hopeless=lambda: self._give_up(f"the node agent does not stay up; see {log_file}"),
        )
        self._ensemble = (
            None
            if starter is None
            else Ensemble(
                [node.name for node in nodes],
                starter.command,
                environ,
                starter.address,
                log_file,
                on_notices=self._on_notices,
                on_change=self._on_node,
                on_lost=self._on_agent_lost,
                on_alive=self._on_alive,
                on_down=self._on_node_down,
                on_vain=self._on_no_agent,
                on_hopeless=self._give_up,
            )
        )
        if self._ensemble is not None:
            for number in range(len(nodes)):  # until its agent is there
                self.pool.placement.close(number, serial=True, mpi=False)
        self._agents = Fleet(head, self._ensemble)
        self.outputs = Outputs(self.pool, self._agents, self._around.root_of)
        self._mpi_ends = MpiEnds(ask=self._agents.ask, counts=self._mpi_end_counts, lost=self._mpi_end_lost)
        self.worker = Worker(
            site,
            session_pb2.Session(
                kind=session_pb2.Session.LAUNCHER,
                host=socket.gethostname(),
                pid=os.getpid(),
                nodes=len(nodes),
                job_mode=options.job_mode,
                workflow_filter=options.workflow_filter,
                address=address,
                launch=options.launch,
                trusted_users=options.trusted_users,
            ),
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
        await self._agents.start()
        if self.options.time_limit_minutes is not None:
            await self._experience.start()  # before the first credit is said
        await self.worker.start()
        if self._ensemble is not None:
            self._ensemble.lease(self.worker.lease_seconds)
        limit = self.options.time_limit_minutes
        if limit is not None:
            self._later(limit * 60, lambda: self.stop("the launcher's time limit is reached"))
            self._refresh()
        self._trust.start()
        self._settle()

    async def close(self) -> None:
        """Ends the session, which gives back what is still held, and the agent, which kills what still runs."""
        for timer in self._timers:
            timer.cancel()
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
        self._decide_mpi_ends()
        self._endings.stopping(f"stopped: {self._stopping}")
        self._give_back_waiting()
        for leased in self.pool.handed_over:
            self._stop_run(leased, Ending.TIMED_OUT, f"stopped: {self._stopping}", grace)
        self._later(grace + _STOP_PATIENCE_SECONDS, self.done.set)
        self._settle()

    def drain(self) -> None:
        """Starts nothing more; `done` follows when what runs has ended."""
        if not self.draining:
            log.info("draining: %d runs go on", len(self.pool.running))
        self.draining = True
        self._give_back_waiting()
        for leased in self.pool.queued.values():
            self._agents.order(leased.agent, Order.DROP, leased.run_id)
        self._settle()

    def fail(self, reason: str) -> None:
        """Drains, and says in the end why: what it still runs can end as it should."""
        log.error("%s", reason)
        self.failure = self.failure or reason
        self.drain()

    def stop_job(self, leased: LeasedJob) -> None:
        """Stops one run, which ends as RUN_TIMEOUT."""
        self._stop_run(leased, Ending.TIMED_OUT, "stopped at a user's request", self._grace)
        self._settle()

    @property
    def seconds_left(self) -> float | None:
        """Until the time limit; None: there is none."""
        limit = self.options.time_limit_minutes
        return None if limit is None else max(0.0, self._began + limit * 60 - time.monotonic())

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
            if not self.pool and not self._keeps_ends and not self.options.persistent:
                log.info("nothing more to do")
                self.draining = True  # what is granted from now on goes back at once
        self._settle()

    def _take(self, grant: lease_pb2.Grant) -> None:
        lease, job = grant.lease, grant.job
        held = self.pool.find(lease.handle)
        if held is not None and held.lease.token == lease.token:
            return  # said twice
        if held is not None:
            self._let_go(held, Ending.REVOKED, "the job was granted anew", 0.0)
        need = need_of_job(job, self.options.job_mode)
        if need is None or need.nodes > len(self.nodes):
            self._reports.append(lease_pb2.Report(lease=lease, release=True))
            return
        program = self._programs.get(grant.program_id) if grant.program_id else None
        leased = LeasedJob(next(self._run_ids), lease, job, program, grant.token, need, after=held)
        if self._stopping or self.draining:
            self._reports.append(reports.given_back(leased))
        elif self.pool.placement.could_hold(need):
            self.pool.add(leased)
        else:  # a job store of an earlier version heeds no node_kinds, and would grant it again and again
            sizes = [(node.cores, len(node.gpus)) for node in self.nodes]
            self._refused(leased, NOT_STARTED_CODE, time.time_ns() // 1000, f"the job {lacking(job, sizes)}")
        failpoints.hit("launcher.after-grant")

    def _kill(self, lease: lease_pb2.Lease) -> None:
        leased = self.pool.find(lease.handle)
        if leased is None or leased.lease.token != lease.token:
            # It has ended meanwhile, and its report is under way; or we never had it.
            if lease.handle not in self.worker.held:
                self._reports.append(lease_pb2.Report(lease=lease, release=True))
            return
        self._let_go(leased, Ending.KILLED, "killed", self._grace)

    def _revoke(self, lease: lease_pb2.Lease) -> None:
        leased = self.pool.find(lease.handle)
        if leased is not None and leased.lease.token == lease.token:
            log.warning("job %s is not ours any more: stopping it", leased.job.job_id)
            self._let_go(leased, Ending.REVOKED, "the lease was lost", 0.0)

    def _on_renewed(self) -> None:
        """The leases live longer: so may the runs."""
        until, margin = self.worker.trusted_until, self.worker.margin_seconds
        self._agents.trust(until, min(self._grace, margin / 2), until + 0.75 * margin)

    def _on_lost(self) -> None:
        """The session has ended: others may run our jobs already."""
        for _, report in self._endings.take_all():
            self.worker.report_late(report)
        for end in self._mpi_ends.kept:
            end.leased.ending = Ending.REVOKED
        log.warning("the session has ended: stopping %d runs", len(self.pool.running))
        handed_over = self.pool.handed_over
        for leased in [*self.pool.waiting, *handed_over]:
            self._let_go(leased, Ending.REVOKED, "the session has ended", 0.0)
        self._insist(handed_over)
        self._programs.clear()
        self._asked_drained = False
        self._settle()

    def _insist(self, handed_over: list[LeasedJob]) -> None:
        """These runs must be gone now, even if the agent hangs: then it is killed, and all runs with it."""

        def look() -> None:
            for agent in {leased.agent for leased in handed_over if self.pool.run(leased.run_id)}:
                self._agents.kill(agent)

        if handed_over:
            self._later(_STUCK_SECONDS, look)

    def _let_go(self, leased: LeasedJob, ending: Ending, reason: str, grace: float) -> None:
        if self.pool.run(leased.run_id) is not None:
            self._stop_run(leased, ending, reason, grace)
            return
        self.pool.remove(leased)
        if ending is not Ending.REVOKED:
            self._reports.append(reports.given_back(leased))

    def _stop_run(self, leased: LeasedJob, ending: Ending, reason: str, grace: float) -> None:
        # A kill stays a kill, and what is not ours any more stays so.
        if leased.ending not in (Ending.KILLED, Ending.REVOKED) or ending is Ending.REVOKED:
            leased.ending, leased.reason = ending, reason
        self._agents.order(leased.agent, Order.STOP, leased.run_id, grace)

    def _give_back_waiting(self) -> None:
        for leased in list(self.pool.waiting):
            self.pool.remove(leased)
            self._reports.append(reports.given_back(leased))

    # What the agent says

    def _on_notices(self, notices: list[tuple[Any, ...]]) -> None:
        now = time.monotonic()
        for notice in notices:
            kind = notice[0]
            if kind == Notice.LOG:
                log.warning("node agent: %s", notice[1])
                continue
            leased = self.pool.run(notice[1])
            if leased is None:
                continue
            if kind == Notice.ENDED:
                self._ended(leased, notice, now)
            elif kind == Notice.STARTED:
                self._started(leased, notice)
            elif kind == Notice.REFUSED:
                self._refused(leased, *notice[2:])
            elif kind == Notice.DROPPED:
                self._dropped(leased)
        self._settle()

    def _started(self, leased: LeasedJob, notice: tuple[Any, ...]) -> None:
        _, _, leased.pid, leased.start_us = notice
        if leased.ending is not Ending.REVOKED:
            self._reports.append(reports.running(leased))
            leased.announced = True

    def _ended(self, leased: LeasedJob, notice: tuple[Any, ...], now: float) -> None:
        _, _, returncode, start_us, end_us, message, stopped = notice
        self._appetite.learn((end_us - start_us) / 1e6, leased.need.total, now)
        if stopped and leased.ending is None:  # not by us: the agent does so by itself where trust ends
            leased.ending, leased.reason = Ending.LOST, "stopped: the job store was out of reach for a lease time"
        self.ended += 1
        self._last_end = now
        if returncode == 0:
            self._deaths.pop(leased.agent, None)
        if returncode != 0 and not stopped:
            self.errors += 1
        report = reports.ended(leased, returncode, start_us, end_us, message, stopped=stopped)
        if leased.ending is Ending.REVOKED and not stopped:
            self.worker.report_late(report)  # it ended by itself: nobody else may have begun yet
        seconds = (end_us - start_us) / 1e6
        if stopped or leased.ending in _BY_ORDER:
            self._finish(leased, report)
        elif nodes := self._nodes_to_ask(leased):
            self._keep_back(MpiEnd(leased, report, returncode, seconds), nodes, now)
        else:
            self._finish_by_itself(leased, report, returncode, seconds)

    def _dropped(self, leased: LeasedJob) -> None:
        if leased.ending is None and not self._stopping and not self.draining:
            self.pool.put_back(leased)
        else:
            self._finish(leased, reports.given_back(leased))

    def _refused(self, leased: LeasedJob, code: int, time_us: int, message: str) -> None:
        self.ended += 1
        self.errors += 1
        self._finish_by_itself(leased, reports.refused(leased, code, time_us, message), code, 0.0)

    def _finish(self, leased: LeasedJob, report: lease_pb2.Report) -> None:
        self.pool.remove(leased)
        if leased.ending is not Ending.REVOKED:
            self._reports.append(report)

    def _finish_by_itself(self, leased: LeasedJob, report: lease_pb2.Report, code: int, seconds: float) -> None:
        self.pool.remove(leased)
        self._endings.ended(leased, report, code, seconds, time.monotonic())
        self._suspend(leased.nodes)
        if self._endings.keeps and not self._watches_endings:
            self._watches_endings = True
            self._later(_ENDINGS_SECONDS, self._look_at_endings)

    # Ends of MPI runs, whose nodes may have been lost

    def _nodes_to_ask(self, leased: LeasedJob) -> list[int]:
        """Of an MPI run that has ended by itself: the other hosts, as far as there are agents who can tell.

        MPI runs do not wait for the agents of their nodes: some may end, or lose a node, before these have come.
        """
        if not leased.need.mpi or self._stopping:
            return []
        return [node for node in leased.nodes if not self.nodes[node].local and self._agents.can_tell(node)]

    def _keep_back(self, end: MpiEnd, nodes: Sequence[int], now: float) -> None:
        self.pool.remove(end.leased)
        self._mpi_ends.ended(end, nodes, now)
        self._suspend(nodes)
        if end.code != 0:
            self._later(SETTLE_SECONDS, self._look_at_mpi_ends)
        if not self._watches_mpi_ends:
            self._watches_mpi_ends = True
            self._later(_ENDINGS_SECONDS, self._watch_mpi_ends)

    def _look_at_mpi_ends(self) -> None:
        self._mpi_ends.look(time.monotonic(), lambda node: self.nodes[node].name)
        self._look_at_suspended()

    def _watch_mpi_ends(self) -> None:
        self._look_at_mpi_ends()
        self._watches_mpi_ends = self._mpi_ends.keeps
        if self._watches_mpi_ends:
            self._later(_ENDINGS_SECONDS, self._watch_mpi_ends)
        self._settle()

    def _on_alive(self, node: int, question: int) -> None:
        if self._mpi_ends.answered(node, question):
            self._look_at_suspended()
            self._settle()

    def _on_node_down(self, node: int, reason: str) -> None:
        """A node was lost with all that ran there: MPI runs on it are over, whatever their run commands wait for."""
        if self.nodes[node].local:
            return  # its agent was; here we are
        for leased in self.pool.handed_over:
            if leased.agent == HEAD and node in leased.nodes and leased.ending is None:
                leased.node = self.nodes[node].name
                self._stop_run(leased, Ending.NODE_LOST, reason, self._grace)
        self._mpi_ends.node_lost(node, reason)
        self._look_at_suspended()
        self._settle()

    def _mpi_end_counts(self, end: MpiEnd) -> None:
        if end.leased.ending is Ending.REVOKED:
            self.worker.report_late(end.report)
        else:
            self._finish_by_itself(end.leased, end.report, end.code, end.seconds)

    def _mpi_end_lost(self, end: MpiEnd, reason: str) -> None:
        log.error("the MPI run of job %s, which ended with %d, was lost: %s", end.leased.job.job_id, end.code, reason)
        if end.leased.ending is not Ending.REVOKED:
            end.leased.reason = reason
            if end.nodes:  # one of those of which nothing has been heard
                end.leased.node = self.nodes[min(end.nodes)].name
            self._reports.append(reports.spared(end.leased, end.report))

    def _decide_mpi_ends(self) -> None:
        """Now, since the launcher stops: what is in reach lives."""
        for end in self._mpi_ends.take_all():
            lacking_nodes = [self.nodes[node].name for node in sorted(end.nodes) if not self._agents.serves(node)]
            if lacking_nodes:
                self._mpi_end_lost(end, f"{', '.join(lacking_nodes)} could not be reached when the launcher stopped")
            else:
                self._mpi_end_counts(end)

    @property
    def _keeps_ends(self) -> bool:
        return self._endings.keeps or self._mpi_ends.keeps

    # Nodes that may be to blame

    def _is_suspect(self, node: int) -> bool:
        return self._endings.is_suspect(node) or self._mpi_ends.doubts(node)

    def _suspend(self, nodes: Sequence[int]) -> None:
        """A node that may be to blame for many failures gets nothing more until that is known."""
        for node in nodes:
            if self._is_suspect(node) and node not in self._suspended:
                self._suspended.add(node)
                self.pool.placement.close(node)

    def _look_at_suspended(self) -> None:
        for node in [node for node in self._suspended if not self._is_suspect(node)]:
            self._suspended.discard(node)
            if node not in self.set_aside and self._is_reached(node):
                self.pool.placement.open(node)

    def _is_reached(self, node: int) -> bool:
        return self._ensemble is None or self._agents.serves(node)

    def _look_at_endings(self) -> None:
        """What was kept back for a moment, since it may not have been the job's own failure."""
        self._watches_endings = self._endings.keeps or bool(self._suspended)
        if not self._watches_endings:
            return
        before = (time.time() - QUICK_SECONDS) * 1e6
        for leased in self.pool.running.values():
            if 0 < leased.start_us < before:
                self._endings.lasts(leased)
        self._endings.look(time.monotonic())
        self._look_at_suspended()
        self._later(_ENDINGS_SECONDS, self._look_at_endings)
        self._settle()

    # What follows from either

    def _settle(self) -> None:
        """After whatever happened: fills the nodes, says what more is wanted, and sends it all."""
        if self._agents.serves(HEAD) and not self._stopping and not self.draining and self._trust.holds:
            self._fill()
        self._agents.flush()
        self._say()
        if self.pool or self._keeps_ends:
            return
        if self._stopping or self.draining:
            self.done.set()
        elif not self._asked_drained and not self.options.persistent:
            self._asked_drained = True
            self.worker.ask_drained()

    def _fill(self) -> None:
        left = self.minutes_left
        ahead = self._appetite.jobs_at_agent if self._seconds_to_queue > 0 else 0
        for leased in self.pool.startable(ahead):
            leased.node = self.nodes[leased.nodes[0]].name
            if left is not None and self._experience.minutes(leased) > left:
                self._finish(leased, reports.given_back(leased))
                continue
            try:
                leased.agent = self._agents.agent_for(leased.need, leased.nodes)
                self._agents.order(leased.agent, *make_start(leased, self._around))
            except ValidationError as error:
                self._refused(leased, NOT_STARTED_CODE, time.time_ns() // 1000, str(error))
            except Exception:  # one odd job must not stop the others
                log.exception("cannot prepare the run of job %s", leased.job.job_id)
                message = f"the launcher could not prepare this run; see its log {self._log_file.name}"
                self._refused(leased, NOT_STARTED_CODE, time.time_ns() // 1000, message)

        self._watch_queue()

    @property
    def _seconds_to_queue(self) -> float:
        """For so long runs may be queued at the agent: as long as others end."""
        return self._last_end + _QUEUE_SECONDS - time.monotonic()

    def _watch_queue(self) -> None:
        if self.pool.queued and not self._watches_queue:
            self._watches_queue = True
            self._later(max(0.0, self._seconds_to_queue) + _QUEUE_SECONDS / 10, self._look_at_queue)

    def _look_at_queue(self) -> None:
        """Runs that were expected to end in a moment go on: what is queued behind them waits here, where time limits
        and orders count."""
        self._watches_queue = False
        if self._seconds_to_queue > 0:
            self._watch_queue()
            return
        for leased in reversed(self.pool.queued.values()):  # each goes before those that came back before
            self._agents.order(leased.agent, Order.DROP, leased.run_id)
        self._agents.flush()

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
        placement = self.pool.placement
        serial, mpi = placement.open_count(mpi=False), placement.open_count(mpi=True)
        usable = serial if self.options.job_mode == "serial" else max(serial, mpi)
        closing, closed = bool(self._stopping) or self.draining, len(self.nodes) - usable
        if closing or not self._agents.serves(HEAD):
            return Credit(node_kinds=self._node_kinds, closing=closing, closed_nodes=closed)
        nodes = max(0.0, usable + self._appetite.nodes - self.pool.held_nodes) if usable else 0.0
        jobs = max(_MOST_JOBS, _MOST_JOBS_A_NODE * usable) - len(self.pool)
        if self.options.job_mode == "mpi":
            jobs = int(nodes)  # the job store counts a share for a serial job: here it takes a node
        serial_only = self.options.job_mode == "serial"
        return Credit(
            nodes=nodes,
            jobs=jobs,
            # Where all nodes are out of reach they may be back: that is no reason to have nothing more to do.
            largest=mpi or len(self.nodes),
            minutes=self.minutes_left,
            serial_only=serial_only,
            node_kinds=self._node_kinds,
            closed_nodes=closed,
            quick_applications=self._experience.quick(self.minutes_left),
        )

    @property
    def minutes_left(self) -> int | None:
        """Whole minutes until the time limit; None: there is none."""
        seconds = self.seconds_left
        return None if seconds is None else int(seconds / 60)

    def _refresh(self) -> None:
        self._settle()
        self._later(_REFRESH_SECONDS, self._refresh)

    # What breaks

    def _on_untrusted(self) -> None:
        """The agent stops the runs now, or else its warden does."""
        log.warning("no word from the job store for a lease time: %d runs are stopped", len(self.pool.running))

    def _on_node(self, node: int) -> None:
        """The agent of another node has come within reach, or gone out of it."""
        if node in self.set_aside:
            return
        if self._agents.serves(node):
            if node not in self._suspended:
                self.pool.placement.open(node)
        else:
            log.warning("the node %s is out of reach", self.nodes[node].name)
            self._close_node(node)
        self._settle()

    def _close_node(self, node: int) -> None:
        """It gets nothing more. What waits for more nodes than are left goes back: it would hold up all others."""
        self.pool.placement.close(node)
        left = self.pool.placement.open_count(mpi=True)
        for leased in [leased for leased in self.pool.waiting if leased.need.mpi and leased.need.nodes > left]:
            self._finish(leased, reports.given_back(leased))

    def _on_set_aside(self, node: int, reason: str) -> None:
        log.error("%s is set aside: %s", self.nodes[node].name, reason)
        self.set_aside[node] = reason
        self._close_node(node)
        if len(self.set_aside) == len(self.nodes):
            self._give_up(f"every node was set aside; the last: {reason}")

    def _on_no_agent(self, node: int, reason: str, for_good: bool) -> None:
        """No agent could be started on a node, though others serve: what is wrong there, MPI runs would meet too."""
        if node in self.set_aside:
            return
        reason = f"no node agent can be started there: {reason}"
        if for_good:
            self._on_set_aside(node, reason)
            self._mpi_ends.node_lost(node, f"the node {self.nodes[node].name} was set aside: {reason}")
        else:
            log.warning("%s gets nothing for now: %s", self.nodes[node].name, reason)
            self._close_node(node)
            self._mpi_ends.agent_lost(node, f"{self.nodes[node].name}: {reason}")
        self._look_at_suspended()
        self._settle()

    def _on_agent_lost(self, agent: int, reason: str, blamed: bool = True) -> None:
        if blamed and agent != HEAD:
            self._mpi_ends.agent_lost(agent, reason)
            self._look_at_suspended()
            self._deaths[agent] += 1
            if self._deaths[agent] >= _MOST_DEATHS and agent not in self.set_aside:
                self._on_set_aside(agent, f"{_MOST_DEATHS} times in a row its runs were lost; the last time: {reason}")
        # Of those that were queued, it may have started some.
        lost = [leased for leased in self.pool.handed_over if leased.agent == agent]
        log.error("%d runs were lost: %s", len(lost), reason)
        now_us = time.time_ns() // 1000
        for leased in lost:
            if leased.ending is Ending.KILLED:
                self._finish(leased, reports.given_back(leased))
            else:
                leased.reason = reason
                self._finish(leased, reports.lost(leased, now_us, blamed=blamed))
        self._settle()

    def _give_up(self, reason: str) -> None:
        self.failure = reason
        self.stop(reason)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timers = [timer for timer in self._timers if not timer.cancelled() and timer.when() > now]
        self._timers.append(loop.call_later(seconds, call))
