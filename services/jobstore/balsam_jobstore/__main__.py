"""The job store's process: ``python -m balsam_jobstore --site PATH``."""

from __future__ import annotations

import argparse
import asyncio
import errno
import logging
import os
import socket
import sys
import time
from pathlib import Path

import sqlalchemy as sa

from balsam import certificates, failpoints, stores
from balsam.collector import collect_rarely
from balsam.errors import BalsamError, SiteError
from balsam.logs import keep_small, open_log
from balsam.secure_port import SecurePort
from balsam.serving import Service, ServiceLock, user_name
from balsam.site import Site, open_site
from balsam.v1.application_service_pb2_grpc import add_ApplicationServiceServicer_to_server
from balsam.v1.archive_service_pb2_grpc import add_ArchiveServiceServicer_to_server
from balsam.v1.event_service_pb2_grpc import add_EventServiceServicer_to_server
from balsam.v1.job_service_pb2_grpc import add_JobServiceServicer_to_server
from balsam.v1.launch_service_pb2_grpc import add_LaunchServiceServicer_to_server
from balsam.v1.output_service_pb2_grpc import add_OutputServiceServicer_to_server
from balsam.v1.session_service_pb2_grpc import add_SessionServiceServicer_to_server
from balsam.v1.site_service_pb2_grpc import add_SiteServiceServicer_to_server
from balsam.v1.user_service_pb2_grpc import add_UserServiceServicer_to_server
from balsam_jobstore import one_site
from balsam_jobstore.access import RunTokens, authorizer, read_key
from balsam_jobstore.backups import restore
from balsam_jobstore.database import Database, sqlite_url
from balsam_jobstore.database_file import DatabaseFile
from balsam_jobstore.holding import RENEW_SECONDS, Holding
from balsam_jobstore.membership import Membership
from balsam_jobstore.migrate import migrate
from balsam_jobstore.postgres import Cluster
from balsam_jobstore.server.applications import ApplicationService
from balsam_jobstore.server.archive import ArchiveService
from balsam_jobstore.server.events import EventService
from balsam_jobstore.server.jobs import JobService
from balsam_jobstore.server.launches import LaunchService
from balsam_jobstore.server.outputs import OutputService
from balsam_jobstore.server.renewals import RenewalServer
from balsam_jobstore.server.sessions import SessionService
from balsam_jobstore.server.site import SiteService
from balsam_jobstore.server.users import UserService
from balsam_jobstore.siblings import Siblings, authorizer_among
from balsam_jobstore.store import Store
from balsam_jobstore.users import Users

DATABASE_WATCH_SECONDS = 2.0
DATABASE_PATIENCE_SECONDS = 60.0
log = logging.getLogger("balsam.jobstore")


def main() -> int:
    """Runs the service until it is told to stop; 0 after a clean stop, 1 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="balsam_jobstore", description="The job store of a Balsam site.")
    parser.add_argument("--site", required=True, help="path of the site")
    parser.add_argument("--echo", action="store_true", help="log to stderr as well")
    parser.add_argument("--number", type=int, default=1, help="which of several job stores of the site; default: 1")
    parser.add_argument("--restore", metavar="FILE", help="put a backup in the place of the database, and exit")
    options = parser.parse_args()
    has_log = False
    try:
        failpoints.arm(stores.FIRST)
        site = open_site(options.site)
        name = _name(site, options.number)
        site.make_run()
        ServiceLock(site.run / f"{name}.lock").acquire("job store")
        open_log(site, name, echo=options.echo)
        has_log = True
        if options.restore:
            put_back(site, Path(options.restore).absolute())
        else:
            collect_rarely()
            asyncio.run(serve(site, options.number))
    except (BalsamError, OSError) as error:
        text = _described(error)
        if has_log:  # without one, logging would write to stderr as well
            log.error("%s", text)
        if not (has_log and options.echo):
            print(f"balsam job store: {text}", file=sys.stderr)
        return 1
    return 0


def _name(site: Site, number: int) -> str:
    """The name of a job store. Raises SiteError if the site has none of this number."""
    if not 1 <= number <= max(1, site.settings.job_stores):
        raise SiteError(f"--number {number}: the setting job_stores of {site.path} is {site.settings.job_stores}")
    return stores.name(number)


def _described(error: BalsamError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror:
        room = "; make room and start it again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return f"{error.strerror}: {error.filename}{room}" if error.filename else f"{error.strerror}{room}"
    return str(error)


def put_back(site: Site, backup: Path) -> None:
    """Restores a backup; the services do not run meanwhile.

    Raises:
        SiteError: it cannot be done.
    """
    cluster, database, holding = open_database(site, check=False)
    try:
        restore(database, backup)
    finally:
        database.close()
        if cluster is not None:
            cluster.stop()
        if holding is not None:
            holding.release()
    log.info("restored %s", backup)
    print(f"restored {backup}; start the services with `balsam up`")


async def serve(site: Site, number: int = 1) -> None:
    """Serves a site until SIGTERM or SIGINT; `number`: which of several job stores this is."""
    name = stores.name(number)
    is_alone = site.settings.job_stores == 1
    cluster: Cluster | None = None
    holding: Holding | None = None
    membership = Membership(site.database, number)
    if is_alone:
        cluster, database, holding = open_database(site)
    else:
        membership.acquire(alone=False)
        cluster, database = open_shared_database(site, number)
    siblings = None if is_alone else Siblings(database, membership, number)
    has_served = False
    try:
        if siblings is not None:
            await until_it_listens(database)
        one_site.refuse_another(database)
        migrate(database, site.backups)
        if holding is not None:
            DatabaseFile(holding.file, site.backups).mark()
        failpoints.hit("jobstore.after-migrate")
        tokens = RunTokens(read_key(site))
        users = Users(user_name(), site.settings.trusted_owners, site.settings.shared_owners)
        authorize = authorizer(site, tokens, users)
        store = Store(site, database, tokens, users, siblings)
        port = SecurePort(site, number) if site.settings.listen else None
        service = Service(
            site, name, authorize if is_alone else authorizer_among(authorize, tokens, users, store.job_of_lease), port
        )
        store.streams_of_calls = service.streams
        await store.start()
        renewals = RenewalServer(site, store.sessions, authorize, name, is_alone=is_alone)
        renewals.start()
        add_SiteServiceServicer_to_server(SiteService(store), service.server)
        add_JobServiceServicer_to_server(JobService(store), service.server)
        add_ApplicationServiceServicer_to_server(ApplicationService(store), service.server)
        add_LaunchServiceServicer_to_server(LaunchService(store), service.server)
        add_EventServiceServicer_to_server(EventService(store), service.server)
        add_SessionServiceServicer_to_server(SessionService(store), service.server)
        add_OutputServiceServicer_to_server(OutputService(store), service.server)
        add_ArchiveServiceServicer_to_server(ArchiveService(store), service.server)
        add_UserServiceServicer_to_server(UserService(store), service.server)
        service.stop_on_signals()
        tasks = [asyncio.create_task(store.look_over_rest())]
        if cluster is not None and number == 1:
            tasks.append(asyncio.create_task(keep_running(cluster, site)))
        if holding is not None and holding.is_shared:
            tasks.append(asyncio.create_task(keep_holding(holding, service)))
        certificates.publish(site, site.settings, socket.gethostname())  # the scheduler looks there
        await service.start(database=database.name)
        tasks.append(asyncio.create_task(store.sweep()))
        has_served = True
        log.info("the job store serves %s (pid %d, %s)", site.path, os.getpid(), database.name)
        if port is not None:
            log.info("it listens on %s, with TLS", port.address)
        await service.stopping.wait()
        log.info("stopping")
        for task in tasks:
            task.cancel()
        await service.stop()
        await asyncio.to_thread(renewals.stop)
        store.stop()
    finally:
        database.close()
        # One of several that cannot start leaves it as it is: it may just be recovering, for the others.
        if cluster is not None and (is_alone or (has_served and not membership.others())):
            cluster.stop()
        if holding is not None:
            holding.release()


async def until_it_listens(database: Database) -> None:
    """Returns when a server accepts connections that starts or recovers, or after a while.

    Other job stores may have been at work when it crashed, so that nobody here knows whether it is whole again.
    """
    deadline = time.monotonic() + DATABASE_PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            database.reader().close()
            return
        except sa.exc.OperationalError as error:
            if "the database system is" not in str(error):
                return  # what is wrong with it will be said
        await asyncio.sleep(0.1)


async def keep_holding(holding: Holding, service: Service) -> None:
    """Says again and again that this host serves the database file; ends the service when another one does."""
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        try:
            await asyncio.to_thread(holding.renew)
        except SiteError as error:
            log.error("%s: ending", error)
            service.stopping.set()
        except OSError as error:
            log.warning("cannot renew the hold on the database: %s", error.strerror)


async def keep_running(cluster: Cluster, site: Site) -> None:
    """Starts the site's own database server again whenever it has died, for ever."""
    while True:
        await asyncio.sleep(DATABASE_WATCH_SECONDS)
        await asyncio.to_thread(keep_small, site, "postgres.log")
        if cluster.pid() is not None:
            continue
        log.error("the database server has ended: starting it again")
        try:
            await asyncio.to_thread(cluster.start, site.log / "postgres.log")
        except SiteError as error:
            log.error("%s", error)


def open_database(site: Site, *, check: bool = True) -> tuple[Cluster | None, Database, Holding | None]:
    """The database that the settings name, for this process alone; a private cluster is started if need be, a file is
    taken and checked.

    Raises:
        SiteError: it cannot be had.
    """
    name = site.settings.database
    if name == "postgres":
        cluster = _own_cluster(site)
        Membership(site.database, 1).acquire(alone=True)
        return cluster, Database(cluster.url), None
    url = sqlite_url(site.database) if name == "sqlite" else name
    database = Database(url, client=one_site.connection_name(site.path))
    if not database.is_sqlite:
        Membership(site.database, 1).acquire(alone=True)
    if not (database.is_sqlite and database.url.database):
        return None, database, None
    holding = Holding(Path(database.url.database), site)
    holding.acquire()
    if check:
        DatabaseFile(holding.file, site.backups).check()
    return None, Database(database.url.set(database=str(holding.file)), is_shared=holding.is_shared), holding


def open_shared_database(site: Site, number: int) -> tuple[Cluster | None, Database]:
    """The PostgreSQL of a site for one of several job stores. The first starts a private cluster and looks after it; it
    is stopped by whichever is the last.

    Raises:
        SiteError: it cannot be had.
    """
    if site.settings.database != "postgres":
        return None, Database(site.settings.database, client=one_site.connection_name(site.path))
    if number == 1:
        cluster = _own_cluster(site)
        return cluster, Database(cluster.url)
    cluster = Cluster(site.database / "postgres", site.run)
    cluster.attach()
    return cluster, Database(cluster.url)


def _own_cluster(site: Site) -> Cluster:
    """The private cluster, running, and in the care of this process."""
    directory = site.database / "postgres"
    ServiceLock(Path(os.path.realpath(site.database)) / "postgres.lock").take(
        f"the database {directory} is in use by another job store", f", site {site.path}"
    )
    cluster = Cluster(directory, site.run)
    cluster.init()
    cluster.start(site.log / "postgres.log")
    return cluster


if __name__ == "__main__":
    sys.exit(main())
