"""URLs and patterns of jobs, checked where a job is made."""

from __future__ import annotations

import pytest

from balsam.errors import ValidationError
from balsam.fields import JOB_FIELDS
from balsam.urls import SCHEMES

PLACES = [
    "/data/in",
    "/data/with blanks and 'quotes'",
    "local:/data/in",
    "file:///data/in",
    "file:/data/in",
    "scp:host:/data/in",
    "scp:me@host:in",
    "scp:host:~/in",
    "scp:host:-in",
    "scp:[::1]:/data/in",
    "scp:/data/in",
    "scp://me@host:22/in",
    "rsync:host:/data/in/",
    "rsync:host::module/in",
    "rsync://host/module/in",
    "ftp://host/in",
    "sftp://host/in",
    "s3://bucket/in",
    "gs://bucket/in",
    "abfs://container/in",
]


@pytest.mark.parametrize("url", PLACES)
def test_files_come_from_and_go_to(url: str) -> None:
    for field in ("stage_in_url", "stage_out_url"):
        assert JOB_FIELDS[field].check(url) == url


@pytest.mark.parametrize("url", ["http://host/in.dat", "https://host/in.dat?version=2"])
def test_the_web_can_be_read_and_not_written(url: str) -> None:
    assert JOB_FIELDS["stage_in_url"].check(url) == url
    with pytest.raises(ValidationError, match="cannot be written to") as raised:
        JOB_FIELDS["stage_out_url"].check(url)
    assert raised.value.field == "stage_out_url"


@pytest.mark.parametrize("url", ["gsiftp://host/x", "memory://x", "data/in", "C:\\data", "S3://bucket/x", ":", "scp"])
def test_an_unknown_scheme_is_refused_with_those_there_are(url: str) -> None:
    with pytest.raises(ValidationError) as raised:
        JOB_FIELDS["stage_in_url"].check(url)
    assert repr(url) in str(raised.value)
    assert f"must be an absolute path or a URL of {', '.join(SCHEMES)}" in str(raised.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("local:data", "must hold an absolute path, as in local:/data/input"),
        ("file://host/data", "must hold an absolute path, as in file:/data/input"),
        ("local:/", "names no place"),
        ("scp:", "names no place; write scp:HOST:PATH"),
        ("scp:host", "names no place; write scp:HOST:PATH"),  # scp would take it for a file of that name
        ("rsync:data/x:y", "names no place; write rsync:HOST:PATH"),
        ("rsync:host", "names no place; write rsync:HOST:PATH"),
        ("scp::/data", "names no place; write scp:HOST:PATH"),
        ("scp:///data", "names no place; write scp:HOST:PATH"),
        ("scp:-oProxyCommand=x:/y", "begins with '-'"),
        ("scp:me@-oProxyCommand=x:/y", "begins with '-'"),
        ("rsync:-e@host:/y", "begins with '-'"),
        ("scp://-oProxyCommand=x/y", "begins with '-'"),
        ("s3:bucket/x", "names no place; write s3://PLACE/PATH"),
        ("http://", "names no place; write http://PLACE/PATH"),
        ("scp:host:/x\n/y", "holds a control character"),
    ],
)
def test_what_names_no_place_is_refused(url: str, reason: str) -> None:
    with pytest.raises(ValidationError) as raised:
        JOB_FIELDS["stage_in_url"].check(url)
    assert str(raised.value).startswith("stage_in_url = ")
    assert reason in str(raised.value)


@pytest.mark.parametrize("field", ["input_files", "stage_out_files"])
@pytest.mark.parametrize(("text", "pattern"), [("*.dat ../*", "../*"), ("/etc/passwd", "/etc/passwd"), ("a/../b", "")])
def test_a_pattern_that_leads_out_is_refused(field: str, text: str, pattern: str) -> None:
    with pytest.raises(ValidationError, match=r"leads out of the job's directory") as raised:
        JOB_FIELDS[field].check(text)
    assert str(raised.value).startswith(f"{field} = {pattern or text!r}")


@pytest.mark.parametrize("text", ["*", "*.dat sub/*.out", "'two words.*' **/x", "a..b ..x/y"])
def test_patterns_below_the_directory(text: str) -> None:
    assert JOB_FIELDS["input_files"].check(text) == text
