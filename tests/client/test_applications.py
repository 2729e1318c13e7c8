"""Applications as objects of a real store."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from balsam import errors
from balsam.application import ApplicationDefinition, NoApplication
from balsam.job import BalsamJob
from balsam.launcher import dag
from balsam.q import Count

pytestmark = pytest.mark.usefixtures("store")


def test_an_application_is_registered_with_its_interpreter() -> None:
    app = ApplicationDefinition(name="sim", executable="/bin/echo -n", description="says it")
    app.save()
    assert app.python == sys.executable
    assert app.owner
    assert app.pk == "sim"
    assert ApplicationDefinition.objects.get(name="sim").executable == "/bin/echo -n"


def test_changes_are_saved_field_by_field() -> None:
    dag.add_app("sim", "/bin/echo")
    one, two = (ApplicationDefinition.objects.get(pk="sim") for _ in range(2))
    one.description = "one"
    one.save()
    two.preprocess = "/bin/true"
    two.save()
    app = ApplicationDefinition.objects.get()
    assert (app.description, app.preprocess, app.executable) == ("one", "/bin/true", "/bin/echo")
    assert two.description == "one"


def test_a_change_may_ask_that_nobody_was_faster() -> None:
    dag.add_app("sim", "/bin/echo")
    one, two = (ApplicationDefinition.objects.get(pk="sim") for _ in range(2))
    one.description = two.description = "new"
    one.save(if_unchanged=True)
    with pytest.raises(errors.Conflict, match="application 'sim' was changed meanwhile"):
        two.save(if_unchanged=True)


def test_a_name_is_taken_once_but_add_app_changes() -> None:
    first = dag.add_app("sim", "/bin/echo", description="first")
    with pytest.raises(errors.Conflict, match="exists already"):
        ApplicationDefinition(name="sim", executable="/bin/true").save()
    second = dag.add_app("sim", "/bin/true")
    assert first == second
    assert (second.executable, second.description) == ("/bin/true", "")
    assert [app.name for app in dag.get_apps()] == ["sim"]
    with pytest.raises(errors.ValidationError, match="fixed at creation"):
        second.name = "other"


def test_relative_paths_are_made_absolute_and_found_again(here: Path) -> None:
    (here / "sim.py").touch()
    fields = {"name": "sim", "executable": "sim.py -v", "envscript": "sim.py"}
    app, created = ApplicationDefinition.objects.get_or_create(**fields)
    assert created
    assert app.executable == f"{here}/sim.py -v"
    assert app.envscript == f"{here}/sim.py"
    assert ApplicationDefinition.objects.get_or_create(**fields) == (app, False)


def test_queries_over_applications() -> None:
    for name, executable in [("b", "/bin/x"), ("a", "/bin/x"), ("c", "/bin/y")]:
        dag.add_app(name, executable)
    apps = ApplicationDefinition.objects
    assert [app.name for app in apps.all()] == ["a", "b", "c"]
    assert apps.order_by("-name").first() == apps.last() == apps.get(name="c")
    assert apps.filter(executable__endswith="x").count() == 2
    assert list(apps.values("executable").annotate(n=Count()).order_by("-n")) == [
        {"executable": "/bin/x", "n": 2},
        {"executable": "/bin/y", "n": 1},
    ]
    assert list(apps.values_list("executable", flat=True).distinct()) == ["/bin/x", "/bin/y"]
    assert apps.filter(name="a").update(description="new") == 1
    assert apps.in_bulk(["a", "x"]).keys() == {"a"}
    assert apps.get(description="new") in apps.filter(name="a")
    assert apps.exclude(name="a").delete() == (2, {"ApplicationDefinition": 2})
    with pytest.raises(ApplicationDefinition.DoesNotExist, match="no ApplicationDefinition matches name='b'"):
        apps.get(name="b")


def test_what_a_job_has_of_its_application() -> None:
    dag.add_app("sim", "/bin/echo $X ~", preprocess="/bin/true", postprocess="/bin/false", envscript="/e.sh")
    job = BalsamJob(application="sim", args="'a b'")
    assert job.get_application().name == "sim"
    assert job.app_cmd.startswith("/bin/echo '$X' /")
    assert job.app_cmd.endswith("'a b'")
    assert (job.preprocess, job.postprocess, job.envscript) == ("/bin/true", "/bin/false", "/e.sh")
    with pytest.raises(NoApplication, match="has no application"):
        BalsamJob().get_application()
    with pytest.raises(NoApplication, match=r"application 'sin' does not exist \(there are: sim\)"):
        BalsamJob(application="sin").get_application()


def test_an_application_in_use_stays() -> None:
    app = dag.add_app("sim", "/bin/echo")
    BalsamJob(application="sim").save()
    with pytest.raises(errors.NotAllowed, match="is used by 1 unfinished jobs"):
        app.delete()
    BalsamJob.objects.all().delete()
    app.delete()
    with pytest.raises(ApplicationDefinition.DoesNotExist):
        app.refresh_from_db()
