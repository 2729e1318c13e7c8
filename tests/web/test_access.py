"""What `balsam web` lets through, and what not: plain HTTP, as a stranger on this machine would speak it."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

import pytest

from balsam.site import Site
from balsam_cli.main import main
from tests.support.shared import module_services as module_services
from tests.support.shared import services as services
from tests.support.shared import site as site
from tests.support.sites import make_test_site
from tests.web.conftest import ADDRESS_OF_LINK, Web, serving


class Stranger:
    """Somebody who speaks HTTP, and says what they like."""

    def __init__(self, web: Web) -> None:
        self.web = web
        self.origin = f"http://127.0.0.1:{web.port}"
        self.cookie, self.key = "", ""

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> http.client.HTTPResponse:
        """The answer, with its body read."""
        connection = http.client.HTTPConnection("127.0.0.1", self.web.port, timeout=20)
        told = {"cookie": self.cookie, "x-balsam-key": self.key} | {k.replace("_", "-"): v for k, v in headers.items()}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data, {name: value for name, value in told.items() if value})
        answer = connection.getresponse()
        answer.text = answer.read().decode()  # type: ignore[attr-defined]
        connection.close()
        return answer

    def status(self, method: str, path: str, body: Any = None, **headers: str) -> int:
        """Of the answer."""
        return self.ask(method, path, body, **headers).status

    def come_in(self, link: str) -> http.client.HTTPResponse:
        """Uses a link, as the page does."""
        answer = self.ask("POST", "/api/login", {"token": link.partition(ADDRESS_OF_LINK)[2]}, origin=self.origin)
        if answer.status == 200:
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
            self.key = json.loads(answer.text)["key"]  # type: ignore[attr-defined]
        return answer


@pytest.fixture
def stranger(web: Web) -> Stranger:
    return Stranger(web)


def test_without_the_link_there_is_a_page_and_no_data(stranger: Stranger) -> None:
    assert stranger.status("GET", "/") == 200
    assert stranger.status("GET", "/static/app.js") == 200
    for path in ("site", "jobs", "jobs/x", "jobs/x/output", "launches", "history", "events", "nothing"):
        assert stranger.status("GET", f"/api/{path}") == 401, path
    assert stranger.status("POST", "/api/actions/kill", {"job_ids": []}, origin=stranger.origin) == 401


def test_the_link_lets_in_once_by_a_cookie_that_no_script_reads(web: Web, stranger: Stranger) -> None:
    answer = stranger.come_in(web.link)
    assert answer.status == 200
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert stranger.status("GET", "/api/site") == 200
    other = Stranger(web)
    assert other.come_in(web.link).status == 401
    assert other.come_in(web.next_link()).status == 200


def test_cookie_and_key_are_needed_both(web: Web, stranger: Stranger) -> None:
    stranger.come_in(web.link)
    cookie, key = stranger.cookie, stranger.key
    stranger.key = ""
    assert stranger.status("GET", "/api/jobs") == 401
    assert stranger.status("GET", f"/api/jobs?key={key}") == 200
    assert stranger.status("POST", f"/api/actions/kill?key={key}", {}, origin=stranger.origin) == 401
    stranger.cookie, stranger.key = "", key
    assert stranger.status("GET", "/api/jobs") == 401
    stranger.cookie = cookie
    assert stranger.status("GET", "/api/jobs") == 200


def test_a_name_that_was_made_to_point_here_is_refused(web: Web, stranger: Stranger) -> None:
    stranger.come_in(web.link)
    for host in ("evil.example", f"evil.example:{web.port}", f"127.0.0.1.evil.example:{web.port}"):
        for path in ("/", "/api/site", "/static/app.js"):
            assert stranger.status("GET", path, host=host) == 400
    assert stranger.status("GET", "/api/site", host=f"localhost:{web.port}") == 200


def test_only_the_page_itself_changes_something(web: Web, stranger: Stranger) -> None:
    stranger.come_in(web.link)
    for origin in ("", "null", "http://evil.example", f"http://localhost:{web.port}", "http://127.0.0.1:1"):
        assert stranger.status("POST", "/api/actions/kill", {"job_ids": []}, origin=origin) == 403, origin
        assert stranger.status("POST", "/api/login", {"token": "x"}, origin=origin) == 403
    assert stranger.status("POST", "/api/actions/kill", {"job_ids": []}, origin=stranger.origin) == 400


def test_every_answer_binds_the_browser(web: Web, stranger: Stranger) -> None:
    stranger.come_in(web.link)
    for path in ("/", "/jobs", "/jobs/x", "/launches", "/static/app.js", "/api/site", "/api/nothing", "/nothing"):
        headers = stranger.ask("GET", path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == ("no-store" if path.startswith("/api/") else "no-cache")


def test_no_file_outside_is_given_out(stranger: Stranger) -> None:
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd", "/app.py"):
        assert stranger.status("GET", path) == 404, path


WRONG = [
    ("/api/jobs?state=LOST", 400, "state = 'LOST': does not exist (states: CREATED"),
    ("/api/jobs?after=garbage", 400, "page_token"),
    ("/api/jobs?rows=100000", 400, "must be 1 to 200"),
    ("/api/jobs/x", 400, "job_id = 'x'"),
    ("/api/jobs/00000000-0000-4000-8000-000000000000", 404, "00000000-0000-4000-8000-000000000000"),
    ("/api/events?job=x", 400, "job = 'x'"),
]


def test_what_is_wrong_is_told_in_one_line(web: Web, stranger: Stranger) -> None:
    stranger.come_in(web.link)
    for path, status, text in WRONG:
        answer = stranger.ask("GET", path)
        error = json.loads(answer.text)["error"]  # type: ignore[attr-defined]
        assert (answer.status, len(error.splitlines())) == (status, 1), path
        assert text in error


def test_nonsense_is_refused(web: Web, stranger: Stranger) -> None:
    stranger.come_in(web.link)
    for body in (b"", b"[]", b"{", b"\xff", b"[" * 60_000, b"{" + b" " * 70_000 + b"}"):
        assert stranger.status("POST", "/api/actions/kill", body, origin=stranger.origin) == 400, body[:10]


def test_it_listens_on_loopback_only(web: Web) -> None:
    import psutil

    listening = [one.laddr for one in psutil.Process(web.process.pid).net_connections("inet") if one.status == "LISTEN"]
    assert [tuple(address) for address in listening] == [("127.0.0.1", web.port)]


def test_the_token_is_not_among_the_words_of_a_process(web: Web) -> None:
    import psutil

    token = web.link.partition(ADDRESS_OF_LINK)[2]
    assert len(token) > 40
    words = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert not any(token in text for text in words)


def test_a_port_that_is_taken_is_one_line(site: Site, web: Web) -> None:
    import os
    import subprocess
    import sys

    command = [sys.executable, "-m", "balsam_cli", "web", "--port", str(web.port)]
    environ = os.environ | {"BALSAM_DB_PATH": str(site.path)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"balsam: port {web.port} is taken; name another with --port, or none for a free one\n"


def test_wrong_usage_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    for argv in (["web", "--port", "70000"], ["web", "stray"]):
        assert main(argv) == 2
        captured = capfd.readouterr()
        assert (captured.out, len(captured.err.splitlines())) == ("", 1)


def test_without_services_it_says_what_to_do(tmp_path: Path) -> None:
    site = make_test_site(tmp_path)
    with pytest.raises(AssertionError, match="start them with `balsam up`"), serving(site) as web:
        assert web.link == ""
