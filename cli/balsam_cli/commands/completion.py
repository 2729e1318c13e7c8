"""`balsam completion`: the completion script of a shell."""

from __future__ import annotations

import click

from balsam_cli.command import Command

SHELLS = ("bash", "zsh", "fish")


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the script that completes `balsam` commands in a shell.

    
      balsam completion bash > ~/.local/share/bash-completion/completions/balsam
      balsam completion zsh > ~/.zfunc/_balsam
      balsam completion fish > ~/.config/fish/completions/balsam.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, "balsam", "_BALSAM_COMPLETE").source())
