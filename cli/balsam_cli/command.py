"""Commands and options as this program wants them: on top of click's, with the spellings of `spelling`."""

from __future__ import annotations

from typing import Any

import click

from balsam_cli.spelling import Arity, Option, Speller, SpellingError, Words


class WordsOption(click.Option):
    """An option that takes one or more words; its value is a tuple of them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "multiple": True})


class BooleanOption(click.Option):
    """An option that takes `true` or `false`; alone it means true, and `--no-NAME` means false."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "type": bool, "default": None, "metavar": "[true|false]"})


class Command(click.Command):
    """A command that understands the spellings of `spelling` and exits with what its function returns."""

    words: Words = Words.ANYWHERE

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As in click, after the options have been spelled out."""
        options = [_option(param) for param in self.get_params(ctx) if isinstance(param, click.Option)]
        try:
            args = Speller(options, self.words).spell_out(args)
        except SpellingError as error:
            if not ctx.resilient_parsing:
                raise click.UsageError(str(error), ctx) from None
        return super().parse_args(ctx, args)


class CommandOfWords(Command):
    """The first word that is no option ends the options: `balsam run ls -l`."""

    words = Words.END_OPTIONS


class CommandAfterDashes(Command):
    """Words are taken after `--` only: `balsam job --name n -- ls -l`."""

    words = Words.AFTER_DASHES


def _option(param: click.Option) -> Option:
    if isinstance(param, WordsOption):
        arity = Arity.WORDS
    elif isinstance(param, BooleanOption):
        arity = Arity.BOOLEAN
    elif param.is_flag or param.count:
        arity = Arity.FLAG
    else:
        arity = Arity.VALUE
    return Option((*param.opts, *param.secondary_opts), arity, param.hidden)
