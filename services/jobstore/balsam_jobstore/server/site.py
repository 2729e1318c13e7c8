"""SiteService."""

from __future__ import annotations

import os
import socket
from typing import Any

from balsam.serving import CALLER
from balsam.settings import Settings
from balsam.v1 import site_service_pb2
from balsam.v1.site_service_pb2_grpc import SiteServiceServicer
from balsam.version import VERSION
from balsam_jobstore import migrate, reading
from balsam_jobstore.store import Store

pb = site_service_pb2


class SiteService(SiteServiceServicer):
    """Says what this is."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def GetSite(self, request: pb.GetSiteRequest, context: Any) -> pb.GetSiteResponse:
        """The site."""
        sqlite = self._store.database.is_sqlite
        jobs, _ = await self._store.read(lambda connection: reading.count_jobs(connection, sqlite, None, []))
        return pb.GetSiteResponse(
            path=str(self._store.site.path),
            version=VERSION,
            pid=os.getpid(),
            database=self._store.database.name,
            schema_revision=migrate.HEAD,
            sequence=self._store.hub.sequence,
            jobs=jobs,
            user=CALLER.get().user,
            role=CALLER.get().role,
            host=socket.gethostname(),
            settings=told(self._store.site.settings),
        )


def told(settings: Settings) -> pb.SiteSettings:
    """Of the settings those that the message has: what a launcher needs, and nothing that is secret."""
    return pb.SiteSettings(**{field.name: getattr(settings, field.name) for field in pb.SiteSettings.DESCRIPTOR.fields})
