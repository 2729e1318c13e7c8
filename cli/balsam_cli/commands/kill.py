"""`balsam kill`: kills jobs."""

from __future__ import annotations

import click

from balsam_cli import options
from balsam_cli.command import Command, WordsOption


@click.command(cls=Command)
@click.argument("jobs", nargs=-1, metavar="ID...")
@click.option("--id", "more", cls=WordsOption, hidden=True, metavar="ID...", help="Of `killjob` of Balsam 0.x.")
@click.option("--recursive", "-r", is_flag=True, help="Kill also all jobs that depend on them, directly or not.")
@click.option("--message", default="", metavar="M", help="Why; goes into the history.")
@options.yes
@options.as_json
def command(
    jobs: tuple[str, ...], more: tuple[str, ...], recursive: bool, message: str, yes: bool, as_json: bool
) -> int:
    """Kill jobs. Their processes are stopped at once: SIGTERM, then SIGKILL.

    Jobs that have ended are left as they are.

    \b
      balsam kill 3fa8 77c1
      balsam kill --recursive 3fa8 --message 'wrong input'
    """
    if not jobs and not more:
        raise click.UsageError("missing ID: which jobs?")

    from balsam.job_calls import selector_message
    from balsam.v1 import job_service_pb2
    from balsam.v1.job_service_pb2_grpc import JobServiceStub
    from balsam_cli import access, outcome, output, selection, terminal
    from balsam_cli.text import count

    store = access.open_store()
    ids = selection.find_ids(store, [*jobs, *more])
    if recursive:
        terminal.must_agree(f"Kill {count(len(ids), 'job')} and all that depend on them?", yes, "kill --recursive")
    request = job_service_pb2.KillJobsRequest(selector=selector_message(ids), recursive=recursive, message=message)
    answer = store.call(JobServiceStub, "KillJobs", request)
    result = outcome.of_call(
        answer.killed + answer.already_ended + len(answer.refusals), answer.killed, answer.refusals
    )
    result.extra = {"stopping": answer.stopping, "already_ended": answer.already_ended}
    remark = f"; {answer.already_ended:,} had ended already" if answer.already_ended else ""
    return result.report(output.printer(as_json), "killed", "job", remark)
