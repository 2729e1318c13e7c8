"""Parts that keep attackers in their place, each by itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from balsam.commands import absolute_only, helper_environment, script_command, with_envscript
from balsam.errors import SiteError, ValidationError
from balsam.fields import LAUNCH_FIELDS
from balsam.site import Site
from balsam.urls import complaint
from balsam_cli.removal import remove_directory
from balsam_cli.tail import Tail, last_lines
from balsam_jobstore.database import Database
from balsam_launcher import hostlists, mpi
from balsam_launcher.frames import Order, Start
from balsam_launcher.prepare import Surroundings
from balsam_launcher.spawning import Refused, Spawner
from balsam_scheduler.batch import templates
from balsam_scheduler.batch.submitting import LaunchRequest, check, describe
from balsam_scheduler.batch.systems import SYSTEMS
from balsam_scheduler.fsspec_copy import check_names
from tests.batch.test_templates import launch
from tests.support.sites import make_test_site

# Programs of our own choice


def test_an_empty_entry_of_a_path_is_left_out() -> None:
    assert absolute_only(":/bin:.::rel/x:/usr/bin:") == "/bin:/usr/bin"
    assert absolute_only(":") == ""


def test_programs_among_a_job_s_files_find_nothing_there() -> None:
    found = helper_environment(
        {"PATH": ":/bin:.", "LD_LIBRARY_PATH": ":/opt/lib", "PYTHONPATH": ":", "HOME": "/root", "BALSAM_JOB_ID": "x"}
    )
    assert found["PATH"].split(":")[0] == "/bin"
    assert all(entry.startswith("/") for entry in found["PATH"].split(":"))
    assert (found["LD_LIBRARY_PATH"], found["HOME"]) == ("/opt/lib", "/root")
    assert not {"PYTHONPATH", "BALSAM_JOB_ID"} & found.keys()
    assert helper_environment({"PATH": "."})["PATH"]


def test_no_mpi_run_command_is_taken_from_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jsrun").write_text("#!/bin/sh\n")
    (tmp_path / "jsrun").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert isinstance(mpi.find("jsrun", ":.:/nowhere"), mpi.NoMpi)
    assert isinstance(mpi.find("jsrun", str(tmp_path)), mpi.Mpi)


def test_the_shell_of_an_envscript_is_named_by_its_path(tmp_path: Path) -> None:
    around = Surroundings(
        tmp_path, tmp_path / "data", {"PATH": f":.:{os.environ['PATH']}"}, (), "auto", mpi.NoMpi(""), ""
    )
    assert around.bash.startswith("/")
    words = with_envscript(["a"], "-x", {}, around.bash)
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "-x: No such file or directory" in done.stderr


# Words of others


@pytest.mark.parametrize("name", ["-oProxyCommand=x", "n1;id", "$(id)", "a b", "n1\nn2|", "`id`", "n1,-x", "\x1b[2J"])
def test_names_of_nodes_are_names(name: str) -> None:
    with pytest.raises(ValidationError):
        hostlists.expand("SLURM_JOB_NODELIST", name)
    if "\n" not in name:
        with pytest.raises(ValidationError):
            hostlists.lines("PBS_NODEFILE", f"n0\n{name}\n")


@pytest.mark.parametrize("field", ["queue", "project", "scheduler_id", "wf_filter"])
@pytest.mark.parametrize("value", ["a\n#SBATCH --uid=0", "a\x1b[2J", "a\0b", "a\rb"])
def test_what_stands_in_a_line_of_a_script_ends_no_line(field: str, value: str) -> None:
    with pytest.raises(ValidationError, match=field):
        LAUNCH_FIELDS[field].check(value)


@pytest.mark.parametrize("field", ["queue", "project", "scheduler_id"])
@pytest.mark.parametrize("value", ["--user=root", "-u", "a b"])
def test_what_becomes_a_word_of_a_batch_system_s_command_is_no_option(field: str, value: str) -> None:
    with pytest.raises(ValidationError, match=field):
        LAUNCH_FIELDS[field].check(value)


@pytest.mark.parametrize("field", ["queue", "project", "scheduler_id"])
@pytest.mark.parametrize("value", ["debug", "a@b", "123.server", "123;cluster", "ƒ2kWzC5Xj", "77@host", "12[].s", ""])
def test_names_of_batch_systems_are_taken(field: str, value: str) -> None:
    assert LAUNCH_FIELDS[field].check(value) == value


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_script_starts_the_launcher_and_nothing_else(
    tmp_path: Path, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = tmp_path / "probe"
    probe.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {tmp_path}/argv\n")
    probe.chmod(0o755)
    monkeypatch.setattr(templates.sys, "executable", str(probe))
    site = make_test_site(tmp_path / "a $(touch pwned); 'b' `touch pwned`")
    wf_filter = "x'; touch pwned; $(touch pwned) `touch pwned` \"*"
    values = {"queue": "$(touch${IFS}pwned)", "project": "`touch${IFS}pwned`'\";x", "wf_filter": wf_filter}
    check(LaunchRequest(1, 10, **values))
    text = describe(site, launch(**values), SYSTEMS[system]).text
    script = tmp_path / "script"
    script.write_text(text)
    subprocess.run(["bash", str(script)], cwd=tmp_path, check=True, timeout=30)
    argv = (tmp_path / "argv").read_text().splitlines()
    assert argv[:5] == ["-P", "-m", "balsam_cli", "launcher", "--job-mode=auto"]
    assert argv[5] == f"--wf-filter={wf_filter}"
    assert [path for path in tmp_path.rglob("*") if path.name == "pwned"] == []


@pytest.mark.parametrize("url", ["scp:[-x]:/p", "scp://[-x]/p", "rsync:%2Dx:/p", "rsync://-x/m/p", "scp:a@-x:/p"])
def test_a_host_is_no_option(url: str) -> None:
    assert "begins with '-'" in complaint(url, target=False)


def test_names_of_objects_do_not_lead_out() -> None:
    check_names("bucket/run", ["bucket/run/a", "bucket/run/b/c..d", "bucket/run"])
    for name in ("bucket/run/../x", "bucket/run/a/../../x", "other/x"):
        with pytest.raises(ValueError, match="leads out of"):
            check_names("bucket/run", [name])


# Directories


def _start(directory: Path, root: str) -> Start:
    return Start(Order.START, 1, ["/bin/true"], {}, str(directory), "x.out", "", False, root=root)


def test_a_run_is_started_in_no_directory_behind_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data, outside = tmp_path / "site" / "data", tmp_path / "outside"
    (data / "w").mkdir(parents=True)
    outside.mkdir()
    (data / "link").symlink_to(outside)
    (data / "w" / "job").symlink_to(outside)
    (data / "w" / "file").write_text("")
    spawner = Spawner()
    for path, why in (
        (data / "link" / "job", "link: is a symbolic link"),
        (data / "w" / "job", "is a symbolic link"),
        (data / "w" / "file", "Not a directory"),
        (outside, "it is not under"),
    ):
        with pytest.raises(Refused, match=why):
            spawner.start(_start(path, str(data)))
    assert list(outside.iterdir()) == []
    for path in (data / "w" / "new" / "deep", data / "w" / "new" / "deep"):  # made, and then there
        pid, _ = spawner.start(_start(path, str(data)))
        os.waitpid(pid, 0)
        assert (path / "x.out").exists()


def test_a_site_that_is_reached_through_a_link_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real" / "data").mkdir(parents=True)
    (tmp_path / "site").symlink_to("real")
    (tmp_path / "real" / "data" / "loop").symlink_to(".")
    around = Surroundings(tmp_path / "real", tmp_path / "real" / "data", {"PATH": ""}, (), "auto", mpi.NoMpi(""), "")
    directory = tmp_path / "site" / "data" / "w" / "j"
    assert around.root_of(str(directory)) == str(tmp_path / "site" / "data")
    pid, _ = Spawner().start(_start(directory, around.root_of(str(directory))))
    os.waitpid(pid, 0)
    assert (tmp_path / "real" / "data" / "w" / "j" / "x.out").exists()
    assert around.root_of(str(tmp_path / "site" / "data" / "loop" / "j")) == str(tmp_path / "site" / "data")
    with pytest.raises(ValidationError, match="is not under"):
        around.root_of(str(tmp_path / "elsewhere" / "j"))


def test_only_what_lies_in_data_without_links_is_removed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("a/mine", "b/theirs"):
        (data / name).mkdir(parents=True)
    (tmp_path / "outside" / "mine").mkdir(parents=True)
    (data / "link").symlink_to("b")
    (data / "out").symlink_to(tmp_path / "outside")
    for path in ("link/theirs", "out/mine", "link", "../outside/mine"):
        assert not remove_directory(data / path, data)
    assert (data / "b" / "theirs").is_dir()
    assert (tmp_path / "outside" / "mine").is_dir()
    assert remove_directory(data / "a" / "mine", data)
    assert not (data / "a").exists()


def test_a_pipe_in_the_place_of_an_output_holds_up_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "job.out")
    for look in (lambda: Tail(tmp_path / "job.out").read(), lambda: last_lines(tmp_path / "job.out", 3)):
        with pytest.raises(OSError, match="is no plain file"):
            look()


# Passwords of databases


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:se%2Fcret@host/db",
        "postgresql://me@host/db?password=se/cret",
        "postgres://host/db?user=me&password=other&password=se/cret",
    ],
)
def test_a_password_in_an_address_does_not_show(url: str) -> None:
    database = Database(url)
    assert database.url.password == "se/cret"
    for text in (database.url.render_as_string(), str(database.url.set(password=None)), repr(database.engine)):
        assert "cret" not in text
    database.close()


@pytest.mark.parametrize(
    "url",
    ["postgresql://me:se@cret@host/db", "postgresql://me:x@host:secret/db", "postgresql:/me:secret@host", "secret"],
)
def test_an_address_that_is_damaged_is_not_repeated(url: str) -> None:
    with pytest.raises(SiteError) as caught:
        Database(url)
    assert "cret" not in str(caught.value)


def test_settings_with_a_password_do_not_show_it_when_they_are_wrong(site: Site) -> None:
    settings = site.path / "settings.toml"
    settings.write_text(
        settings.read_text().replace('database = "sqlite"', 'database = ["postgresql://me:secret@h/d"]')
    )
    with pytest.raises(SiteError) as caught:
        _ = Site(site.path).settings
    assert "secret" not in str(caught.value)


def test_the_credential_of_a_run_is_put_into_no_command_line() -> None:
    variables = {"BALSAM_JOB_TOKEN": "secret", "A": "x"}
    for word in ("$BALSAM_JOB_TOKEN", "${BALSAM_JOB_TOKEN}"):
        assert script_command(f"echo $A {word}", "", variables) == ["echo", "x", word]
