"""The lease protocol as a small state machine: a job store, launchers with their node agents, messages, clocks.

Pure: a state in, all that may happen next out. Whatever can go wrong is a step like any other: each process is killed,
launchers are stopped and go on, messages are lost, repeated, late and out of order, and time passes.

The machine is finite without a bound on what happens in it. Attempts are known by their age only (the newest, or an
older one), time by what is left of each lease and window. And it is small, because it leaves out what can do no harm:

- The store handles a request at the moment of its sending. Were it later, the lease would end later.
- An answer may be lost: what was asked for is then asked again. That of a renewal may come at any later time.
- At most `late` copies of grants and reports are on their way at once; they arrive at any time, or never.
- A result is one of a run that ended well or failed; once it is accepted, the job is done, or runs again.
- An agent that is killed has another in its place at once. A launcher that is killed is one that has no session and
  knows nothing but its ledger; once it opens a session, it was started again.
- Launchers are stopped only while they hold something: otherwise that is the same as if they did nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.model.layout import (
    AGE,
    ANSWER,
    BROKEN,
    DONE,
    DOOMED,
    END,
    END_TAKEN,
    FREE,
    GRANT,
    GRANTED,
    HAS,
    HOLDER,
    KILL_TOLD,
    KILLED,
    KIND,
    LEASE,
    LEASED,
    LEDGER,
    LOST,
    MESSAGE_SIZE,
    NEWEST,
    NOTHING,
    OF_AGE,
    OF_JOB,
    OF_SLOT,
    OLDER,
    ORPHAN_LEASE,
    OVER,
    PHASE,
    RELEASE,
    REPLACED,
    RESULT_AT_AGENT,
    RESULT_KEPT,
    RUNS,
    SECOND_END,
    SEEN,
    SESSION,
    STALE_WRITE,
    STATUS,
    STOPPED,
    STORE_UP,
    UNKNOWN,
    UP,
    WILD,
    WINDOW,
    Layout,
)

Label = tuple[str, int, int]
"""What happened, to which launcher, about which job; -1: to or about none."""


@dataclass(frozen=True)
class Rules:
    """What the protocol keeps to: all of it, and each mutant leaves one out."""

    reports_are_fenced: bool = True
    there_is_a_window: bool = True
    the_agent_keeps_the_window: bool = True
    the_window_counts_from_the_sending: bool = True
    the_window_has_a_margin: bool = True
    silence_proves_nothing: bool = True
    a_refusal_extends_only_a_window_that_lasts: bool = True
    runs_die_with_their_guards: bool = True
    a_grant_is_recorded_before_it_is_told: bool = True
    leases_have_grace_at_a_start: bool = True
    an_expired_session_is_over: bool = True
    an_expired_attempt_stays_open: bool = True
    sessions_of_the_dead_expire: bool = True
    a_sweep_looks_again: bool = True
    late_results_count: bool = True
    late_results_count_only_if_nobody_took_over: bool = True
    an_attempt_ends_once: bool = True
    a_kill_is_final: bool = True
    the_ledger_outlives_the_session: bool = True
    refused_results_are_dropped: bool = True
    results_are_acknowledged_after_the_commit: bool = True
    kills_are_acknowledged_after_the_commit: bool = True
    grants_of_old_sessions_are_ignored: bool = True
    grants_said_twice_are_ignored: bool = True
    silence_of_the_batch_system_is_no_end: bool = True


class Protocol:
    """All steps from a state.

    Args:
        layout: how many launchers, jobs and messages there are.
        rules: what is kept to.
        ticks: length of a lease, at least 2; the margin of the window is one tick.
        finish: what `on_lease_lost = "finish"` says: runs go on after their lease, and their job is free when the batch
            system says that the allocation has ended, and they with it.
    """

    def __init__(self, layout: Layout, rules: Rules = Rules(), ticks: int = 2, *, finish: bool = False) -> None:
        self.layout, self.rules, self.finish = layout, rules, finish
        self._lease = ticks + 1
        self._window = ticks - 1 if rules.the_window_has_a_margin else ticks
        self._found: list[tuple[Label, bytes]] = []

    def steps(self, state: bytes) -> list[tuple[Label, bytes]]:
        """Everything that may happen next."""
        self._found = []
        if state[STORE_UP]:
            self._grants(state)
            self._sweeps(state)
            self._kills(state)
            self._add("the store is killed", state, self._crashed(bytearray(state)))
        else:
            self._add("the store starts", state, self._started(bytearray(state)))
        for slot, at in enumerate(self.layout.slot):
            self._faults(state, slot, at)
            if state[at + STATUS] == UP:
                self._session(state, slot, at)
                self._reports(state, slot, at)
            self._runs(state, slot, at)
        self._messages(state)
        self._time(state)
        return self._found

    def _add(self, what: str, state: bytes, new: bytearray, slot: int = -1, job: int = -1) -> None:
        for at in self.layout.places:
            if new[at + KIND] and not self._matters(new, at):
                new[at : at + MESSAGE_SIZE] = bytes(MESSAGE_SIZE)
                self.layout.sort_messages(new)
        if new != state:
            self._found.append(((what, slot, job), bytes(new)))

    def _matters(self, new: bytearray, at: int) -> bool:
        """Whether a message could still change anything; one that cannot is as good as lost."""
        rules, its, part = self.rules, self.layout.job[new[at + OF_JOB]], self.layout.part[new[at + OF_SLOT]]
        newest = new[at + OF_AGE] == NEWEST
        if new[at + KIND] == GRANT:
            if new[at + REPLACED]:
                return not rules.grants_of_old_sessions_are_ignored
            fresh = newest and not new[part[new[at + OF_JOB]] + SEEN]
            return fresh or not rules.grants_said_twice_are_ignored
        if not newest and not rules.reports_are_fenced:
            return True
        if new[at + KIND] == RELEASE:
            return newest and new[its + HOLDER] == new[at + OF_SLOT] + 1
        if not newest:
            return not rules.late_results_count_only_if_nobody_took_over
        return not (new[its + END_TAKEN] and rules.an_attempt_ends_once)

    def _add_with_copy(
        self, what: str, state: bytes, new: bytearray, slot: int, job: int, kind: int, age: int = NEWEST
    ) -> None:
        """Adds a step, and the same step with a copy of its message left on the way."""
        self._add(what, state, new, slot, job)
        free = next((at for at in self.layout.places if not new[at + KIND]), None)
        if free is not None:
            new = bytearray(new)
            new[free : free + MESSAGE_SIZE] = bytes((kind, job, slot, age, not new[self.layout.slot[slot] + SESSION]))
            self.layout.sort_messages(new)
            self._add(what + ", and a copy of the message stays on its way", state, new, slot, job)

    # The store by itself

    def _crashed(self, new: bytearray) -> bytearray:
        # What is left of a lease is known to nobody now: at the start it is a whole one (or none at all).
        new[STORE_UP] = 0
        left = self._lease if self.rules.leases_have_grace_at_a_start else 1
        for at in self.layout.slot:
            new[at + LEASE] = left if new[at + LEASE] else 0
            new[at + DOOMED] = 0
        for at in self.layout.job:
            new[at + ORPHAN_LEASE] = left if new[at + ORPHAN_LEASE] else 0
        return new

    @staticmethod
    def _started(new: bytearray) -> bytearray:
        new[STORE_UP] = 1
        return new

    def _grants(self, state: bytes) -> None:
        for job, at in enumerate(self.layout.job):
            if state[at + PHASE] != FREE or state[at + HOLDER]:
                continue
            for slot, its in enumerate(self.layout.slot):
                if not state[its + LEASE]:
                    continue
                if not self.rules.a_grant_is_recorded_before_it_is_told and state[its + STATUS] == UP:
                    told, part = self._crashed(bytearray(state)), self.layout.part[slot][job]
                    if state[its + SESSION] and state[part + HAS] == NOTHING:
                        told[part + HAS], told[part + AGE] = GRANTED, UNKNOWN
                        self._add("a grant is told, and the store is killed before its commit", state, told, slot, job)
                new = bytearray(state)
                self._next_attempt(new, job)
                new[at + PHASE], new[at + HOLDER] = LEASED, slot + 1
                new[self.layout.part[slot][job] + SEEN] = 0
                self._add_with_copy("the store grants the job", state, new, slot, job, GRANT)

    def _next_attempt(self, new: bytearray, job: int) -> None:
        """Everything that was of the newest attempt is now of an older one."""
        at = self.layout.job[job]
        new[at + LOST] = new[at + END_TAKEN] = new[at + RESULT_KEPT] = 0
        for slot in self.layout.part:
            part = slot[job]
            if new[part + HAS]:
                new[part + AGE] = NEWEST if new[part + AGE] == UNKNOWN else OLDER
            new[part + LEDGER] = 1 + OLDER if new[part + LEDGER] else 0
            new[part + WILD] = 1 + OLDER if new[part + WILD] else 0
        for place in self.layout.places:
            if new[place + KIND] and new[place + OF_JOB] == job:
                new[place + OF_AGE] = OLDER

    def _sweeps(self, state: bytes) -> None:
        for slot, at in enumerate(self.layout.slot):
            if state[at + LEASE] == 1 and not self.rules.a_sweep_looks_again:
                new = bytearray(state)
                new[at + DOOMED] = 1
                self._add("a sweep sees that a lease has expired", state, new, slot)
            if self.finish and state[at + SESSION] and self.rules.silence_of_the_batch_system_is_no_end:
                continue  # its launcher lives: so does its allocation
            if state[at + LEASE] == 1 or state[at + DOOMED]:
                new = bytearray(state)
                if self.rules.an_expired_session_is_over:
                    new[at + LEASE] = new[at + DOOMED] = 0
                self._free(new, slot + 1)
                self._add("the store ends the session, whose lease has expired", state, new, slot)
        for job, at in enumerate(self.layout.job):
            if state[at + ORPHAN_LEASE] == 1 and self.rules.sessions_of_the_dead_expire:
                new = bytearray(state)
                self._free_one(new, at)
                self._add("the store ends a session that has been replaced", state, new, -1, job)

    def _free(self, new: bytearray, holder: int) -> None:
        for at in self.layout.job:
            if new[at + HOLDER] == holder:
                self._free_one(new, at)

    def _free_one(self, new: bytearray, at: int) -> None:
        new[at + HOLDER] = new[at + ORPHAN_LEASE] = 0
        if new[at + PHASE] == LEASED:
            new[at + PHASE], new[at + LOST] = FREE, int(self.rules.an_expired_attempt_stays_open)

    def _kills(self, state: bytes) -> None:
        for job, at in enumerate(self.layout.job):
            if state[at + PHASE] not in (FREE, LEASED):
                continue
            new = bytearray(state)
            new[at + KILL_TOLD] = 1
            if not self.rules.kills_are_acknowledged_after_the_commit:
                lost = self._crashed(bytearray(new))
                self._add("a kill is acknowledged, and the store is killed before its commit", state, lost, -1, job)
            new[at + PHASE] = KILLED
            new[at + LOST] = 0
            self._add("a user kills the job", state, new, -1, job)

    # What launchers and agents suffer

    def _faults(self, state: bytes, slot: int, at: int) -> None:
        parts = self.layout.part[slot]
        if state[at + STATUS] == STOPPED:
            new = bytearray(state)
            new[at + STATUS] = UP
            for job, part in enumerate(parts):
                if new[part + HAS] == RESULT_AT_AGENT:
                    self._keep_result(new, job, part)
            self._add("the launcher goes on (SIGCONT)", state, new, slot)
        elif any(state[part + HAS] in (GRANTED, RUNS) for part in parts):
            new = bytearray(state)
            new[at + STATUS] = STOPPED
            self._add("the launcher is stopped (SIGSTOP)", state, new, slot)
        if state[at + SESSION]:
            new = bytearray(state)
            self._end_runs(new, slot)
            self._forget_session(new, slot, at)
            new[at + STATUS] = UP
            for part in parts:
                new[part + HAS] = new[part + AGE] = 0
            self._add("the launcher is killed", state, new, slot)
        if any(state[part + HAS] in (RUNS, RESULT_AT_AGENT) for part in parts):
            new = bytearray(state)
            self._end_runs(new, slot)
            self._add("the agent is killed", state, new, slot)

    def _end_runs(self, new: bytearray, slot: int) -> None:
        for part in self.layout.part[slot]:
            if new[part + HAS] == RUNS and not self.rules.runs_die_with_their_guards:
                new[part + WILD] = 1 + new[part + AGE]
            if new[part + HAS] in (RUNS, RESULT_AT_AGENT):
                new[part + HAS] = OVER

    def _forget_session(self, new: bytearray, slot: int, at: int) -> None:
        """All that is of the session goes, but what has ended."""
        new[at + SESSION] = new[at + WINDOW] = new[at + ANSWER] = 0
        for place in self.layout.places:
            if new[place + KIND] and new[place + OF_SLOT] == slot:
                new[place + REPLACED] = 1
        for part in self.layout.part[slot]:
            new[part + SEEN] = 0
            if new[part + HAS] != RESULT_AT_AGENT:
                new[part + HAS] = new[part + AGE] = 0

    # The session

    def _session(self, state: bytes, slot: int, at: int) -> None:
        if state[at + SESSION] and state[at + ANSWER]:
            new = bytearray(state)
            brings = state[at + ANSWER] - 1 if self.rules.the_window_counts_from_the_sending else self._window
            new[at + WINDOW], new[at + ANSWER] = max(state[at + WINDOW], brings), 0
            self._add("the answer to a renewal arrives", state, new, slot)
        if not state[at + SESSION]:
            if state[STORE_UP]:
                self._add("the launcher opens a session", state, self._opened(bytearray(state), slot, at), slot)
            return
        new = bytearray(state)
        if not state[STORE_UP]:
            # Once the window is over, the store may have ended the session before it went away.
            if state[at + WINDOW] or not self.rules.a_refusal_extends_only_a_window_that_lasts:
                self._asked(new, at)
                self._add("a renewal is refused, for there is no store", state, new, slot)
        elif state[at + LEASE]:
            self._asked(new, at)
            new[at + LEASE] = self._lease
            self._add("the session is renewed", state, new, slot)
        else:
            self._add("the launcher hears that its session has ended", state, self._ended(new, slot, at), slot)
        if not self.rules.silence_proves_nothing:
            new = bytearray(state)
            self._asked(new, at)
            self._add("a renewal is lost", state, new, slot)

    def _asked(self, new: bytearray, at: int) -> None:
        useful = new[at + WINDOW] < self._window or not self.rules.the_window_counts_from_the_sending
        new[at + ANSWER] = 1 + self._window if useful else 0

    def _ended(self, new: bytearray, slot: int, at: int) -> bytearray:
        self._forget_session(new, slot, at)
        if not self.rules.the_ledger_outlives_the_session:
            for part in self.layout.part[slot]:
                new[part + LEDGER] = 0
        return new

    def _opened(self, new: bytearray, slot: int, at: int) -> bytearray:
        for its in self.layout.job:
            if new[its + HOLDER] == slot + 1:
                new[its + HOLDER], new[its + ORPHAN_LEASE] = self.layout.orphan, new[at + LEASE]
        new[at + SESSION], new[at + LEASE], new[at + WINDOW], new[at + DOOMED] = 1, self._lease, self._window, 0
        return new

    # Between the launcher and the store

    def _reports(self, state: bytes, slot: int, at: int) -> None:
        if not (state[STORE_UP] and state[at + SESSION] and state[at + LEASE]):
            return
        for job, its in enumerate(self.layout.job):
            part = self.layout.part[slot][job]
            mine = state[its + HOLDER] == slot + 1
            if mine and not state[part + SEEN] and state[part + HAS] == NOTHING:
                new = bytearray(state)
                if state[its + PHASE] == LEASED:
                    new[part + HAS], new[part + AGE], new[part + SEEN] = GRANTED, NEWEST, 1
                    self._add("the launcher learns of its grant", state, new, slot, job)
                else:
                    new[its + HOLDER] = 0
                    self._add("the launcher is asked for a job that it never got", state, new, slot, job)
            if mine and state[its + PHASE] == KILLED and state[part + HAS] in (GRANTED, RUNS):
                new = bytearray(state)
                new[part + HAS] = OVER
                self._add("the launcher learns of the kill, and ends the run", state, new, slot, job)
            if state[part + LEDGER]:
                self._report_end(state, slot, job, part)
            if state[part + HAS] in (GRANTED, OVER):
                new = bytearray(state)
                new[part + HAS] = new[part + AGE] = 0
                self._take_release(new, slot, job, state[part + AGE], replaced=False)
                self._add_with_copy(
                    "the launcher gives the job back", state, new, slot, job, RELEASE, state[part + AGE]
                )

    def _report_end(self, state: bytes, slot: int, job: int, part: int) -> None:
        age = state[part + LEDGER] - 1
        if not self.rules.results_are_acknowledged_after_the_commit:
            lost = self._crashed(bytearray(state))
            lost[part + LEDGER] = 0
            self._add("a result is acknowledged, and the store is killed before its commit", state, lost, slot, job)
        for new in self._take_end(state, slot, job, age, replaced=False):
            taken = new != state
            if taken:
                self._add("a result is accepted, and the answer is lost", state, new, slot, job)
            if taken or self.rules.refused_results_are_dropped:
                answered = bytearray(new)
                answered[part + LEDGER] = 0
                what = "a result is accepted" if taken else "a result is refused, and dropped"
                self._add_with_copy(what, state, answered, slot, job, END, age)

    def _take_end(self, state: bytes, slot: int, job: int, age: int, *, replaced: bool) -> list[bytearray]:
        """The store gets a result: what may become of the job."""
        rules, at = self.rules, self.layout.job[job]
        phase = state[at + PHASE]
        mine = state[at + HOLDER] == slot + 1 and not replaced
        is_open = bool(state[at + LOST]) or not rules.an_attempt_ends_once
        awaited = phase == LEASED or (phase == FREE and is_open)
        if rules.late_results_count:
            good = awaited and age == NEWEST
        else:
            good = phase == LEASED and mine and age == NEWEST
        good |= not rules.reports_are_fenced and phase == LEASED and mine
        good |= not rules.late_results_count_only_if_nobody_took_over and awaited
        good |= not rules.a_kill_is_final and phase == KILLED and age == NEWEST
        new = bytearray(state)
        if not good:
            if phase == KILLED and age == NEWEST:
                new[at + HOLDER] = new[at + ORPHAN_LEASE] = 0
            return [new]
        if age != NEWEST or state[at + END_TAKEN]:
            new[BROKEN] = STALE_WRITE if age != NEWEST else SECOND_END
        new[at + HOLDER] = new[at + ORPHAN_LEASE] = new[at + LOST] = 0
        new[at + END_TAKEN] = 1
        again = bytearray(new)
        new[at + PHASE], again[at + PHASE] = DONE, FREE
        return [new, again]

    def _take_release(self, new: bytearray, slot: int, job: int, age: int, *, replaced: bool) -> None:
        """The store hears that a run never was, or was ended without a result."""
        at = self.layout.job[job]
        mine = new[at + HOLDER] == slot + 1 and not replaced
        if mine and (age == NEWEST or not self.rules.reports_are_fenced):
            new[at + HOLDER] = 0
            if new[at + PHASE] == LEASED:
                new[at + PHASE] = FREE

    # At the agent

    def _runs(self, state: bytes, slot: int, at: int) -> None:
        rules = self.rules
        for job, part in enumerate(self.layout.part[slot]):
            if state[part + WILD]:
                new = bytearray(state)
                new[part + WILD] = 0
                self._add("a run that nobody watches ends", state, new, slot, job)
            if state[part + HAS] == GRANTED and (state[at + WINDOW] or not rules.there_is_a_window):
                new = bytearray(state)
                new[part + HAS] = RUNS
                self._add("the agent starts the run", state, new, slot, job)
            elif state[part + HAS] == RUNS:
                new = bytearray(state)
                if state[at + STATUS] == UP:
                    self._keep_result(new, job, part)
                else:
                    new[part + HAS] = RESULT_AT_AGENT
                self._add("the run finishes", state, new, slot, job)
                if self._must_end(state, at):
                    new = bytearray(state)
                    new[part + HAS] = OVER
                    self._add("the window is over, and the run is ended", state, new, slot, job)

    def _must_end(self, state: bytes, at: int) -> bool:
        kept = self.rules.the_agent_keeps_the_window or state[at + STATUS] == UP
        return self.rules.there_is_a_window and not self.finish and kept and not state[at + WINDOW]

    def _keep_result(self, new: bytearray, job: int, part: int) -> None:
        """The result is in the ledger, synced; an older one, which nobody wants any more, makes room for it."""
        new[part + LEDGER] = 1 + new[part + AGE]
        if new[part + AGE] == NEWEST:
            new[self.layout.job[job] + RESULT_KEPT] = 1
        new[part + HAS] = new[part + AGE] = 0

    # Messages that are late

    def _messages(self, state: bytes) -> None:
        for place in self.layout.places:
            kind, job, slot, age, replaced = state[place : place + MESSAGE_SIZE]
            if not kind:
                continue
            without = bytearray(state)
            without[place : place + MESSAGE_SIZE] = bytes(MESSAGE_SIZE)
            self.layout.sort_messages(without)
            self._add("a copy of a message is lost", state, without, slot, job)
            if kind == GRANT:
                self._late_grant(state, without, slot, job, age, replaced)
            elif state[STORE_UP] and kind == END:
                for new in self._take_end(bytes(without), slot, job, age, replaced=bool(replaced)):
                    self._add("a late copy of a result arrives", state, new, slot, job)
            elif state[STORE_UP]:
                self._take_release(without, slot, job, age, replaced=bool(replaced))
                self._add("a late copy of a job's return arrives", state, without, slot, job)

    def _late_grant(self, state: bytes, new: bytearray, slot: int, job: int, age: int, replaced: int) -> None:
        at, part = self.layout.slot[slot], self.layout.part[slot][job]
        if state[at + STATUS] != UP or not state[at + SESSION] or state[part + HAS] != NOTHING:
            return
        if replaced and self.rules.grants_of_old_sessions_are_ignored:
            return
        if (state[part + SEEN] or age != NEWEST) and not replaced and self.rules.grants_said_twice_are_ignored:
            return
        new[part + HAS], new[part + AGE], new[part + SEEN] = GRANTED, age, 1
        self._add("a late grant arrives", state, new, slot, job)

    # Time

    def _time(self, state: bytes) -> None:
        """A tick passes, unless an agent has to end a run first: that it does in less than one."""
        new = bytearray(state)
        for slot, at in enumerate(self.layout.slot):
            if self._must_end(state, at) and any(state[part + HAS] == RUNS for part in self.layout.part[slot]):
                return
            new[at + WINDOW] = max(0, state[at + WINDOW] - 1)
            left = max(0, state[at + ANSWER] - 1)
            if self.rules.the_window_counts_from_the_sending:
                new[at + ANSWER] = left if left - 1 > new[at + WINDOW] else 0
            if state[STORE_UP] and state[at + LEASE] > 1:
                new[at + LEASE] -= 1
        for at in self.layout.job:
            if state[STORE_UP] and state[at + ORPHAN_LEASE] > 1:
                new[at + ORPHAN_LEASE] -= 1
        self._add("time passes", state, new)
