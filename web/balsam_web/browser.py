"""Opens the page in a browser of this desktop."""

from __future__ import annotations

import atexit
import html
import os
import tempfile
import webbrowser
from pathlib import Path


def open_page(link: str) -> None:
    """Opens a link without showing it to others.

    It would be among the words of the browser's command, which everybody on this machine can list. So that command
    names a file, which only its owner can read, and that leads on. The file goes when this process ends.
    """
    descriptor, name = tempfile.mkstemp(prefix="balsam-web-", suffix=".html")
    atexit.register(lambda: Path(name).unlink(missing_ok=True))
    target = html.escape(link)
    with os.fdopen(descriptor, "w") as file:
        file.write(f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={target}">')
        file.write(f'<a href="{target}">balsam web</a>\n')
    webbrowser.open(Path(name).as_uri())
