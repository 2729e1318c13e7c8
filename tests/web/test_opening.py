"""`balsam web --open`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from balsam_web import browser


def test_the_link_is_in_a_file_of_the_user_alone_and_not_in_the_browser_s_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    browser.open_page("http://127.0.0.1:1/#token=secret")
    (address,) = opened
    assert "secret" not in address
    file = Path(unquote(urlsplit(address).path))
    assert file.stat().st_mode & 0o777 == 0o600
    assert 'content="0; url=http://127.0.0.1:1/#token=secret"' in file.read_text()
