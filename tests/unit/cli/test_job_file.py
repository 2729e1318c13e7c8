"""Files of jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from balsam.errors import InvalidParentsError, ValidationError
from balsam_cli.job_file import JobFile, parse, read

CAMPAIGN = """
[[app]]
name = "sim"
executable = "/bin/echo"

[[job]]
name = "fit"
workflow = "w"
application = "sim"
parents = ["scan-1", "scan-2"]

[[job]]
name = "scan-1"
application = "sim"
args = "1"

[[job]]
name = "scan-2"
application = "sim"
ranks_per_node = 2
"""


def parsed(*jobs: dict[str, Any]) -> JobFile:
    return parse({"job": list(jobs)}, "f.toml")


def test_parents_are_named_and_come_first(tmp_path: Path) -> None:
    file = tmp_path / "campaign.toml"
    file.write_text(CAMPAIGN)
    content = read(file)
    assert content.applications == [{"name": "sim", "executable": "/bin/echo"}]
    names = {job["job_id"]: job["name"] for job in content.jobs}
    assert [names[one] for one in content.order] == ["fit", "scan-1", "scan-2"]
    assert content.jobs[-1]["name"] == "fit"
    assert [names[one] for one in content.jobs[-1]["parents"]] == ["scan-1", "scan-2"]


def test_json_holds_the_same(tmp_path: Path) -> None:
    file = tmp_path / "campaign.json"
    file.write_text('{"job": [{"name": "a", "ranks_per_node": 2, "data": {"x": [1]}}]}')
    (job,) = read(file).jobs
    assert (job["name"], job["ranks_per_node"], job["data"]) == ("a", 2, {"x": [1]})


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        ([{"nmae": "a"}], "f.toml: job 1: 'nmae' is not a field of a job; did you mean 'name'"),
        ([{"name": "a"}, {"name": "b", "num_nodes": 0}], "f.toml: job 2: num_nodes = 0: must be at least 1"),
        ([{"name": "a", "exit_code": 3}], "exit_code = 3: is read-only"),
        ([{"name": "a", "parents": ["z"]}], "parent 'z' is neither the name of a job in this file nor an id"),
        ([{"name": "a"}, {"name": "a"}, {"name": "b", "parents": ["a"]}], "2 jobs in this file have that name"),
        ([{"name": "a", "parents": "b"}], "must be a list"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_entry(jobs: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parsed(*jobs)
    assert message in str(caught.value)


def test_a_cycle_is_refused_with_its_path() -> None:
    with pytest.raises(InvalidParentsError, match=r"wait for each other: (a -> b -> a|b -> a -> b)"):
        parsed({"name": "a", "parents": ["b"]}, {"name": "b", "parents": ["a"]})


@pytest.mark.parametrize("document", [{}, [], {"jobs": []}, {"job": {}}, {"job": ["a"]}])
def test_other_documents_are_refused(document: Any) -> None:
    with pytest.raises(ValidationError, match=r"f\.toml"):
        parse(document, "f.toml")


@pytest.mark.parametrize(("name", "text"), [("a.toml", "[[job"), ("a.json", "{"), ("a.txt", "x")])
def test_a_file_that_is_none_of_the_formats_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValidationError):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.toml", b'a = "\xff"', "a.toml: byte 6 is not UTF-8"),
        ("a.yaml", b"job: [\xff]", "a.yaml: byte 7 is not UTF-8"),
        ("a.json", b"[" * 100_000, "a.json: it is nested too deep"),
        ("a.yml", b"job: [", "a.yml: while parsing a flow"),
    ],
)
def test_what_is_no_text_or_has_no_end_is_told_with_the_file(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValidationError) as caught:
        read(tmp_path / name)
    assert said in str(caught.value)
