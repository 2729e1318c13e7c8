"""How pages are read and compared: what fails must be seen to fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.pages import blocks, missing, run

PAGE = """Text.

```python title="a.py"
print(1)
```

```bash
python3 a.py
```
```text
1
```

```bash
true
```

Between them is text:

```text
only shown
```

```toml
shown = true
```
"""


def test_blocks_are_files_commands_and_what_they_print() -> None:
    found = [(block.line, block.language, block.title, block.promised) for block in blocks(PAGE)]
    assert found == [(3, "python", "a.py", ""), (7, "bash", "", "1\n"), (14, "bash", "", "")]


@pytest.mark.parametrize(
    ("promised", "line"),
    [
        ("one two", None),
        ("one ... four\nfive", None),
        ("two", None),
        ("", None),
        ("one\n...\nfive", None),
        ("five\none", "one"),
        ("one four", "one four"),
        ("*", "*"),
    ],
)
def test_lines_are_compared_in_order_and_loosely(promised: str, line: str | None) -> None:
    assert missing(promised, "zero\n one   two three four\nfive") == line


@pytest.mark.parametrize(
    "printed",
    ["two (0a1b2c3d), 7s, pid 12, 2026-01-02 03:04:05.678, 4", "two (00000000), 12s, pid 7, 2027-11-12 13:14:15, 4"],
)
def test_what_differs_each_time_is_not_compared(printed: str) -> None:
    assert missing("two (446ec5e7), 7s, pid 12, 2026-01-02 03:04:05, 4\nx_446ec5e7", f"{printed}\nx_00000000") is None
    assert missing("two (446ec5e7), 7s, pid 12, 2026-01-02 03:04:05, 5", printed) is not None


def test_a_page_is_run_in_order(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    run(page, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("python3 a.py", "python3 b.py", "line 7 ended with"),
        ("true\n```\n\nB", "false\n```\n\nB", "line 14 ended with 1"),
        ("```text\n1\n", "```text\n2\n", "not printed: '2'"),
    ],
)
def test_what_is_not_so_fails(tmp_path: Path, old: str, new: str, why: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace(old, new))
    with pytest.raises(AssertionError, match=why):
        run(page, tmp_path)
