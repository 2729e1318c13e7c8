"""Random fields of jobs through the real thing: whatever they hold, nothing gets out of the job's own directory.

Small in CI; ``BALSAM_TEST_ATTACKS=2000`` before pytest tries more. A failure is shrunk, and printed as the jobs that it
takes.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.safety.ground import Ground, Refusal

EXAMPLES = int(os.environ.get("BALSAM_TEST_ATTACKS", "25"))

_NASTY = [
    *(
        "..",
        "../x",
        "/",
        "//",
        ".",
        "~",
        "~root",
        "-",
        "--",
        "-rf",
        "-oProxyCommand=touch",
        "*",
        "**",
        "?",
        "[",
        "[!a]",
    ),
    *("$(touch @OUT/x)", "`touch @OUT/x`", "; touch @OUT/x", "| sh", "&& id", "> @OUT/x", "$HOME", "${IFS}", "\\"),
    *("'", '"', "\n", "\r", "\t", "\0", "\x1b[2J", "\x1b]0;x\x07", "\x9b", "\x7f", "\u202e", "\u2028", "\u200b"),
    *(
        "%s",
        "%00",
        "%2e%2e/",
        "{job}",
        "{{",
        "=",
        ":",
        ",",
        "@OUT/a.dat",
        "@OWN/x",
        "a",
        "b",
        " ",
        "é",
        "😀",
        "x" * 250,
    ),
    *("job.out", "preprocess.log", ".balsam-", "/dev/zero", "/proc/self/environ", "/etc/passwd"),
    *("scp:", "local:", "rsync:", "file://"),
]
text = st.one_of(
    st.sampled_from(_NASTY),
    st.lists(st.sampled_from(_NASTY), max_size=5).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
own_url = st.builds("local:@OWN/{}".format, text).filter(lambda url: ".." not in url)
"""What is written to must be the attacker's own: a job may write wherever its user may."""
jobs = st.fixed_dictionaries(
    {},
    optional={
        "name": text,
        "workflow": st.lists(text, max_size=3).map("/".join),
        "args": text,
        "environ_vars": st.dictionaries(text, text, max_size=3),
        "input_files": text,
        "stage_in_url": st.one_of(text, own_url),
        "stage_out_url": own_url,
        "stage_out_files": text,
        "user_workdir": st.builds("@OWN/{}".format, text),
        "mpi_flags": text,
        "description": text,
        "has_parent": st.booleans(),
    },
)
applications = st.fixed_dictionaries(
    {},
    optional={
        "executable": text.map("@PROBE {}".format),
        "preprocess": text.map("@PROBE {}".format),
        "postprocess": text.map("@PROBE {}".format),
        "envscript": text,
    },
)


@pytest.mark.timeout(120 + 5 * EXAMPLES)
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(application=applications, batch=st.lists(jobs, min_size=1, max_size=6))
def test_random_fields_get_nowhere(ground: Ground, application: dict[str, str], batch: list[dict[str, Any]]) -> None:
    before, data = ground.snapshot(), ground.data()
    name = _application(ground, application)
    added: list[str] = []
    for fields in batch:
        job_id = str(uuid.uuid4())
        values = _filled(ground, fields)
        parents = added[-1:] if values.pop("has_parent", False) else []
        refused = ground.add(job_id, application=name, parents=parents, **values)
        if refused is None:
            added.append(job_id)
        else:
            assert refused.reason == "INVALID_VALUE", refused
            assert refused.field in values, refused
            assert "\n" not in refused.message
    event(f"{len(added)} jobs were taken")  # --hypothesis-show-statistics
    homes = []
    for job_id in added:
        job = ground.wait(job_id)
        assert job.message or job.exit_code == 0, "it failed without a reason"
        homes.append(Path(job.working_directory))
    assert ground.trespasses(before) == []
    strays = [path for path in ground.data() - data if not any(_belongs(Path(path), home) for home in homes)]
    assert strays == []


def _application(ground: Ground, fields: dict[str, str]) -> str:
    """An application with these fields, or without any where they are refused."""
    refusal: Refusal | None = None
    try:
        return ground.add_app(**_filled(ground, fields))
    except Refusal as error:
        refusal = error
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_VALUE")
    return ground.add_app()


def _belongs(path: Path, home: Path) -> bool:
    return path.is_relative_to(home) or home.is_relative_to(path)


def _filled(ground: Ground, fields: dict[str, Any]) -> dict[str, Any]:
    return {name: _fill(ground, value) for name, value in fields.items()}


def _fill(ground: Ground, value: Any) -> Any:
    if isinstance(value, dict):
        return {_fill(ground, name): _fill(ground, text) for name, text in value.items()}
    if not isinstance(value, str):
        return value
    for sign, place in (("@OUT", ground.outside), ("@OWN", ground.own), ("@PROBE", ground.probe)):
        value = value.replace(sign, str(place))
    return value
