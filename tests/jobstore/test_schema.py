"""The schema that the code works on is the one that the migrations make, and nothing older or newer is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from balsam.errors import SiteError
from balsam_jobstore import migrate, reading, schema
from balsam_jobstore.database import Database

JOB_ID = "1f4a09c2-0000-4000-8000-000000000001"
_COLUMNS = """SELECT table_name, column_name, data_type, is_nullable, column_default
    FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, ordinal_position"""
_INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def definitions(database: Database) -> list[tuple[object, ...]]:
    """Every table, column and index, as the database describes them; without Alembic's own."""
    with database.reader() as connection:
        if database.is_sqlite:
            texts = ["SELECT type, name, sql FROM sqlite_master ORDER BY name"]
        else:
            texts = [_COLUMNS, _INDEXES]
        rows = [tuple(row) for text in texts for row in connection.exec_driver_sql(text)]
    return [tuple(_normal(x) for x in row) for row in rows if not any("alembic" in str(x) for x in row)]


def _normal(value: object) -> object:
    return " ".join(value.split()).replace("( ", "(").replace(" )", ")") if isinstance(value, str) else value


def test_the_tables_are_those_that_the_migrations_make(database: Database) -> None:
    migrate.migrate(database)
    migrated = definitions(database)
    with database.writer() as connection, connection.begin():
        schema.metadata.drop_all(connection)
        schema.metadata.create_all(connection)
    assert definitions(database) == migrated
    assert len(migrated) > 15


def test_the_newest_revision_is_the_one_that_is_expected(database: Database) -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(migrate._DIRECTORY))
    assert ScriptDirectory.from_config(config).get_heads() == [migrate.HEAD]

    assert migrate.revision(database) == ""
    migrate.migrate(database)
    assert migrate.revision(database) == migrate.HEAD


def test_migrating_again_does_nothing(database: Database) -> None:
    migrate.migrate(database)
    with database.writer() as connection, connection.begin():
        connection.exec_driver_sql("UPDATE counter SET job_key = 7")
    migrate.migrate(database)
    with database.reader() as connection:
        assert connection.exec_driver_sql("SELECT job_key FROM counter").all() == [(7,)]


def test_jobs_live_through_the_migrations(database: Database) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrate._DIRECTORY))
    with database.writer() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(
            "INSERT INTO job (key, job_id, state, needs, unmet, fence, attempt, tries, restarts, max_restarts, lost,"
            " revision, priority, num_nodes, ranks_per_node, node_packing_count, wall_time_minutes, name, workflow)"
            f" VALUES (1, '{JOB_ID}', 5, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 1, 1, 1, 1, 'old', 'wf')"
        )
        connection.exec_driver_sql("INSERT INTO job_detail (key, create_us, owner, workdir) VALUES (1, 7, 'me', 'old')")
    migrate.migrate(database)
    with database.reader() as connection:
        job = reading.get_job(connection, JOB_ID)
    assert job is not None
    assert (job["name"], job["state"], job["owner"], job["queued_launch"]) == ("old", 5, "me", None)


def test_a_database_of_a_newer_version_is_refused(database: Database) -> None:
    migrate.migrate(database)
    with database.writer() as connection, connection.begin():
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(
        SiteError, match=r"at revision 9999, .* does not know \(newest: 0010\); use the version"
    ) as caught:
        migrate.migrate(database)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "the database URL is not valid: it must look like"),
        ("mysql://host/db", "mysql://host/db is neither SQLite nor PostgreSQL"),
        ("postgresql://me:secret@host:port/db", "the database URL is not valid"),
        ("sqlite+nosuch:///x", "the database URL is not valid"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str, message: str) -> None:
    with pytest.raises(SiteError, match=message) as caught:
        Database(url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_a_server_that_cannot_be_reached_is_named_without_its_password(scheme: str) -> None:
    database = Database(f"{scheme}://me:secret@/db?host=/nowhere")
    with pytest.raises(SiteError, match=r"cannot open the database .*no database: .*/nowhere/") as caught:
        migrate.migrate(database)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    database.close()


@pytest.mark.postgres
def test_queries_use_the_indexes_that_were_made_for_them(store_url: str, empty_database: Callable[[str], str]) -> None:
    """The hot questions do not read the whole table."""
    database = Database(store_url)
    questions = {
        "job_runnable": "SELECT key FROM job WHERE owner_key = 1 AND state IN (5, 12) AND session IS NULL "
        "AND unmet = 0 AND launch IS NULL ORDER BY priority DESC, num_nodes DESC, wall_time_minutes DESC, key LIMIT 5",
        "job_bound": "SELECT key FROM job WHERE state IN (5, 12) AND session IS NULL AND unmet = 0 "
        "AND owner_key = 1 AND launch = 5 ORDER BY priority DESC, num_nodes DESC, wall_time_minutes DESC, key LIMIT 5",
        "job_launch": "SELECT key FROM job WHERE launch = 5",
        "job_moving": "SELECT key FROM job WHERE state IN (3, 4, 7) AND session IS NULL ORDER BY key LIMIT 5",
        "job_leased": "SELECT key FROM job WHERE session = 5",
        "edge_parent": "SELECT child FROM edge WHERE parent = 5",
        "event_job": "SELECT message FROM event WHERE job = 5 ORDER BY sequence DESC LIMIT 1",
    }
    with database.reader() as connection:
        for index, question in questions.items():
            if database.is_sqlite:
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {question}").all()
            else:
                connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
                connection.execute(sa.text("SET LOCAL enable_sort = off"))  # as with many rows
                plan = connection.exec_driver_sql(f"EXPLAIN {question}").all()
            if index != "job_moving":  # a few states at a time: the planner may prefer another way
                assert index in str(plan), (index, plan)
    database.close()
