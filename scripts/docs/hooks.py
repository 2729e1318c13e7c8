"""What mkdocs calls while it builds the site (`hooks` in ``mkdocs.yml``).

Adds the pages that are made from the code, the files outside of ``docs/`` that pages link to, and to the navigation the
pages that it does not name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

from scripts.docs import cli, links, protos, states, tables

ROOT = links.ROOT
DOCS = ROOT / "docs"

GENERATED: dict[str, Callable[[], str]] = {
    "reference/commands.md": cli.page,
    "reference/fields.md": tables.fields_page,
    "reference/settings.md": tables.settings_page,
    "reference/states.md": lambda: (
        f"# States of a job\n\n![The states of a job](../img/states.svg)\n\n{states.table()}"
    ),
    "reference/protos.md": protos.page,
}
"""Page of the site -> what makes it."""

OTHERS, DECISIONS = "More", "Decisions"
"""Sections of the navigation that fill themselves."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fills the sections of the navigation that are kept by nobody."""
    named = set(_named(config.nav))
    pages = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    decisions = [page for page in pages if page.startswith("decisions/") and page not in named]
    others = [page for page in pages if page not in named and page not in decisions]
    _fill(config.nav, DECISIONS, decisions)
    _fill(config.nav, OTHERS, others)
    config.nav = _without_empty_sections(config.nav)
    return config


def _named(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for value in nav.values():
            yield from _named(value)
    elif isinstance(nav, list):
        for item in nav:
            yield from _named(item)


def _fill(nav: Any, section: str, pages: list[str]) -> None:
    """Adds pages to a section, wherever in the navigation it is."""
    if isinstance(nav, list):
        for item in nav:
            _fill(item, section, pages)
    elif isinstance(nav, dict):
        for title, value in nav.items():
            if title == section:
                value.extend(pages)
            else:
                _fill(value, section, pages)


def _without_empty_sections(nav: Any) -> Any:
    if isinstance(nav, list):
        return [_without_empty_sections(item) for item in nav if not (isinstance(item, dict) and [] in item.values())]
    if isinstance(nav, dict):
        return {title: _without_empty_sections(value) for title, value in nav.items()}
    return nav


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what is made from the code, and what pages link to outside of ``docs/``."""
    for name, make in GENERATED.items():
        files.append(File.generated(config, name, content=make()))
    seen = {f"docs/{file.src_uri}" for file in files}
    named = set(_named(config.nav))
    sources = [source for source in sorted(seen) if source.endswith(".md") and (ROOT / source).exists()]
    waiting = [(source, (ROOT / source).read_text()) for source in sources]
    while waiting:
        source, text = waiting.pop()
        for path in links.targets(text, source):
            if path in seen or path.startswith(("docs/", "..")) or not (ROOT / path).is_file():
                continue
            seen.add(path)
            place = links.place(path)
            level = InclusionLevel.INCLUDED if place in named else InclusionLevel.NOT_IN_NAV
            files.append(File.generated(config, place, abs_src_path=str(ROOT / path), inclusion=level))
            if path.endswith(".md"):
                waiting.append((path, (ROOT / path).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Makes links lead to where things are in the site, and code in tables read as it is meant."""
    name = page.file.src_uri
    if name in GENERATED:
        return markdown
    source = Path(page.file.abs_src_path or "").relative_to(ROOT).as_posix()
    return links.with_plain_pipes(links.rewritten(markdown, source))
