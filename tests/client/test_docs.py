"""The examples of the documentation do what they say."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("page", ["queries.md"])
def test_the_example_of_a_page_prints_what_it_says(page: str) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, page, "exec"), {})
    promised = re.findall(r"print\(.*\)  # (.*)", code)
    assert said.getvalue().splitlines() == promised
    assert promised
