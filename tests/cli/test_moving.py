"""Jobs to files and back by the command line."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from balsam.site import Site
from balsam_cli.text import parse_age
from tests.cli.conftest import Balsam
from tests.support.processes import launcher, services
from tests.support.sites import make_test_site, wait_for_states

pytestmark = pytest.mark.usefixtures("running")


@pytest.fixture
def running(site: Site) -> Iterator[None]:
    """The job store."""
    with services(site, "jobstore"):
        yield


@pytest.fixture
def finished(balsam: Balsam) -> list[str]:
    """The ids of two jobs that have ended, the second a child of the first."""
    balsam("app", "--name", "say", "--executable", "echo")
    ids = balsam("job", "--name", "first", "--workflow", "w", "--application", "say", "--args", "hello", "--yes").ids
    ids += balsam("job", "--name", "second", "--workflow", "w", "--parents", ids[0], "--yes", "--", "true").ids
    for job_id in ids:
        assert balsam("modify", "jobs", job_id, "--attr", "state", "--value", "JOB_FINISHED").status == 0
    return ids


def jobs_of_site(balsam: Balsam) -> list[dict[str, Any]]:
    """All jobs with their history, without what is a site's own: places, and the numbers of events."""
    jobs: list[dict[str, Any]] = balsam("ls", "--json", "--history").json
    for job in jobs:
        del job["working_directory"]
        for event in job["history"]:
            event.pop("sequence", None)
    return jobs


def records(path: Path) -> list[dict[str, Any]]:
    """The lines of a file."""
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("name", ["jobs.jsonl", "jobs.jsonl.gz"])
def test_jobs_go_to_another_site_and_run_there(
    balsam: Balsam, finished: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    balsam("job", "--name", "third", "--parents", finished[1], "--yes", "--", "true")
    receipt = balsam("export", str(tmp_path / name), "--json")
    assert (receipt.status, receipt.json["jobs"], receipt.json["edges"], receipt.json["applications"]) == (0, 3, 2, 1)
    lines = records(tmp_path / name)
    assert [next(iter(line)) for line in lines] == ["header", "application", "job", "job", "job", "end"]
    assert lines[-1]["end"]["sha256"] == receipt.json["sha256"]
    assert os.listdir(tmp_path).count(name) == 1
    assert not [left for left in os.listdir(tmp_path) if left.endswith(".tmp")]
    before = jobs_of_site(balsam)
    (tmp_path / "there").mkdir()
    other = make_test_site(tmp_path / "there")
    with services(other):
        monkeypatch.setenv("BALSAM_DB_PATH", str(other.path))
        assert balsam("import", str(tmp_path / name)).out == "imported 3 jobs, 1 application\n"
        assert balsam("import", str(tmp_path / name)).out == "imported 0 jobs; 3 jobs were here already\n"
        wait_for_states(other, {"third": "PREPROCESSED"})
        assert jobs_of_site(balsam)[:2] == before[:2]
        launcher(other)
        wait_for_states(other, {"first": "JOB_FINISHED", "third": "JOB_FINISHED"})


def test_an_export_to_stdout_is_the_file_and_nothing_else(balsam: Balsam, finished: list[str]) -> None:
    done = balsam("export", "-")
    assert (done.status, done.err) == (0, "exported 2 jobs with 4 events\n")
    assert [next(iter(json.loads(line))) for line in done.out.splitlines()] == [
        *("header", "application", "job", "job", "end")
    ]
    assert balsam("export", "-", "--json").status == 2


def test_a_file_is_replaced_only_when_that_is_wanted(balsam: Balsam, tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.write_text("precious")
    refused = balsam("export", str(path))
    assert (refused.status, path.read_text()) == (1, "precious")
    assert "add --yes to go ahead" in refused.err
    assert balsam("export", str(path), "--yes").status == 0
    assert len(records(path)) == 2


def test_what_is_no_file_is_not_replaced_by_one(balsam: Balsam, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for place in (pipe, tmp_path):
        answer = balsam("export", str(place), "--yes")
        assert answer.status == 1
        assert f"{place} is no file" in answer.err
    assert pipe.is_fifo()
    missing = tmp_path / "missing"
    assert balsam("export", str(missing / "jobs")).err == f"balsam: No such file or directory: {missing}\n"


def test_nothing_of_a_damaged_file_is_imported(balsam: Balsam, finished: list[str], tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    balsam("export", str(path))
    balsam("rm", "jobs", "--all", "--yes")
    whole = path.read_bytes()
    damages = {
        whole.replace(b'"name":"second"', b'"name":"zecond"'): "line 4 of the file is damaged: it does not match",
        whole[:-30]: "line 5 of the file is damaged: it is the last, so the file is cut off",
        whole[: whole.rindex(b'{"end"')]: "line 4 of the file is damaged: it is the last, so the file is cut off",
        gzip.compress(whole)[:-9]: "is damaged after line ",
        b"": "not a file that `balsam export`",
    }
    for damaged, words in damages.items():
        path.write_bytes(damaged)
        refused = balsam("import", str(path))
        assert (refused.status, refused.out, len(refused.err.splitlines())) == (1, "", 1)
        assert words in refused.err
        assert balsam("ls", "--json").json == []
    path.write_bytes(whole)
    assert balsam("import", str(path), "--json").json["created"] == 2
    assert balsam("import", str(tmp_path / "none")).err.startswith("balsam: No such file or directory")


def test_one_job_that_cannot_be_taken_stops_the_import_of_all(
    balsam: Balsam, finished: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "jobs.jsonl"
    balsam("export", str(path))
    balsam("rm", "jobs", "--all", "--yes")
    balsam("app", "--name", "say", "--executable", "printf", "--update")
    refused = balsam("import", str(path), "--json")
    assert refused.status == 1
    assert (refused.json["created"], refused.json["refused"]) == (0, 1)
    assert "line 2, application say: the application 'say' here has another executable" in refused.err
    assert balsam("ls", "--json").json == []


def test_old_jobs_go_to_an_archive_and_come_back(
    balsam: Balsam, site: Site, finished: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "old.jsonl.gz"
    before = jobs_of_site(balsam)
    directory = site.data / "w"
    directory.mkdir()
    assert balsam("archive", "--older-than", "1h", str(path)).out == "archived 0 of 0 jobs\n"
    asked = balsam("archive", "--older-than", "0s", str(path))
    assert asked.status == 1
    assert "archiving 2 jobs: this is not a terminal" in asked.err
    assert not path.exists()
    assert balsam("archive", "--older-than", "0s", str(path), "--yes").out == "archived 2 of 2 jobs\n"
    assert balsam("ls", "--json").json == []
    assert [app["name"] for app in balsam("ls", "apps", "--json").json] == ["say"]
    assert directory.is_dir()
    again = balsam("archive", "--older-than", "0s", str(path), "--yes")
    assert (again.status, again.out) == (0, "archived 0 of 2 jobs; 2 had been deleted before\n")
    assert balsam("import", str(path)).status == 0
    assert jobs_of_site(balsam) == before


def test_an_archive_that_was_cut_off_after_its_file_was_written_is_completed(
    balsam: Balsam, finished: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from balsam_cli import moving

    path = tmp_path / "old.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(moving, "remove_archived", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        assert balsam("archive", "--older-than", "0s", str(path), "--yes").status == 130
    assert len(balsam("ls", "--json").json) == 2
    balsam("modify", "jobs", finished[0], "--attr", "description", "--value", "wanted after all")
    done = balsam("archive", "--older-than", "0s", str(path), "--yes", "--json")
    assert (done.status, done.json["archived"], done.json["changed"]) == (1, 1, 1)
    assert "stays: its description has changed since" in done.err
    assert [row["name"] for row in balsam("ls", "--json").json] == ["first"]


def test_a_file_that_is_no_archive_of_this_site_deletes_nothing(
    balsam: Balsam, finished: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "jobs.jsonl"
    balsam("export", str(path))
    refused = balsam("archive", "--older-than", "0s", str(path), "--yes")
    assert (refused.status, refused.out) == (1, "")
    assert "not an archive of" in refused.err
    assert len(balsam("ls", "--json").json) == 2


def test_the_database_is_not_moved_while_the_services_run(balsam: Balsam, site: Site) -> None:
    refused = balsam("migrate-db", "postgres")
    assert refused.status == 1
    assert "run; stop them with `balsam down`" in refused.err
    secret = balsam("migrate-db", "mysql://me:secret@host/db")
    assert (secret.status, "secret" in secret.err) == (1, False)


@pytest.mark.parametrize(("text", "seconds"), [("90d", 7776000), ("12h", 43200), ("1d12h", 129600), ("2w", 1209600)])
def test_ages(text: str, seconds: float) -> None:
    assert parse_age(text, "--older-than") == seconds


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1y", "1d 2h"])
def test_an_age_that_is_none_is_refused(balsam: Balsam, text: str) -> None:
    refused = balsam("archive", "--older-than", text, "file")
    assert refused.status == 1
    assert "must be a span of time such as 90d" in refused.err
