"""Calls that are under way when the job store dies: each has happened as a whole or not at all, as re-reading tells."""

from __future__ import annotations

import copy
import itertools
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from balsam.client import Client
from balsam.errors import BalsamError, Unavailable
from balsam.job_calls import JobCalls
from balsam.site import Site
from tests.support.job_model import JobModel, Refused

RESTART_SECONDS = 60.0
"""How long a patient caller tries again."""
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verb:
    """One thing to ask for, in the model and for real; each says whether it was refused."""

    in_model: Callable[[JobModel, Call], object]
    real: Callable[[JobCalls, Call], object]
    repeatable: bool
    """The same call twice does what it does once, without the store remembering calls."""


@dataclass(frozen=True)
class Call:
    """A call about a job."""

    verb: Verb
    job_id: str
    state: str
    new_id: str = field(default_factory=lambda: str(uuid.uuid4()))


def _in_model(model: JobModel, call: Call) -> bool:
    if call.job_id not in model.jobs and call.verb is not CREATE:
        return call.verb is not KILL  # what is not there is not killed; anything else is refused
    try:
        return bool(call.verb.in_model(model, call))
    except Refused:
        return True


CREATE = Verb(
    lambda model, call: model.create([{"id": call.new_id, "parents": [call.job_id]}]),
    lambda jobs, call: jobs.create([{"job_id": call.new_id, "parents": [call.job_id]}]) and None,
    repeatable=True,
)
KILL = Verb(
    lambda model, call: model.kill(call.job_id, recursive=True) and None,
    lambda jobs, call: jobs.kill([call.job_id], recursive=True) and None,
    repeatable=True,
)
PRIORITY = Verb(
    lambda model, call: model.change([call.job_id], {"priority": 5}),
    lambda jobs, call: jobs.update_matching([call.job_id], {"priority": 5}).refused,
    repeatable=True,
)
MOVE = Verb(
    lambda model, call: model.set_state([call.job_id], call.state),
    lambda jobs, call: jobs.set_state([call.job_id], call.state).refused,
    repeatable=False,
)
DELETE = Verb(
    lambda model, call: model.delete([call.job_id], kill=True),
    lambda jobs, call: jobs.delete([call.job_id], kill=True).refused,
    repeatable=False,
)
FREE = Verb(
    lambda model, call: model.set_parents(call.job_id, []),
    lambda jobs, call: jobs.update(call.job_id, {"parents": []}) and None,
    repeatable=False,
)
VERBS = (CREATE, KILL, PRIORITY, MOVE, DELETE, FREE)
REPEATABLE = tuple(verb for verb in VERBS if verb.repeatable)


class CallsInFlight:
    """Calls that are made at once, each from a thread of its own.

    Patient callers try again until they are answered, others take what they get.
    """

    def __init__(self, site: Site, calls: Sequence[Call], *, patient: bool) -> None:
        self._calls = calls
        self._answers: dict[int, bool | str] = {}
        self._client = Client(site)
        self._client._connection.retry_seconds = RESTART_SECONDS if patient else 0.0
        self._patient = patient
        self._threads = [threading.Thread(target=self._make, args=item, daemon=True) for item in enumerate(calls)]
        for thread in self._threads:
            thread.start()

    def _make(self, number: int, call: Call) -> None:
        try:
            self._answers[number] = bool(call.verb.real(self._client.jobs, call))
        except Unavailable:
            self._answers[number] = _UNKNOWN
        except BalsamError:
            self._answers[number] = True

    def outcome(self, before: JobModel, is_real: Callable[[JobModel], bool]) -> JobModel:
        """The model after the calls, of all that may have come of them the one that is real; fails if none is."""
        for thread in self._threads:
            thread.join(2 * RESTART_SECONDS)
            assert not thread.is_alive(), f"no answer: {self}"
        self._client.close()
        assert not (self._patient and _UNKNOWN in self._answers.values()), f"a patient caller got no answer: {self}"
        found = next((model for model in self._possible(before) if is_real(model)), None)
        assert found is not None, f"no order of these explains what is there now: {self}"
        return found

    def _possible(self, before: JobModel) -> Iterator[JobModel]:
        unknown = [number for number, answer in self._answers.items() if answer == _UNKNOWN]
        sure = [number for number in self._answers if number not in unknown]
        for count in range(len(unknown), -1, -1):
            for happened in itertools.combinations(unknown, count):
                for order in itertools.permutations([*sure, *happened]):
                    model = copy.deepcopy(before)
                    answers = {number: _in_model(model, self._calls[number]) for number in order}
                    if self._patient or all(answers[number] == self._answers[number] for number in sure):
                        yield model

    def __str__(self) -> str:
        names = {id(verb): name for name, verb in globals().items() if isinstance(verb, Verb)}
        return ", ".join(
            f"{names[id(call.verb)]} {call.job_id} {call.state}: {self._answers.get(number, 'no answer')}"
            for number, call in enumerate(self._calls)
        )
