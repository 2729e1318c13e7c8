"""Which runs fit into the time that is left, by what the history says."""

from __future__ import annotations

from balsam.settings import Settings
from balsam.site import Site
from balsam.v1 import job_pb2, lease_pb2
from balsam_launcher.experience import Experience
from balsam_launcher.leased import LeasedJob
from balsam_launcher.needs import need_of


class _Site:
    settings = Settings(fit_by_history=0.9)


def experience(**expected: int) -> Experience:
    made = Experience(_Site())  # type: ignore[arg-type]
    made.expected = expected
    return made


def leased(application: str, minutes: int) -> LeasedJob:
    need = need_of(1, 1, 1, "auto")
    assert need is not None
    program = lease_pb2.Program(name=application) if application else None
    return LeasedJob(1, lease_pb2.Lease(), job_pb2.Job(wall_time_minutes=minutes), program, "", need)


def test_what_a_job_says_is_the_most_that_it_is_thought_to_take() -> None:
    known = experience(quick=5, slow=90)
    assert known.minutes(leased("quick", 60)) == 5
    assert known.minutes(leased("slow", 60)) == 60
    assert known.minutes(leased("new", 60)) == 60
    assert known.minutes(leased("", 60)) == 60


def test_applications_that_fit_are_told_the_shortest_first() -> None:
    known = experience(b=5, a=10, c=1)
    assert known.quick(10) == ["c", "b", "a"]
    assert known.quick(5) == ["c", "b"]
    assert known.quick(0) == []
    assert known.quick(None) == []


def test_without_the_setting_nothing_is_known(site: Site) -> None:
    assert site.settings.fit_by_history == 0
    assert Experience(site).quick(10) == []
