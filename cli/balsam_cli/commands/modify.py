"""`balsam modify`: changes a field of jobs or of an application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click

from balsam_cli import options
from balsam_cli.command import Command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balsam.client import Client
    from balsam_cli.outcome import Outcome

_WHAT = ("jobs", "apps")


class _Change(NamedTuple):
    """What is changed, of which, and to what."""

    what: str
    ids: Sequence[str]
    attr: str
    value: str


@click.command(cls=Command)
@click.argument("words", nargs=-1, required=True, metavar="jobs|apps ID...")
@click.option("--attr", metavar="A", help="The field; `state` moves jobs to a state.")
@click.option("--value", metavar="V", help="Its new value.")
@click.option("--message", default="", metavar="M", help="With --attr state: why; goes into the history.")
@click.option("--type", "kind", type=click.Choice(_WHAT), hidden=True, help="Of `modify ID ATTR VALUE` of Balsam 0.x.")
@options.as_json
def command(
    words: tuple[str, ...], attr: str | None, value: str | None, message: str, kind: str | None, as_json: bool
) -> int:
    """Change a field of jobs (ID: ids or starts of ids) or of applications (ID: names).

    \b
      balsam modify jobs 3fa8 --attr priority --value 10
      balsam modify jobs 3fa8 77c1 --attr state --value RESTART_READY
      balsam modify apps greet --attr executable --value "/bin/echo Hi"
    """
    change = _understood(words, attr, value, kind)

    from balsam_cli import access, output

    name = change.attr.replace("-", "_")
    checked = _checked(change.what, name, change.value)
    store = access.open_store()
    carry_out = _change_jobs if change.what == "jobs" else _change_applications
    result = carry_out(store, change.ids, name, checked, message)
    return result.report(output.printer(as_json), "changed", "job" if change.what == "jobs" else "application")


def _understood(words: Sequence[str], attr: str | None, value: str | None, kind: str | None) -> _Change:
    """The change that is meant: as it is written now, or as in Balsam 0.x, `ID ATTR VALUE`."""
    first, *rest = words
    what, ids = (first, rest) if first in _WHAT else (kind or "", words)
    if attr is None and value is None and len(ids) == 3:
        from balsam_cli.terminal import note

        what = what or "jobs"
        note(f"note: `modify ID ATTR VALUE` is `modify {what} ID --attr ATTR --value VALUE` now")
        return _Change(what, ids[:1], ids[1], ids[2])
    if not what:
        raise click.UsageError(f"say what {first!r} is: `balsam modify jobs ID...` or `balsam modify apps NAME...`")
    if not ids:
        raise click.UsageError(f"missing ID: which {what}?")
    if attr is None or value is None:
        raise click.UsageError(f"missing {'--attr' if attr is None else '--value'}: which field gets which value?")
    return _Change(what, ids, attr, value)


def _checked(what: str, name: str, value: str) -> Any:
    from balsam.errors import ValidationError
    from balsam.fields import APPLICATION_FIELDS, JOB_FIELDS, Phase, unknown_field
    from balsam_cli.job_options import split_ids
    from balsam_cli.selection import check_state

    table, kind = (JOB_FIELDS, "a job") if what == "jobs" else (APPLICATION_FIELDS, "an application")
    if name not in table:
        raise unknown_field(name, table, kind)
    field = table[name]
    if field.phase in (Phase.NEVER, Phase.CREATION):
        raise ValidationError(f"{name} cannot be changed: it is {field.phase.value}", field=name)
    if name == "parents":
        return list(split_ids([value]))
    return check_state(value) if name == "state" else field.check(value)


def _change_jobs(store: Client, prefixes: Sequence[str], name: str, value: Any, message: str) -> Outcome:
    from balsam.convert import job_message, state_number
    from balsam.job_calls import selector_message
    from balsam.v1 import job_service_pb2
    from balsam.v1.job_service_pb2_grpc import JobServiceStub
    from balsam_cli import outcome, selection

    ids = selection.find_ids(store, prefixes)
    request: Any
    if name == "state":
        state: Any = state_number(value)
        request = job_service_pb2.SetJobStateRequest(selector=selector_message(ids), state=state, message=message)
        answer = store.call(JobServiceStub, "SetJobState", request)
        return outcome.of_call(len(ids), answer.updated, answer.refusals, answer.refused)
    if name == "parents":
        value = selection.find_ids(store, value)
    updates = [job_service_pb2.JobUpdate(job=job_message({"job_id": one, name: value})) for one in ids]
    for update in updates:
        update.update_mask.paths.append(name)
    answer = store.call(JobServiceStub, "UpdateJobs", job_service_pb2.UpdateJobsRequest(updates=updates))
    return outcome.of_call(len(ids), answer.updated, answer.refusals)


def _change_applications(store: Client, names: Sequence[str], name: str, value: Any, _message: str) -> Outcome:
    from balsam.errors import BalsamError, Unavailable
    from balsam_cli.applications import absolute
    from balsam_cli.outcome import Outcome

    result = Outcome(len(names))
    for application in names:
        try:
            store.applications.update(application, absolute({name: value}))
            result.done += 1
        except Unavailable:
            raise
        except BalsamError as error:
            result.skip(application, error)
    return result
