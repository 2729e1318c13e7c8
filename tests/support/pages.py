"""Pages of the documentation as programs: their blocks are run in order, in one shell, and their outputs compared.

A block of `bash` or `python` is run, one with a title is a file that is written, and a block of `text` that follows one
is what it is to print. What is indented, or of another language, is only shown.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r'^```(\w*)(?: title="([^"\n]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_MARK = "\x1e"
_SECONDS = 110.0


@dataclass(frozen=True)
class Block:
    """A block of a page; `line` is where it begins, from 1."""

    line: int
    language: str
    title: str
    text: str
    promised: str = ""
    """The text block that follows; empty: nothing is said of its output."""


def blocks(page: str) -> Iterator[Block]:
    """The blocks that are run or written, in order."""
    found = [Block(page.count("\n", 0, one.start()) + 1, one[1], one[2] or "", one[3]) for one in _FENCE.finditer(page)]
    ends = {one.end(): number for number, one in enumerate(_FENCE.finditer(page))}
    starts = [one.start() for one in _FENCE.finditer(page)]
    for number, block in enumerate(found):
        if block.language == "text" or not (block.title or block.language in ("bash", "python")):
            continue
        following = found[number + 1] if number + 1 < len(found) else None
        end = next(end for end, index in ends.items() if index == number)
        adjacent = following is not None and following.language == "text" and not page[end : starts[number + 1]].strip()
        promised = following.text if following is not None and adjacent else ""
        yield Block(block.line, block.language, block.title, block.text, promised)


def script(parts: Sequence[Block], before: str = "") -> str:
    """One bash script of all blocks, which says before each which it is."""
    lines = ["set -euo pipefail", before]
    for block in parts:
        lines.append(f"printf '\\036%s\\n' {block.line}")
        if block.title:
            lines.append(f"cat > '{block.title}' <<'END_OF_THE_BLOCK'\n{block.text}END_OF_THE_BLOCK")
        elif block.language == "python":
            lines.append(f"python3 - <<'END_OF_THE_BLOCK'\n{block.text}END_OF_THE_BLOCK")
        else:
            lines.append(block.text)
    return "\n".join(lines) + "\n"


def missing(promised: str, printed: str) -> str | None:
    """The first line of what was promised that was not printed in its turn; None: all were.

    Lines may be parts of longer ones, and others may lie between; ``...`` is anything, and blanks do not count. Ids,
    process ids, dates, times and ages may be others.
    """
    left = iter(printed.splitlines())
    for line in map(str.strip, promised.splitlines()):
        if line in ("", "..."):
            continue
        pattern = re.compile(".*".join(_folded(part) for part in line.split("...")))
        if not any(pattern.search(candidate) for candidate in left):
            return line
    return None


_OTHERS = (
    (r"(?<![^\W_])[0-9a-f]{8}(?![^\W_])", r"[0-9a-f]{8}"),
    (r"\b\d{4}-\d\d-\d\d\b", r"\d{4}-\d\d-\d\d"),
    (r"\b\d\d:\d\d:\d\d(?:\.\d+)?", r"[0-9:.]+"),
    (r"\bpid \d+", r"pid \d+"),
    (r"\b\d+s\b", r"\d+s"),
)
"""What differs each time, and what stands for it."""


def _folded(text: str) -> str:
    """A pattern for a text, however it is spaced."""
    spaced = " ".join(text.split())
    kinds = "|".join(f"({wanted})" for wanted, _ in _OTHERS)
    parts: list[str] = []
    end = 0
    for found in re.finditer(kinds, spaced):
        parts += [re.escape(spaced[end : found.start()]), _OTHERS[(found.lastindex or 1) - 1][1]]
        end = found.end()
    return re.sub(r"\\? ", r"\\s+", "".join([*parts, re.escape(spaced[end:])]))


def run(page: Path, directory: Path, before: str = "", replaced: Mapping[str, str] | None = None) -> None:
    """Runs a page in an empty directory, as a user whose home it is; ends what it has started.

    Args:
        page: the page.
        directory: a short path, since sites in it have sockets.
        before: shell lines that make what the page says is there.
        replaced: parts of the page that are others here, such as ports.

    Raises:
        AssertionError: a block failed, or printed something else; with the line of the page and all output.
    """
    text = page.read_text()
    for old, new in (replaced or {}).items():
        text = text.replace(old, new)
    parts = list(blocks(text))
    status, output = _run(script(parts, before), directory)
    printed = {int(line): rest for part in output.split(_MARK)[1:] for line, _, rest in [part.partition("\n")]}
    last = max(printed, default=0)
    assert status == 0, f"{page.name}: the block at line {last} ended with {status}:\n{output}"
    for block in parts:
        line = missing(block.promised, printed[block.line])
        assert line is None, f"{page.name}, line {block.line}: not printed: {line!r}\n{output}"
    assert "Traceback" not in output, output


def environment(directory: Path) -> dict[str, str]:
    """The environment of a user with this home, in whose shell Balsam is installed."""
    hidden = {"XDG_DATA_HOME", "XDG_STATE_HOME"}
    others = {name: value for name, value in os.environ.items() if name not in hidden}
    return others | {"HOME": str(directory), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def _run(text: str, directory: Path) -> tuple[int, str]:
    """Status and output of a script. The output goes to a file: what stays in the background holds no pipe of ours."""
    file, said = directory / ".script.sh", directory / ".output"
    file.write_text(text)
    with said.open("wb") as output:
        process = subprocess.Popen(
            ["bash", str(file)],
            cwd=directory,
            env=environment(directory),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            status = -signal.SIGALRM
        finally:
            _end_group(process)
            stop_sites(directory)
    return status, said.read_text(errors="replace")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends the script and what it has left in the background."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    process.wait()


def stop_sites(directory: Path) -> None:
    """Stops the services of all sites that the user with this home has made."""
    listed = _balsam(directory, "which", "--list", "--json")
    for site in json.loads(listed.stdout or "[]"):
        if site["state"] in ("up", "partly up"):
            _balsam(directory, "down", site=site["path"])


def _balsam(directory: Path, *words: str, site: str = "") -> subprocess.CompletedProcess[str]:
    variables = environment(directory) | ({"BALSAM_DB_PATH": site} if site else {})
    command = [sys.executable, "-m", "balsam_cli", *words]
    return subprocess.run(
        command, cwd=directory, env=variables, capture_output=True, text=True, timeout=60, check=False
    )
