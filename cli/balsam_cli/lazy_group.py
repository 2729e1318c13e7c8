"""The `balsam` command of click, whose subcommands are imported only when they are used."""

from __future__ import annotations

import importlib
from typing import Any

import click

from balsam_cli.group import OLD, SUMMARIES
from balsam_cli.start import help_text


class LazyGroup(click.Group):
    """Imports `balsam_cli.commands.NAME` for the command NAME and takes its `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of the help."""
        return list(SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None if there is none of that name."""
        name = cmd_name.replace("_", "-")
        name = OLD.get(name, name)
        if name not in SUMMARIES:
            return None
        module = importlib.import_module(f"balsam_cli.commands.{name.replace('-', '_')}")
        command: click.Command = module.command
        command.short_help = SUMMARIES[name]
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """As in click; an unknown command names the valid ones."""
        name = args[0]
        if not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            import difflib

            if name.startswith("-"):
                raise click.UsageError(f"no such option {name} (options: --help, --version)", ctx)
            near = difflib.get_close_matches(name, SUMMARIES, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"no such command {name!r}{hint} (commands: {', '.join(SUMMARIES)})", ctx)
        if name in OLD and not ctx.resilient_parsing:
            from balsam_cli.terminal import note

            note(f"note: `balsam {name}` is `balsam {OLD[name]}` now")
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by section, without importing them."""
        formatter.write(help_text())
