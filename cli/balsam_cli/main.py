"""The `balsam` command: finds the subcommand, and turns whatever goes wrong into one line and an exit status."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence

import click

from balsam.collector import collect_seldom, end_without_collecting
from balsam.quiet import keep_grpc_quiet
from balsam_cli.lazy_group import LazyGroup
from balsam_cli.text import NOT_RUNNING, one_line


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from balsam.version import VERSION

        click.echo(f"balsam {VERSION}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    invoke_without_command=True,
)
@click.option("--version", is_flag=True, expose_value=False, callback=_print_version, help="Show the version.")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Large campaigns of computing jobs, on a laptop or a supercomputer."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` and returns its exit status; without `argv`, the process is this command's."""
    try:
        if argv is None:
            collect_seldom()
            keep_grpc_quiet()
            _prepare_streams()
        _check_words(sys.argv[1:] if argv is None else argv)
        status = cli.main(args=argv, prog_name="balsam", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:
        status = _report(error)
    if argv is None:
        end_without_collecting()
    return status if isinstance(status, int) else 0


def _prepare_streams() -> None:
    """A stream that was closed by the caller goes nowhere, and no file of ours takes its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _check_words(argv: Sequence[str]) -> None:
    for word in argv:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise click.UsageError(f"{word!r} is not valid UTF-8") from None


def _report(error: BaseException) -> int:
    """Says what went wrong in one line on stderr. Returns the exit status."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return 130
    if isinstance(error, BrokenPipeError):
        _drop_stdout()
        return 1
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "balsam"
        _say(f"{command}: {error.format_message()}; see `{command} --help`")
        return 2
    if os.environ.get("BALSAM_DEBUG", "0") != "0":
        import traceback

        traceback.print_exception(error)
    _say(f"balsam: {_described(error)}")
    if isinstance(error, OSError):
        _drop_stdout()
    return 1


def _described(error: BaseException) -> str:
    from balsam.errors import BalsamError, Unavailable

    if isinstance(error, Unavailable) and not str(error):
        return NOT_RUNNING
    if isinstance(error, (BalsamError, click.ClickException)):
        return error.format_message() if isinstance(error, click.ClickException) else str(error)
    if isinstance(error, OSError) and error.errno:
        where = f": {error.filename}" if error.filename else ""
        room = "; make room and try again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return f"{error.strerror}{where}{room}"
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"unexpected error: {text} (BALSAM_DEBUG=1 shows where)"


def _say(text: str) -> None:
    try:
        print(one_line(text), file=sys.stderr, flush=True)
    except OSError:
        pass  # nobody can read it; the exit status tells


def _drop_stdout() -> None:
    """What is still buffered cannot be written; let the interpreter's last flush write it to nowhere."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass
