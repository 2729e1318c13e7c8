"""How findings look to people: one line each, as they come, and below it what to do."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from balsam_cli.doctor.finding import NOTE, OK, PROBLEM, Finding
from balsam_cli.output import console
from balsam_cli.text import count, one_line

_STYLES = {OK: "green", NOTE: "yellow", PROBLEM: "bold red"}
_LEVEL_WIDTH, _NAME_WIDTH = len(PROBLEM), len("batch system")


def tell(findings: Iterable[Finding]) -> list[Finding]:
    """Prints the findings, and gives them."""
    screen = console()
    told = []
    for finding in findings:
        line = Text(f"{finding.level:{_LEVEL_WIDTH}}  ", style=_STYLES[finding.level])
        line.append(f"{finding.check:{_NAME_WIDTH}}  ", style="bold")
        line.append(one_line(finding.found), style="default")
        screen.print(line, overflow="fold")
        for fix in finding.fixes:
            screen.print(Text(f"{'':{_LEVEL_WIDTH}}  fix: {fix}", style="cyan"), overflow="fold", soft_wrap=True)
        told.append(finding)
    problems = sum(finding.level == PROBLEM for finding in told)
    notes = sum(finding.level == NOTE for finding in told)
    notes_text = f", {count(notes, 'note')}" if notes else ""
    screen.print(Text(f"{count(problems, 'problem') if problems else 'no problem'}{notes_text}", style="bold"))
    return told
