"""What each byte of a state of the lease model means."""

from __future__ import annotations

# Phases of a job in the store. FREE waits for a launcher; DONE and KILLED are its end.
FREE, LEASED, DONE, KILLED = range(4)

# Whether a launcher goes on.
UP, STOPPED = range(2)

# A job in the hands of a launcher. OVER: its run was ended, or will not start, and the lease is to be given back.
NOTHING, GRANTED, RUNS, OVER, RESULT_AT_AGENT = range(5)

# The attempt that something is about. UNKNOWN: the store has no record of it.
NEWEST, OLDER, UNKNOWN = range(3)

# Messages that may be late.
GRANT, END, RELEASE = range(1, 4)

# Errors of the store that no later state shows.
STALE_WRITE, SECOND_END = 1, 2

STORE_SIZE, JOB_SIZE, SLOT_SIZE, PART_SIZE, MESSAGE_SIZE = 2, 7, 6, 5, 5

STORE_UP, BROKEN = range(STORE_SIZE)

# Of a job. HOLDER: 0 nobody, 1.. a launcher's session, and one more for a session that has been replaced, whose lease
# is ORPHAN_LEASE. LOST: the lease of the newest attempt expired. The last three are what invariants look back on: a
# user was told of the kill, an end of the newest attempt was accepted, its result has been in a ledger.
PHASE, HOLDER, ORPHAN_LEASE, LOST, KILL_TOLD, END_TAKEN, RESULT_KEPT = range(JOB_SIZE)

# Of a launcher. WINDOW: ticks in which its agent may run something. ANSWER: the window that an answer on its way
# brings, + 1. LEASE: ticks until the store may end its session, + 1; 0: there is none. DOOMED: a sweep has seen that.
STATUS, SESSION, WINDOW, ANSWER, LEASE, DOOMED = range(SLOT_SIZE)

# Of a job at a launcher. LEDGER: 1 + age of the attempt whose result is in it. SEEN: the grant has arrived.
# WILD: 1 + age of the attempt of a run that nobody watches.
HAS, AGE, LEDGER, SEEN, WILD = range(PART_SIZE)

# Of a message. REPLACED: the session that it is of or to is not the launcher's any more.
KIND, OF_JOB, OF_SLOT, OF_AGE, REPLACED = range(MESSAGE_SIZE)


class Layout:
    """Where things are.

    Args:
        launchers: how many there are.
        jobs: how many there are.
        late: how many messages may be on their way at once.
    """

    def __init__(self, launchers: int, jobs: int, late: int) -> None:
        self.launchers, self.jobs, self.late = launchers, jobs, late
        self.orphan = launchers + 1
        self._names = list(range(launchers))
        self.job = [STORE_SIZE + JOB_SIZE * job for job in range(jobs)]
        first = STORE_SIZE + JOB_SIZE * jobs
        self.slot_length = SLOT_SIZE + PART_SIZE * jobs
        self.slot = [first + self.slot_length * slot for slot in range(launchers)]
        self.part = [[at + SLOT_SIZE + PART_SIZE * job for job in range(jobs)] for at in self.slot]
        self.wire = first + self.slot_length * launchers
        self.places = [self.wire + MESSAGE_SIZE * place for place in range(late)]

    @property
    def start(self) -> bytes:
        """Everybody is up, nobody has a session, every job waits."""
        state = bytearray(self.wire + MESSAGE_SIZE * self.late)
        state[STORE_UP] = 1
        return bytes(state)

    def canonical(self, state: bytes) -> bytes:
        """The same state with the launchers in a fixed order: they have no names."""
        blocks = [state[at : at + self.slot_length] for at in self.slot]
        keys = blocks
        if len(set(blocks)) < self.launchers:
            keys = [block + self._mentions(state, slot) for slot, block in enumerate(blocks)]
        order = sorted(range(self.launchers), key=keys.__getitem__)
        if order == self._names:
            return state
        place = [0] * self.launchers
        for to, slot in enumerate(order):
            place[slot] = to
        new = bytearray(state)
        for at in self.job:
            if 0 < new[at + HOLDER] < self.orphan:
                new[at + HOLDER] = place[new[at + HOLDER] - 1] + 1
        for at, slot in zip(self.slot, order, strict=True):
            new[at : at + self.slot_length] = blocks[slot]
        for at in self.places:
            if new[at + KIND]:
                new[at + OF_SLOT] = place[new[at + OF_SLOT]]
        self.sort_messages(new)
        return bytes(new)

    def _mentions(self, state: bytes, slot: int) -> bytes:
        """What is said of a launcher elsewhere."""
        held = bytes(state[at + HOLDER] == slot + 1 for at in self.job)
        return held + bytes(state[at + KIND] if state[at + OF_SLOT] == slot else 0 for at in self.places)

    def sort_messages(self, new: bytearray) -> None:
        """Messages on their way have no order."""
        if self.late > 1:
            messages = sorted((bytes(new[at : at + MESSAGE_SIZE]) for at in self.places), reverse=True)
            new[self.wire :] = b"".join(messages)
