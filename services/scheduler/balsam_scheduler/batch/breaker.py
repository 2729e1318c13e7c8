"""Launches that failed, and how long a queue is left alone after several in a row. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from balsam_scheduler.batch.nodes import Report
from balsam_scheduler.batch.policy import Policy
from balsam_scheduler.batch.scene import Launch, Memory, Scene
from balsam_scheduler.batch.work import counted

_LONGEST_MINUTES = 24 * 60
_MOST_DOUBLINGS = 20


@dataclass(frozen=True)
class Breaker:
    """A queue whose last launches failed.

    Attributes:
        failures: how many, one after the other.
        until: it is left alone until then [s since 1970].
        why: the reason of the last failure.
    """

    failures: int
    until: float
    why: str

    @property
    def text(self) -> str:
        """For people."""
        return f"{counted(self.failures, 'launch')} in a row failed ({self.why})"


def remember(scene: Scene) -> Memory:
    """Takes note of launches that failed: refused by the batch system, or over without having run anything; and of
    what launchers have found.

    Which launch a run was of is not recorded. So one counts as fruitful whose launcher came up, if any run has begun
    meanwhile. A launcher that ends by itself leaves no message, unless it says why it could not go on.
    """
    known = {launch.launch_id: launch for launch in scene.launches}
    failed = {launch_id: time for launch_id, time in scene.memory.failed.items() if launch_id in known}
    fruitful = known.keys() & set(scene.memory.fruitful)
    for launch_id in known.keys() - failed.keys() - fruitful:
        launch = known[launch_id]
        if launch.state == "SUBMIT_FAILED":
            failed[launch_id] = launch.create_time
        elif scene.has_run is None or (scene.has_run and _came_up(launch)):
            fruitful.add(launch_id)
        elif launch.state == "ENDED":
            failed[launch_id] = scene.now
    return replace(scene.memory, failed=failed, fruitful=tuple(sorted(fruitful)), reports=_reports(scene))


def _reports(scene: Scene) -> dict[int, Report]:
    """What the launchers of launches have found. Of one that ends at once nobody hears again."""
    told = {one.launch_id: Report(one.queue, one.sched_flags, one.kinds) for one in scene.launches if one.kinds}
    known = {launch.launch_id for launch in scene.launches}
    return {number: report for number, report in {**scene.memory.reports, **told}.items() if number in known}


def _came_up(launch: Launch) -> bool:
    return launch.start_time is not None or (launch.state == "ENDED" and not launch.message)


def breakers(policy: Policy, launches: Iterable[Launch], failed: Mapping[int, float]) -> dict[str, Breaker]:
    """The queues with too many failures in a row, by name."""
    by_queue: dict[str, list[Launch]] = {}
    for launch in launches:
        by_queue.setdefault(launch.queue, []).append(launch)
    found = {name: _breaker(policy, of_queue, failed) for name, of_queue in by_queue.items()}
    return {name: breaker for name, breaker in found.items() if breaker is not None}


def _breaker(policy: Policy, launches: Sequence[Launch], failed: Mapping[int, float]) -> Breaker | None:
    # Those that are open have not shown yet what they are; what a user cancelled shows nothing.
    newest_first = sorted(launches, key=lambda launch: -launch.launch_id)
    shown = [launch for launch in newest_first if not launch.open and launch.state != "CANCELLED"]
    row = list(itertools.takewhile(lambda launch: launch.launch_id in failed, shown))
    if len(row) < policy.breaker_failures:
        return None
    doublings = min(len(row) - policy.breaker_failures, _MOST_DOUBLINGS)
    minutes = min(policy.breaker_minutes * 2**doublings, _LONGEST_MINUTES)
    until = max(failed[launch.launch_id] for launch in row) + 60 * minutes
    return Breaker(len(row), until, row[0].message or _WHY[row[0].state])


_WHY = {"SUBMIT_FAILED": "the batch system did not accept it", "ENDED": "it ended without having run anything"}
