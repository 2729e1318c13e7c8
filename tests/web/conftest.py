"""`balsam web` as people use it: the command in a process of its own, and a real browser."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from balsam.client import Client
from balsam.site import Site
from tests.support import people
from tests.support.components import missing
from tests.support.processes import Services
from tests.support.rpc_client import Client as Caller

SECONDS = 20.0
ADDRESS_OF_LINK = "/#token="


@dataclass
class Web:
    """A `balsam web` that runs."""

    process: subprocess.Popen[str]
    link: str
    """The link that it has printed first."""

    @property
    def port(self) -> int:
        """Where it serves."""
        port = urlsplit(self.link).port
        assert port is not None
        return port

    def address(self, path: str = "/") -> str:
        """Of a page, without the link's token."""
        return f"http://127.0.0.1:{self.port}{path}"

    def next_link(self) -> str:
        """The link that it prints when the one before has been used."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@contextlib.contextmanager
def serving(site: Site, **environ: str) -> Iterator[Web]:
    """`balsam web` for a site, until the end of the block; it must stop when asked, and complain of nothing."""
    process = subprocess.Popen(
        [sys.executable, "-m", "balsam_cli", "web"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"BALSAM_DB_PATH": str(site.path)} | environ,
    )
    assert process.stdout is not None
    try:
        yield Web(process, process.stdout.readline().strip())
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            _, said = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            _, said = process.communicate()
            pytest.fail(f"balsam web did not stop\n{said}")
    assert (process.returncode, "Traceback" in said) == (0, False), said


@pytest.fixture
def web(site: Site, services: Services) -> Iterator[Web]:
    """`balsam web` for the fixture `site`, whose services run."""
    with serving(site) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A real browser, for a module: while it is there, its event loop runs in this thread, and no other may."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        missing("chromium", "no browser to look at the page with; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@dataclass
class Visit:
    """A browser at the page, and what went wrong in it."""

    context: BrowserContext
    web: Web
    wrong: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    """Parts of complaints that the test provokes."""

    def open(self, path: str = "/", link: str = "") -> Page:
        """A new tab; the first is opened by the link, which lets the browser in."""
        page = self.context.new_page()
        page.set_default_timeout(1000 * SECONDS)
        page.on("console", lambda message: message.type in ("error", "warning") and self.wrong.append(message.text))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", lambda request: self._look(request.url))
        if link or len(self.context.pages) == 1:
            page.goto(link or self.web.link)
            page.wait_for_selector("#live[data-state=on]")
        if path != "/" or page.url == "about:blank":
            page.goto(self.web.address(path))
        return page

    def _look(self, url: str) -> None:
        if urlsplit(url).netloc != f"127.0.0.1:{self.web.port}":
            self.wrong.append(f"a request left the host: {url}")

    def check(self) -> None:
        """Fails the test if the browser had anything to complain of."""
        assert [text for text in self.wrong if not any(part in text for part in self.expected)] == []


@contextlib.contextmanager
def visiting(browser: Browser, web: Web, **context: Any) -> Iterator[Visit]:
    """A browser of its own: nothing in its console, and no request to elsewhere."""
    visit = Visit(browser.new_context(viewport={"width": 1280, "height": 900}, **context), web)
    try:
        yield visit
    finally:
        visit.context.close()
    visit.check()


@pytest.fixture
def visit(chromium: Browser, web: Web) -> Iterator[Visit]:
    """A browser that nobody has let in yet."""
    with visiting(chromium, web) as one:
        yield one


@pytest.fixture
def add(site: Site, services: Services) -> Callable[..., str]:
    """Adds a job to `site`; gives its id. It does nothing, unless told so."""
    client = Client(site)

    def add_one(name: str, **fields: Any) -> str:
        job_id = str(uuid.uuid4())
        client.jobs.create([{"job_id": job_id, "name": name, "workflow": "w", "args": "true"} | fields])
        return job_id

    return add_one


def member_and_viewer(site: Site) -> tuple[str, str]:
    """Adds the member ann and the viewer vic; gives their tokens."""
    owner = Caller(site)
    try:
        return people.add_user(owner, "ann", people.MEMBER), people.add_user(owner, "vic", people.VIEWER)
    finally:
        owner.close()


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Waits until something is true of a page."""
    give_up = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < give_up, f"not after {SECONDS:g} s: {what}"
        time.sleep(0.05)
