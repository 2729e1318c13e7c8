"""PostgreSQL stopped as by a crash, again and again, while jobs are added and run: nothing acknowledged is missing.

BALSAM_POSTGRES_STOPS: how often.
"""

from __future__ import annotations

import os
import random
import threading
import time
import uuid
from pathlib import Path

import pytest

from balsam.errors import BalsamError
from balsam.rpc import Connection
from balsam.site import Site
from balsam.states import State
from balsam.v1 import job_pb2, job_service_pb2
from balsam.v1.job_service_pb2_grpc import JobServiceStub
from balsam_jobstore.postgres import Cluster, Stop
from tests.support.invariants import violations_of_site
from tests.support.processes import running_launcher, services
from tests.support.sites import jobs as all_jobs
from tests.support.sites import make_test_site, wait_until

CLIENTS = 4


class Client(threading.Thread):
    """Adds jobs one by one, and keeps the ids of those that were acknowledged."""

    def __init__(self, site: Site, stop: threading.Event) -> None:
        super().__init__()
        self.acknowledged: list[str] = []
        self.refused: list[BalsamError] = []
        self._connection = Connection(site, retry_seconds=0)
        self._stop_event = stop

    def run(self) -> None:
        while not self._stop_event.is_set():
            job = job_pb2.Job(job_id=str(uuid.uuid4()), name="job", args="true", node_packing_count=2)
            request = job_service_pb2.CreateJobsRequest(jobs=[job])
            try:
                answer = self._connection.call(JobServiceStub, "CreateJobs", lambda request=request: iter([request]))
            except BalsamError as error:
                self.refused.append(error)
                time.sleep(0.02)
            else:
                assert answer.created + answer.existing == 1, answer
                self.acknowledged.append(job.job_id)
            time.sleep(0.01)
        self._connection.close()


@pytest.mark.postgres
def test_nothing_acknowledged_is_missing_when_postgresql_crashes_again_and_again(
    tmp_path: Path, short_directory: Path
) -> None:
    stops = int(os.environ.get("BALSAM_POSTGRES_STOPS", "3"))
    cluster = Cluster(tmp_path / "pg", short_directory)
    log = tmp_path / "postgres.log"
    cluster.start(log)
    site = make_test_site(tmp_path, cluster.url)
    choose = random.Random(1)
    try:
        with services(site), running_launcher(site, "--persistent"):
            done = threading.Event()
            clients = [Client(site, done) for _ in range(CLIENTS)]
            for client in clients:
                client.start()
            for _ in range(stops):
                before = sum(len(client.acknowledged) for client in clients)
                wait_until(lambda before=before: sum(len(c.acknowledged) for c in clients) > before + 20, 60, site=site)
                time.sleep(choose.uniform(0.0, 0.2))  # anywhere in a transaction
                cluster.stop(Stop.IMMEDIATE)
                cluster.start(log)
            before = sum(len(client.acknowledged) for client in clients)
            wait_until(lambda: sum(len(c.acknowledged) for c in clients) > before + 20, 60, site=site)
            done.set()
            for client in clients:
                client.join()
            acknowledged = [job_id for client in clients for job_id in client.acknowledged]
            refused = [error for client in clients for error in client.refused]
            assert refused, "no stop was noticed by any client"
            assert {error.reason for error in refused} <= {"NO_DATABASE"}, refused
            wait_until(lambda: _all_finished(site), 120, "everything runs to its end", site=site)
            there = {job.job_id for job in all_jobs(site)}
            assert set(acknowledged) <= there
            assert len(acknowledged) == len(set(acknowledged))
        assert violations_of_site(site) == []
    finally:
        cluster.stop(Stop.IMMEDIATE)


def _all_finished(site: Site) -> bool:
    return all(job.state == State.JOB_FINISHED for job in all_jobs(site))
