"""Where the command `balsam` begins.

Its help needs the list of commands and nothing else, and is printed before anything else is loaded: click alone takes
longer than that.
"""

from __future__ import annotations

import os
import sys

from balsam_cli.group import COMMANDS

_INTRODUCTION = """\
Usage: balsam [OPTIONS] COMMAND [ARGS]...

  Large campaigns of computing jobs, on a laptop or a supercomputer.

  The shortest way in: balsam run -- COMMAND...

Options:
  --version   Show the version.
  -h, --help  Show this message and exit.
"""
_END = "  Every command has its own --help. Ids may be shortened to any unique prefix.\n"


def help_text() -> str:
    """What `balsam --help` prints: the commands, by section."""
    width = max(len(name) for section in COMMANDS.values() for name in section)
    sections = [
        f"{title}:\n" + "".join(f"  {name:{width}}  {text}\n" for name, text in section.items())
        for title, section in COMMANDS.items()
    ]
    return "\n".join([_INTRODUCTION, *sections, _END])


def main() -> int:
    """The command line of this process; returns the exit status."""
    try:
        return _run()
    except KeyboardInterrupt:  # before there is anybody who takes it, or in the moment after
        return 130


def _run() -> int:
    if sys.argv[1:] in ([], ["--help"], ["-h"]) and "_BALSAM_COMPLETE" not in os.environ and _print_help():
        return 0
    from balsam_cli.main import main as run

    return run()


def _print_help() -> bool:
    """Whether that was possible; where it is not, the other way says why."""
    try:
        sys.stdout.write(help_text())
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):  # a full disk, a reader that is gone, no stdout at all
        return False
    return True
