"""The site is built strictly, holds what it should, and fetches nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from scripts.check_imports import ROOT
from scripts.docs import links


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site."""
    directory = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(directory)]
    environ = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


class _Fetched(HTMLParser):
    """What a browser fetches for a page without being asked."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.found.append(values.get("src") or "")
        elif tag == "link" and values.get("rel") not in ("canonical", "next", "prev"):
            self.found.append(values.get("href") or "")


def fetched(page: Path) -> Iterator[str]:
    """The addresses that a page loads."""
    parser = _Fetched()
    parser.feed(page.read_text())
    yield from filter(None, parser.found)


def test_every_page_is_built(built: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    renamed = {path.with_name("index.html") if path.name == "README.html" else path for path in pages}
    assert [path for path in sorted(renamed) if not (built / path).exists()] == []


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("reference/commands.html", "balsam submit-launch"),
        ("reference/fields.html", "node_packing_count"),
        ("reference/settings.html", "lease_seconds"),
        ("reference/states.html", "AWAITING_PARENTS"),
        ("reference/protos.html", "CreateJobsRequest"),
        ("reference/python.html", "as_completed"),
        ("reference/python.html", "read_file_in_workdir"),
        ("repository/CHANGELOG.html", "Changelog"),
    ],
)
def test_what_is_made_from_the_code_is_there(built: Path, page: str, said: str) -> None:
    assert said in (built / page).read_text()


def test_pages_that_are_opened_as_files_can_be_searched(built: Path) -> None:
    """Browsers load no JSON from files: the index is a script, and so is what searches it."""
    assert "Ensembles: one program, many inputs" in (built / "search" / "search_index.js").read_text()
    assert "js/iframe-worker.js" in fetched(built / "index.html")


def test_nothing_is_fetched_from_elsewhere(built: Path) -> None:
    elsewhere = {
        address for page in built.rglob("*.html") for address in fetched(page) if re.match(r"(\w+:)?//", address)
    }
    assert elsewhere == set()
    styles = [path.read_text() for path in built.rglob("*.css")]
    assert not [style for style in styles if re.search(r"(@import|url\()[\s'\"]*(https?:)?//", style)]


def test_what_a_page_loads_is_there(built: Path) -> None:
    for page in built.rglob("*.html"):
        for address in fetched(page):
            if not address.startswith(("data:", "http", "/")):
                assert (page.parent / address.partition("?")[0]).exists(), f"{page.relative_to(built)}: {address}"


def test_pipes_in_the_code_of_tables_are_pipes() -> None:
    assert links.with_plain_pipes("| `a \\| b` | c \\| d |\n`a \\| b`") == "| `a | b` | c \\| d |\n`a \\| b`"


@pytest.mark.parametrize(
    ("source", "text", "said"),
    [
        ("docs/team.md", "[a](listening.md#logging-in)", "[a](listening.md#logging-in)"),
        ("docs/security.md", "[a](../SECURITY.md)", "[a](repository/SECURITY.md)"),
        ("docs/guides/x.md", "[`a`](../../client/balsam/states.py)", "[`a`](../repository/client/balsam/states.py)"),
        ("docs/x.md", "[a](../examples/equation_of_state/README.md)", "[a](repository/examples/equation_of_state.md)"),
        ("docs/x.md", "see [a](../protos) and [b](https://b)", "see a and [b](https://b)"),
        ("CHANGELOG.md", "[a](docs/team.md)", "[a](../team.md)"),
        ("docs/x.md", "![a](img/a.svg)", "![a](img/a.svg)"),
    ],
)
def test_links_lead_to_where_things_are_in_the_site(source: str, text: str, said: str) -> None:
    assert links.rewritten(text, source) == said
