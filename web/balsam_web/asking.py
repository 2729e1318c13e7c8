"""What the page asks the site: every question is answered by so many rows at most. Blocks; call it in a thread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from balsam.client import Client
from balsam.convert import job_values, plain, time_of
from balsam.errors import NotFound
from balsam.fields import JOB_FIELDS, LAUNCH_FIELDS
from balsam.filters import filter_message, order_messages
from balsam.query import EVERYTHING, Key, Node, Test
from balsam.states import State
from balsam.v1 import event_service_pb2, job_service_pb2, site_service_pb2
from balsam.v1.event_service_pb2_grpc import EventServiceStub
from balsam.v1.job_service_pb2_grpc import JobServiceStub
from balsam.v1.site_service_pb2_grpc import SiteServiceStub
from balsam.version import VERSION
from balsam_web import filters, records
from balsam_web.output import MOST_BYTES, tail
from balsam_web.past import Event
from balsam_web.records import Record
from balsam_web.sent_output import SentOutputs

MOST_RELATIVES = 20
"""Parents, and children, that are shown of a job."""
MOST_EVENTS = 500
"""Events of one job."""
MOST_LAUNCHES = 100
MOST_PAST = 50_000
"""Events that are read of the time before the page was opened."""
_PAGE = 10_000


class Site:
    """One site, as its user sees it.

    Args:
        client: the line to it.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self._sent = SentOutputs(client, MOST_BYTES)

    def about(self) -> Record:
        """The site, and who asks."""
        said = self.client.call(SiteServiceStub, "GetSite", site_service_pb2.GetSiteRequest(version=VERSION))
        return {
            "path": said.path,
            "version": said.version,
            "database": said.database,
            "user": said.user,
            "role": said.role,
            "states": [state.name for state in State],
        }

    def counts(self) -> dict[str, int]:
        """State -> jobs in it; the job store keeps these numbers."""
        return {str(values[0]): count for values, count in self.client.jobs.groups(EVERYTHING, ["state"])}

    def jobs(self, given: Mapping[str, str]) -> Record:
        """A page of the job table, and where the next begins.

        Raises:
            ValidationError: the filter is wrong.
        """
        found, after = self._page(
            filters.conditions(given), filters.order(given), filters.rows(given), given.get("after", "")
        )
        return {"jobs": [records.row(values) for values in found], "after": after}

    def _page(
        self, where: Node, order: tuple[Key, ...], size: int, token: str = ""
    ) -> tuple[list[dict[str, Any]], str]:
        request = job_service_pb2.ListJobsRequest(
            filter=filter_message(where),
            order_by=order_messages(order),
            page_size=size,
            page_token=token,
            read_mask=FieldMask(paths=records.ROW_FIELDS),
        )
        answer = self.client.call(JobServiceStub, "ListJobs", request)
        return [job_values(job) for job in answer.jobs], answer.next_page_token

    def job(self, job_id: str) -> Record:
        """One job: fields, command, history, relatives. Raises NotFound."""
        values = self.client.jobs.get(job_id)
        record = records.job(values)
        del record["parents"]  # there may be 100,000
        request = event_service_pb2.ListEventsRequest(
            filter=event_service_pb2.EventFilter(job_ids=[job_id]), page_size=MOST_EVENTS
        )
        answer = self.client.call(EventServiceStub, "ListEvents", request)
        return {
            "job": record,
            "usual": [name for name, value in record.items() if value == JOB_FIELDS[name].default],
            "command": records.shortened(self._command(record), 2000),
            "history": [one for event in answer.events for one in records.events(event)],
            "more_history": answer.more,
            "parents": self._relatives("children", job_id),
            "children": self._relatives("parents", job_id),
            "most_relatives": MOST_RELATIVES,
        }

    def _relatives(self, field: str, job_id: str) -> list[Record]:
        """Jobs that have this one among their `field`; one more than is shown, if there are more."""
        found, _ = self._page(Test(field, (), "EXACT", (job_id,)), (), MOST_RELATIVES + 1)
        return [records.row(values) for values in found]

    def _command(self, record: Record) -> str:
        """The command line of a job, before anything in it is expanded."""
        if not record["application"]:
            return str(record["args"])
        try:
            executable = self.client.applications.get(record["application"])["executable"]
        except NotFound:
            executable = f"<{record['application']}>"
        return f"{executable} {record['args']}".rstrip()

    def output(self, job_id: str) -> Record:
        """The end of a job's output. Raises NotFound."""
        return tail(self.client.jobs.get(job_id), self.client.site.data, self._sent)

    def launches(self) -> Record:
        """The newest launches."""
        newest = (Key("launch_id", descending=True),)
        found = next(self.client.launches.pages(EVERYTHING, newest, MOST_LAUNCHES))
        return {"launches": [plain(values, LAUNCH_FIELDS) for values in found], "most": MOST_LAUNCHES}

    def past(self, sequence: int) -> Iterator[Event]:
        """The last events up to a sequence, oldest first."""
        after = max(0, sequence - MOST_PAST)
        while after < sequence:
            request = event_service_pb2.ListEventsRequest(after_sequence=after, page_size=_PAGE)
            answer = self.client.call(EventServiceStub, "ListEvents", request)
            for event in answer.events:
                if event.sequence <= sequence:
                    states = tuple(State(state).name for state in event.states)
                    yield time_of(event.time).timestamp(), event.job_id, states
            if not answer.more or not answer.events:
                return
            after = answer.events[-1].sequence
