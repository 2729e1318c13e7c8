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
        ("five\none", "one"),
        ("one four", "one four"),
        ("*", "*"),
    ],
)
def test_lines_are_compared_in_order_and_loosely(promised: str, line: str | None) -> None:
    assert missing(promised, "zero\n one   two three four\nfive") == line


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
