"""The commands there are, each imported only when it is used."""

from __future__ import annotations

import importlib
from typing import Any

import click

COMMANDS = {
    "Start": {
        "run": "Run one command as a job, from nothing.",
        "init": "Make a site.",
        "up": "Start the services of the site.",
        "down": "Stop the services of the site.",
        "status": "Show services, launchers and jobs.",
        "doctor": "Check the site, and name fixes.",
        "which": "Show the site in use, or all known ones.",
        "activate": "Print the shell lines that point a shell at a site.",
        "server": "Say who may use the site and from where; see who does, and who changed what.",
        "login": "Log in to a site of somebody else.",
    },
    "Jobs": {
        "app": "Register an application.",
        "job": "Add a job, or many.",
        "dep": "Make a job wait for another.",
        "mkchild": "Add a job that waits for the current one.",
        "make-dummies": "Add jobs that do nothing.",
        "modify": "Change fields of jobs or applications.",
        "rm": "Delete jobs or applications.",
        "kill": "Kill jobs.",
    },
    "Look": {
        "ls": "List jobs, applications, workflows or launches.",
        "show": "Show one job with its history.",
        "why": "Say why a job is not running, and what would start it.",
        "failures": "Show failed jobs by cause, and run those of one cause again.",
        "web": "Serve a page that shows the campaign, live.",
        "logs": "Show the output of a job.",
        "log": "Show the logs of services and launchers.",
    },
    "Move": {
        "export": "Write jobs with their history to a file.",
        "import": "Take jobs from a file.",
        "archive": "Move old jobs to a file.",
        "migrate-db": "Move the site to another database.",
    },
    "Work": {
        "launcher": "Run jobs, here and now.",
        "submit-launch": "Submit a launcher to the batch system.",
        "cancel": "Cancel batch launches.",
        "service": "Submit launches for the work there is, by a policy.",
        "completion": "Print the completion script of a shell.",
    },
}
"""Section of the help -> command -> what it does. The module of a command is `commands.NAME`, `-` written `_`."""

_SUMMARIES = {name: text for section in COMMANDS.values() for name, text in section.items()}


class LazyGroup(click.Group):
    """Imports `balsam_cli.commands.NAME` for the command NAME and takes its `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of the help."""
        return list(_SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None if there is none of that name."""
        name = cmd_name.replace("_", "-")
        if name not in _SUMMARIES:
            return None
        module = importlib.import_module(f"balsam_cli.commands.{name.replace('-', '_')}")
        command: click.Command = module.command
        command.short_help = _SUMMARIES[name]
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """As in click; an unknown command names the valid ones."""
        name = args[0]
        if not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            import difflib

            if name.startswith("-"):
                raise click.UsageError(f"no such option {name} (options: --help, --version)", ctx)
            near = difflib.get_close_matches(name, _SUMMARIES, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"no such command {name!r}{hint} (commands: {', '.join(_SUMMARIES)})", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by section, without importing them."""
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl(list(section.items()))
