"""A drill: real jobs on a real site, a launcher and the job store killed among them, and everything counted."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Callable

from balsam.client import Client
from balsam.errors import BalsamError, NotAllowed, Unavailable
from balsam.site import Site
from balsam.version import VERSION
from balsam_cli import process, services
from balsam_cli.doctor.storage import mount_of, mount_table
from balsam_cli.drill.campaign import Campaign
from balsam_cli.drill.launchers import Crew, Launcher, wait_until_none
from balsam_cli.drill.plan import Plan
from balsam_cli.drill.progress import Progress
from balsam_cli.drill.receipt import Kill, Receipt, now
from balsam_cli.drill.signals import deaf, stopped_by_signals
from balsam_cli.drill.verdict import Point, begun_again, points
from balsam_cli.terminal import must_agree
from balsam_cli.text import count

SHORT_LEASE_SECONDS = 15.0
"""A lease as short as this is waited for, unless told otherwise."""
GUARD_SECONDS = 10.0
"""A dead launcher has taken its runs with it after so long; 2 s is what is promised."""
_AT_ONCE_PER_CORE = 4  # runs mostly sleep
_POLL_SECONDS = 0.05
_LAST_SECONDS = 15.0  # for launchers to see that nothing is left
_DELETE_SECONDS = 30.0


class _GaveUp(Exception):
    """Something did not come; the message says what."""


class Drill:
    """One drill on a site, from start to receipt."""

    def __init__(self, site: Site, plan: Plan) -> None:
        self.site = site
        self.plan = plan
        self.progress = Progress()
        self.workflow = f"drill-{secrets.token_hex(4)}"
        lease = site.settings.lease_seconds
        asked = plan.wait_for_lease
        self._by_lease = lease <= SHORT_LEASE_SECONDS if asked is None else asked
        # A job store that starts gives every session a lease time anew.
        self.most_seconds = plan.most_seconds or 60.0 + 0.1 * plan.jobs + (2.5 * lease if self._by_lease else 0.0)
        self._campaign = Campaign(
            Client(site), self.workflow, plan.jobs, at_once=_AT_ONCE_PER_CORE * (os.cpu_count() or 1)
        )
        self._crew = Crew(site, self.workflow, plan.launcher)
        self._dead: tuple[str, Kill, float] | None = None
        self._deadline = 0.0

    def run(self) -> Receipt:
        """Does it all, and cleans up whatever happens.

        Raises:
            NotAllowed: the user does not agree, or killing the job store would take more with it.
            BalsamError: the services do not start.
        """
        self._start_services()
        self._ask()
        receipt = self._blank_receipt()
        self.progress.say(self._announcement())
        began = time.monotonic()
        self._deadline = began + self.most_seconds
        with stopped_by_signals():
            try:
                self._work(receipt)
            except (_GaveUp, BalsamError) as error:
                receipt.points.append(Point("goes on after kills", False, str(error)))
            finally:
                with deaf():
                    self.progress.close()
                    self._crew.end()
                    if sys.exc_info()[0] is None:
                        self._judge(receipt)
                        receipt.seconds = round(time.monotonic() - began, 3)
                    self._clean_up()
        return receipt

    # Before

    def _start_services(self) -> None:
        if all(services.probe(self.site, one).state == "up" for one in services.services_of(self.site)):
            return
        services.start_all(self.site)
        self.progress.say("started the services, which did not run; `balsam down` stops them")

    def _ask(self) -> None:
        jobstore = services.find(self.site, services.JOBSTORE)
        if process.is_child_of(jobstore.pid, "--foreground"):
            raise NotAllowed(
                "the services run under `balsam up --foreground`, which ends when its job store is killed;"
                " stop it, and drill before you start it again"
            )
        others, at_work = self._campaign.others(), len(self._campaign.sessions())
        if others or at_work:
            what = f"{count(others, 'unfinished job')} and {count(at_work, 'launcher')} of others are on this site"
            text = f"{what}. They live through it, but do without the job store for some seconds. Kill it?"
            must_agree(text, self.plan.yes, f"the drill kills the job store, and {what}")

    def _announcement(self) -> str:
        lease = f"the lease of a dead launcher, {self.site.settings.lease_seconds:g} s, is waited for; "
        return (
            f"{count(self.plan.jobs, 'job')} in the workflow {self.workflow}; one launcher and the job store will be"
            f" killed; {lease if self._by_lease else ''}gives up after {self.most_seconds:.0f} s"
        )

    def _blank_receipt(self) -> Receipt:
        table = mount_table()
        return Receipt(
            site=str(self.site.path),
            workflow=self.workflow,
            host=socket.gethostname(),
            version=VERSION,
            database=services.ask_site(self.site).database,
            file_systems={
                path.name: mount_of(path.resolve(), table).kind for path in (self.site.database, self.site.data)
            },
            lease_seconds=self.site.settings.lease_seconds,
            jobs=self.plan.jobs,
            start_time=now(),
            kept=self.plan.keep,
        )

    # The work

    def _work(self, receipt: Receipt) -> None:
        self._campaign.add()
        for _ in range(2):
            self._crew.start()
        self._wait(lambda: self._campaign.ended() * 4 >= self.plan.jobs, "a quarter of the jobs has ended")
        self._kill_launcher(receipt)
        self._crew.start()
        self._wait(lambda: self._campaign.ended() * 2 >= self.plan.jobs, "half of the jobs has ended")
        self._kill_jobstore(receipt)
        self._wait(lambda: self._campaign.ended() >= self.plan.jobs, "all jobs have ended")
        if not self._crew.wait(_LAST_SECONDS):
            raise _GaveUp(f"a launcher is still there {_LAST_SECONDS:g} s after the last job has ended")

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        while True:
            self._look_after_the_dead()
            if condition():
                return
            ended = self._campaign.ended()
            left = self._deadline - time.monotonic()
            self.progress.show(f"{ended:,} of {count(self.plan.jobs, 'job')} ended, at most {left:.0f} s more")
            if left <= 0:
                raise _GaveUp(
                    f"{ended:,} of {count(self.plan.jobs, 'job')} ended in {self.most_seconds:.0f} s: not {what}"
                )
            if not self._crew.alive() and not condition():
                statuses = ", ".join(str(one.process.returncode) for one in self._crew.members)
                raise _GaveUp(f"all launchers have ended (with {statuses}), and {ended:,} jobs: not {what}")
            time.sleep(_POLL_SECONDS)

    def _kill_launcher(self, receipt: Receipt) -> None:
        """That which holds most."""
        sessions = {session.pid: session for session in self._campaign.sessions()}
        alive = self._crew.alive()
        if not alive:
            raise _GaveUp("no launcher is left to be killed")
        victim = max(alive, key=lambda one: sessions[one.pid].leases if one.pid in sessions else 0)
        session = sessions.get(victim.pid)
        finished = self._campaign.ended()
        kill = Kill("launcher", victim.pid, now(), finished, session.leases if session else 0)
        moment = time.monotonic()
        victim.kill()
        receipt.kills.append(kill)
        self.progress.say(f"killed the launcher {victim.pid}, which held {count(kill.held, 'job')}")
        if session is None:
            return
        self._dead = (session.session_id, kill, moment)
        if not self._by_lease:
            self._bury(victim)

    def _bury(self, victim: Launcher) -> None:
        """Ends its session, once it is certain that nothing it has started lives; its lease would do the same later."""
        if wait_until_none(victim.mark, GUARD_SECONDS) or self._dead is None:
            return
        session_id, kill, moment = self._dead
        self._campaign.close_session(session_id)
        kill.recovery = "its session was ended when none of its processes was left,"
        kill.recovery_seconds = round(time.monotonic() - moment, 3)
        self._dead = None

    def _look_after_the_dead(self) -> None:
        """Notes when the lease of the killed launcher has run out."""
        if self._dead is None:
            return
        session_id, kill, moment = self._dead
        if any(session.session_id == session_id for session in self._campaign.sessions()):
            return
        kill.recovery = "its lease ran out, and its jobs were free again"
        kill.recovery_seconds = round(time.monotonic() - moment, 3)
        self.progress.say(f"the jobs of the killed launcher were free again after {kill.recovery_seconds:.1f} s")
        self._dead = None

    def _kill_jobstore(self, receipt: Receipt) -> None:
        status = services.find(self.site, services.JOBSTORE)
        kill = Kill("job store", status.pid, now(), self._campaign.ended(), self._campaign.leased())
        moment = time.monotonic()
        if not process.kill(status.pid, services.JOBSTORE.module):
            raise _GaveUp(f"the job store (pid {status.pid}) was not there to be killed")
        receipt.kills.append(kill)
        services.start_all(self.site)
        kill.recovery = "started again, and answered"
        kill.recovery_seconds = round(time.monotonic() - moment, 3)
        pid = services.find(self.site, services.JOBSTORE).pid
        self.progress.say(f"killed the job store {status.pid}; {pid} answered after {kill.recovery_seconds:.1f} s")

    # After

    def _judge(self, receipt: Receipt) -> None:
        left = wait_until_none(f"{self.workflow}.", GUARD_SECONDS)
        if self._dead is not None and any(s.session_id == self._dead[0] for s in self._campaign.sessions()):
            receipt.points.append(Point("the dead launcher lost its jobs", False, "its session is still open"))
        jobs = self._campaign.accounts()
        receipt.finished = sum(job.state == "JOB_FINISHED" for job in jobs)
        receipt.begun = sum(len(job.witness.begun) for job in jobs)
        receipt.begun_again = begun_again(jobs)
        receipt.points += points(jobs, self.plan.jobs)
        sessions = [one for one in self._crew.members if not one.killed and self._campaign.session_of(one.pid)]
        receipt.points.append(
            Point(
                "no session left",
                not sessions,
                f"of {', '.join(str(s.pid) for s in sessions) or 'its launchers, none'}",
            )
        )
        text = f"{', '.join(map(str, left))} live" if left else "nothing that its launchers started lives"
        receipt.points.append(Point("no process left", not left, text))

    def _clean_up(self) -> None:
        try:
            services.start_all(self.site)  # where the drill was cut off between kill and start
            for one in self._crew.members:
                session = self._campaign.session_of(one.pid)
                if session is not None and not wait_until_none(one.mark, GUARD_SECONDS):
                    self._campaign.close_session(session.session_id)
            if not self.plan.keep:
                self._delete()
        except (BalsamError, OSError) as error:
            again = f"`balsam rm jobs --all --wf {self.workflow} --kill --yes` does what is left"
            self.progress.say(f"balsam: cannot clean up: {error}; {again}")
        for one in self._crew.members:
            for suffix in ("json", "sock"):
                (self.site.run / f"launcher-{one.pid}.{suffix}").unlink(missing_ok=True)

    def _delete(self) -> None:
        self.progress.show("cleaning up")
        deadline = time.monotonic() + _DELETE_SECONDS
        while left := self._campaign.delete():
            if time.monotonic() > deadline:
                raise Unavailable(f"{count(left, 'job')} cannot be deleted", reason="DEADLINE")
            time.sleep(_POLL_SECONDS)
        shutil.rmtree(self._campaign.directory, ignore_errors=True)
        self.progress.close()
