"""What bounds the figures on this machine, whoever does it: measured in the same rounds as they are."""

from __future__ import annotations

import io
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import psycopg2

from balsam.rpc import CHANNEL_OPTIONS
from benchmarks.campaigns import NOOP, SLOTS
from benchmarks.echo_server import METHOD
from benchmarks.harness import Bench, RunningSite

_COLUMNS = ("id", "job_id", "name", "workflow", "args", "state", "priority", "created")
_CREATE = (
    "CREATE TABLE row (id BIGINT PRIMARY KEY, job_id TEXT, name TEXT, workflow TEXT, args TEXT, state INTEGER,"
    " priority INTEGER, created BIGINT)"
)
_BYTES = 300  # of a message: about those of a job


def process_starts(directory: Path, count: int, threads: int = SLOTS) -> float:
    """Processes per second that Python starts and waits for, each with a directory, an output file and a session."""
    directory.mkdir()
    numbers = iter(range(count))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            place = directory / f"n{number}"
            place.mkdir()
            with (place / "out").open("ab") as output:
                subprocess.run([NOOP], cwd=place, stdout=output, stderr=output, start_new_session=True, check=True)

    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for worker in [pool.submit(work) for _ in range(threads)]:
            worker.result()
    return count / (time.perf_counter() - began)


def inserted_rows(bench: Bench, running: RunningSite, count: int) -> float:
    """Rows per second that the database takes in one synced transaction, by its fastest way: no index but the key's."""
    rows = [(i, str(uuid.uuid4()), f"n{i}", "insertion", NOOP, 1, 0, time.time_ns()) for i in range(count)]
    if bench.database == "sqlite":
        return _sqlite_rows(bench.fresh("limit.db"), rows)
    return _postgres_rows(running, rows)


def commit_seconds(bench: Bench, running: RunningSite, count: int = 200) -> float:
    """A synced transaction of one row: the median [s]."""
    if bench.database == "sqlite":
        sqlite = _sqlite(bench.fresh("limit.db"))

        def insert(number: int) -> None:
            sqlite.execute("INSERT INTO row (id, name) VALUES (?, 'n')", (number,))
            sqlite.commit()

        seconds = _median_seconds(insert, count)
        sqlite.close()
        return seconds
    postgres = _postgres(running)
    with postgres.cursor() as cursor:

        def insert_too(number: int) -> None:
            cursor.execute("INSERT INTO row (id, name) VALUES (%s, 'n')", (number,))
            postgres.commit()

        seconds = _median_seconds(insert_too, count)
    postgres.close()
    return seconds


def round_trip_seconds(bench: Bench, count: int = 500) -> float:
    """A unary gRPC call from one thread to another process over a Unix socket, both of Python: the median [s]."""
    socket = bench.fresh("echo.sock")
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.echo_server", str(socket)], stdin=subprocess.PIPE)
    try:
        with grpc.insecure_channel(f"unix:{socket}", options=CHANNEL_OPTIONS) as channel:
            call: Callable[..., bytes] = channel.unary_unary(METHOD, None, None)
            message = bytes(_BYTES)
            call(message, timeout=30, wait_for_ready=True)
            return _median_seconds(lambda number: call(message, timeout=30), count)
    finally:
        server.communicate(timeout=30)


def _median_seconds(work: Callable[[int], object], count: int) -> float:
    seconds = []
    for number in range(count):
        began = time.perf_counter()
        work(number)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _sqlite(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(_CREATE)
    connection.commit()
    return connection


def _sqlite_rows(path: Path, rows: Sequence[tuple[object, ...]]) -> float:
    connection = _sqlite(path)
    places = ", ".join("?" * len(_COLUMNS))
    began = time.perf_counter()
    connection.executemany(f"INSERT INTO row VALUES ({places})", rows)
    connection.commit()
    seconds = time.perf_counter() - began
    connection.close()
    return len(rows) / seconds


def postgres_connection(running: RunningSite) -> psycopg2.extensions.connection:
    """A connection to the database of a site over PostgreSQL."""
    cluster = running.cluster()
    host, passfile = str(cluster.socket_directory), str(cluster.password_file)
    return psycopg2.connect(user="balsam", dbname="postgres", host=host, passfile=passfile)


def _postgres(running: RunningSite) -> psycopg2.extensions.connection:
    """A connection with an empty table that nobody else sees and that is logged as any other."""
    connection = postgres_connection(running)
    with connection.cursor() as cursor:
        schema = f"limit_{uuid.uuid4().hex}"
        cursor.execute(f"CREATE SCHEMA {schema}; SET search_path = {schema}; {_CREATE}")
    connection.commit()
    return connection


def _postgres_rows(running: RunningSite, rows: Sequence[tuple[object, ...]]) -> float:
    connection = _postgres(running)
    text = io.StringIO("".join("\t".join(map(str, row)) + "\n" for row in rows))
    began = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.copy_expert("COPY row FROM STDIN", text)
    connection.commit()
    seconds = time.perf_counter() - began
    connection.close()
    return len(rows) / seconds
