"""Jobs as objects of a real store."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from balsam import errors, fields, query
from balsam.client import Client
from balsam.ids import new_id
from balsam.job import BalsamJob
from balsam.query import EVERYTHING

pytestmark = pytest.mark.usefixtures("store")


def saved(**fields: object) -> BalsamJob:
    job = BalsamJob(**{"name": "a", "args": "true", **fields})
    job.save()
    return job


def test_the_two_lines_of_the_documentation() -> None:
    job = BalsamJob(name="hello", workflow="hello", args="world!", ranks_per_node=2)
    job.data["x"] = 3
    job.save()
    found = BalsamJob.objects.get(name="hello")
    assert found == job
    assert (found.data, found.ranks_per_node, found.state) == ({"x": 3}, 2, "CREATED")


def test_what_the_store_adds_is_there_after_a_save(store: Client) -> None:
    job = saved(workflow="w")
    assert job.working_directory == f"{store.site.data}/w/a_{str(job.pk)[:8]}"
    assert job.create_time is not None
    assert job.create_time.tzinfo is not None
    assert job.revision == 1
    assert job.exit_code is None


def test_a_field_that_an_older_job_store_does_not_know_is_left_out(
    store: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(workflow="w")
    monkeypatch.setitem(fields.JOB_FIELDS, "later", fields.Field("later", fields.Kind.TEXT, "", "of the next version"))
    (page,) = store.jobs.pages(EVERYTHING, fields=["name", "later", "workflow"])
    assert [(job["name"], job["workflow"]) for job in page] == [("a", "w")]
    with pytest.raises(errors.ValidationError, match="'never' is not a field of a job"):
        next(store.jobs.pages(EVERYTHING, fields=["name", "never"]))
    with pytest.raises(errors.ValidationError, match="'later' is not a field of a job"):
        next(store.jobs.pages(query.Test("later", (), "EXACT", ("x",)), fields=["name", "later"]))


def test_a_save_sends_only_what_was_changed() -> None:
    job = saved()
    other = BalsamJob.objects.get(pk=job.pk)
    other.update_state("FAILED", "by somebody else")
    other.priority = 3
    other.save()
    job.data["energy"] = -1.5
    job.save()
    job.save()
    now = BalsamJob.objects.get(pk=job.pk)
    assert (now.state, now.priority, now.data) == ("FAILED", 3, {"energy": -1.5})
    assert now.revision == other.revision + 1


def test_data_that_is_held_can_be_changed_and_saved_again() -> None:
    job = saved()
    data = job.data
    for number in range(3):
        data["n"] = number
        job.save()
        assert BalsamJob.objects.get(pk=job.pk).data == {"n": number}


def test_the_fields_that_are_named_are_sent_whether_changed_or_not() -> None:
    job = saved(priority=1)
    BalsamJob.objects.update(priority=9, num_nodes=4)
    job.num_nodes = 2
    job.save(update_fields=["priority", "state_history"])
    assert job.changed_fields() == ["num_nodes"]
    job.refresh_from_db(["priority"])
    assert (job.priority, job.num_nodes) == (1, 2)
    job.refresh_from_db()
    assert (job.priority, job.num_nodes) == (1, 4)


def test_a_save_can_be_refused_if_somebody_was_first() -> None:
    job = saved()
    job.refresh_from_db()
    other = BalsamJob.objects.get(pk=job.pk)
    job.priority = 1
    job.save(if_unchanged=True)
    job.priority = 2
    job.save(if_unchanged=True)
    other.priority = 3
    with pytest.raises(errors.Conflict, match="was changed meanwhile"):
        other.save(if_unchanged=True)
    other.save()
    job.description = "not checked"
    job.save()
    job.description = "checked"
    with pytest.raises(errors.Conflict):
        job.save(if_unchanged=True)
    assert job.changed_fields() == ["description"]


def test_a_check_needs_a_job_that_was_read() -> None:
    job = saved()
    job.priority = 1
    with pytest.raises(errors.ValidationError, match=r"call refresh_from_db\(\) first"):
        job.save(if_unchanged=True)


def test_saving_the_same_job_twice_adds_it_once() -> None:
    job = BalsamJob(name="a")
    twin = BalsamJob(job_id=job.job_id, name="a")
    job.save()
    twin.save()
    assert BalsamJob.objects.count() == 1


def test_a_refused_job_stays_new_and_can_be_corrected() -> None:
    job = BalsamJob(application="nope")
    with pytest.raises(errors.NotFound, match="does not exist") as refused:
        job.save()
    assert not isinstance(refused.value, BalsamJob.DoesNotExist)
    job.application = ""
    job.save()
    assert BalsamJob.objects.get() == job


def test_states_are_checked_and_recorded() -> None:
    job = saved()
    with pytest.raises(errors.InvalidStateError, match="cannot go from CREATED to RUNNING"):
        job.update_state("RUNNING")
    assert job.state == "CREATED"
    assert job.changed_fields() == []
    job.update_state("RUN_ERROR", "by hand")
    job.state = "RESTART_READY"
    job.save()
    lines = job.state_history.splitlines()
    pattern = r"\[\d\d-\d\d-\d{4} \d\d:\d\d:\d\d\.\d{6} (\w+)\]"
    assert re.findall(pattern, job.state_history) == ["CREATED", "RUN_ERROR", "RESTART_READY"]
    assert lines[1].endswith("RUN_ERROR] by hand")
    assert job.get_recent_state_str() == lines[2]
    times = job.get_state_times()
    assert times["CREATED"] <= times["RUN_ERROR"] <= times["RESTART_READY"]
    assert job.runtime_seconds is None


def test_a_job_starts_anew_by_its_first_state() -> None:
    job = saved()
    for again in (lambda: job.update_state("CREATED"), lambda: BalsamJob.objects.all().update(state="CREATED")):
        job.update_state("FAILED")
        again()
        job.refresh_from_db()
        assert job.state == "CREATED"


def test_many_jobs_change_their_state_in_one_call() -> None:
    jobs = [saved(name=str(number)) for number in range(4)]
    assert BalsamJob.batch_update_state(jobs[:2], "FAILED", "why") == 2
    assert BalsamJob.batch_update_state([str(jobs[2].pk)], "FAILED") == 1
    assert BalsamJob.batch_update_state([], "FAILED") == 0
    assert BalsamJob.batch_update_state(BalsamJob.objects.filter(state="FAILED"), "RESTART_READY") == 3
    assert BalsamJob.batch_update_state(BalsamJob.objects.order_by("name")[:1], "USER_KILLED") == 1
    states = dict(BalsamJob.objects.values_list("name", "state"))
    assert states == {"0": "USER_KILLED", "1": "RESTART_READY", "2": "RESTART_READY", "3": "CREATED"}
    with pytest.raises(errors.InvalidStateError, match=r"\(3 moved, 1 refused\)"):
        BalsamJob.batch_update_state(BalsamJob.objects.all(), "CREATED")
    with pytest.raises(errors.ValidationError, match="must be one of"):
        BalsamJob.batch_update_state(jobs, "DONE")


def test_the_graph() -> None:
    first, second = saved(name="first"), saved(name="second")
    child = saved(name="child", parents=[first, second.pk])
    assert set(child.get_parents()) == {first, second}
    assert sorted(child.parents) == sorted(map(str, (first.pk, second.pk))) == sorted(child.get_parents_by_id())
    assert sorted(BalsamJob.objects.get(name="child").parents) == sorted(child.parents)
    assert list(first.get_children()) == [child]
    assert first.get_children_by_id() == [child.pk]
    assert first.get_child_by_name("child") == child
    with pytest.raises(ValueError, match="no child named 'x'"):
        first.get_child_by_name("x")
    child.set_parents(BalsamJob.objects.filter(name="second"))
    assert list(child.get_parents().values_list("name", flat=True)) == ["second"]
    child.parents.append(str(first.pk))
    child.save()
    assert child.get_parents().count() == 2


def test_parents_that_cannot_be_leave_all_as_it_was() -> None:
    parent = saved(name="p")
    child = saved(name="c", parents=[parent])
    with pytest.raises(errors.InvalidParentsError, match="no such job"):
        child.set_parents([new_id()])
    with pytest.raises(errors.InvalidParentsError, match=r"would close the cycle p .* -> c .* -> p"):
        parent.set_parents([child])
    assert (child.parents, parent.parents) == ([str(parent.pk)], [])


def test_a_deleted_job_does_not_exist() -> None:
    job = saved()
    job.delete()
    job.priority = 2
    for action in (
        job.delete,
        job.save,
        job.refresh_from_db,
        lambda: job.update_state("FAILED"),
        lambda: BalsamJob.objects.get(pk=job.pk),
    ):
        with pytest.raises(BalsamJob.DoesNotExist):
            action()


def test_files_of_the_working_directory(here: Path, store: Client) -> None:
    parent = saved(name="parent", user_workdir=str(here / "elsewhere"))
    job = saved(name="job", parents=[parent])
    mine, other = Path(job.working_directory), here / "elsewhere"
    for directory in (mine, other):
        directory.mkdir(parents=True)
    (mine / "out.txt").write_text("42\n")
    (other / "parents.txt").write_text("from the parent")
    (mine / "parents.txt").symlink_to(other / "parents.txt")
    (mine / "secret").symlink_to("/etc/passwd")
    assert job.read_file_in_workdir("out.txt") == "42\n"
    assert job.read_file_in_workdir("parents.txt") == "from the parent"
    for name, said in [
        ("missing", "there is no file 'missing'"),
        ("../../settings.toml", "leaves the working directory"),
        ("/etc/passwd", "leaves the working directory"),
        ("secret", "is a link that leaves the site"),
    ]:
        with pytest.raises(ValueError, match=said):
            job.read_file_in_workdir(name)


def test_plain_data_of_a_stored_job() -> None:
    parent = saved(name="p")
    job = saved(name="c", parents=[parent], environ_vars={"A": "b:c"}, data={"x": 1})
    back = BalsamJob.from_dict(BalsamJob.objects.get(name="c").to_dict())
    assert back.to_dict() == job.to_dict()
    assert back.parents == [str(parent.pk)]
    back.data["x"] = 2
    back.save()
    assert BalsamJob.objects.get(name="c").data == {"x": 2}


def test_threads_share_the_connection() -> None:
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(5):
                saved(name=f"{number}-{step}")
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert BalsamJob.objects.count() == 40
