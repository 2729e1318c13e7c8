"""Whose launches are whose: the batch system is asked about a launch, and told to end it, in its own user's account.

In another account the same number may be nobody's job, or somebody else's.
"""

from __future__ import annotations

from collections.abc import Sequence

from balsam.client import Client
from balsam_scheduler.batch.records import LaunchRecord


def user_of(client: Client) -> str:
    """The user as whom this client calls. Raises BalsamError."""
    from balsam.v1.site_service_pb2 import GetSiteRequest
    from balsam.v1.site_service_pb2_grpc import SiteServiceStub

    return str(client.call(SiteServiceStub, "GetSite", GetSiteRequest()).user)


def own(client: Client, launches: Sequence[LaunchRecord]) -> list[LaunchRecord]:
    """Those of these launches that are the user's; asks nobody where there are none. Raises BalsamError."""
    user = user_of(client) if launches else ""
    return [launch for launch in launches if launch.owner == user]


def left_to_owner(launch: LaunchRecord, user: str) -> str:
    """What is recorded of a launch that another user has cancelled: who is to do what."""
    job = f"its {launch.batch_system} job {launch.scheduler_id}" if launch.scheduler_id else "its job, if there is one"
    return (
        f"cancelled by {user}: its launcher ends by itself, or does nothing when it comes up; {launch.owner}, whose it "
        f"is, may end {job} before that"
    )
