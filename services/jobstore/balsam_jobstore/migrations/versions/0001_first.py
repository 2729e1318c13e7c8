"""The first tables.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Uuid = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
Json = sa.Text().with_variant(postgresql.JSONB(), "postgresql")

RUNNABLE = "state IN (5, 12) AND session IS NULL"
MOVING = "state IN (1, 3, 4, 7, 8, 10, 11)"


def upgrade() -> None:
    op.create_table(
        "job",
        sa.Column("key", Key, primary_key=True, autoincrement=False),
        sa.Column("job_id", Uuid, nullable=False, unique=True),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("needs", sa.Integer, nullable=False),
        sa.Column("unmet", sa.Integer, nullable=False),
        sa.Column("failed_parent", Key),
        sa.Column("session", Key),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("restarts", sa.Integer, nullable=False),
        sa.Column("max_restarts", sa.Integer, nullable=False),
        sa.Column("lost", sa.SmallInteger, nullable=False),
        sa.Column("exit_code", sa.Integer),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("num_nodes", sa.Integer, nullable=False),
        sa.Column("ranks_per_node", sa.Integer, nullable=False),
        sa.Column("node_packing_count", sa.Integer, nullable=False),
        sa.Column("wall_time_minutes", sa.Integer, nullable=False),
        sa.Column("application", Key),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("workflow", sa.Text, nullable=False),
    )
    op.create_index("job_workflow", "job", ["workflow", "key"])
    _partial_index("job_runnable", ["priority DESC", "num_nodes DESC", "wall_time_minutes DESC", "key"], RUNNABLE)
    _partial_index("job_moving", ["state", "key"], MOVING)
    _partial_index("job_leased", ["session"], "session IS NOT NULL")
    _partial_index("job_failed_parent", ["failed_parent"], "failed_parent IS NOT NULL")
    op.create_table(
        "job_detail",
        sa.Column("key", Key, primary_key=True, autoincrement=False),
        sa.Column("create_us", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("workdir", sa.Text, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False, server_default="")
            for name in ("description", "args", "environ_vars")
        ),
        sa.Column("data", Json, nullable=False, server_default="{}"),
        sa.Column("wait_for_parents", sa.SmallInteger, nullable=False, server_default="1"),
        *(
            sa.Column(name, sa.Text, nullable=False, server_default="")
            for name in ("input_files", "stage_in_url", "stage_out_url", "stage_out_files", "user_workdir")
        ),
        sa.Column("coschedule_num_nodes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("threads_per_rank", sa.Integer, nullable=False, server_default="1"),
        sa.Column("threads_per_core", sa.Integer, nullable=False, server_default="1"),
        sa.Column("cpu_affinity", sa.SmallInteger, nullable=False, server_default="1"),
        sa.Column("mpi_flags", sa.Text, nullable=False, server_default=""),
        sa.Column("gpus_per_rank", sa.Double, nullable=False, server_default="0"),
        sa.Column("post_error_handler", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("post_timeout_handler", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("auto_timeout_retry", sa.SmallInteger, nullable=False, server_default="1"),
        sa.Column("queued_launch", sa.Text, nullable=False, server_default=""),
    )
    op.create_table(
        "edge",
        sa.Column("child", Key, primary_key=True, autoincrement=False),
        sa.Column("parent", Key, primary_key=True, autoincrement=False),
        sa.Column("met", sa.SmallInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("edge_parent", "edge", ["parent", "child"])
    op.create_table(
        "event",
        sa.Column("sequence", Key, primary_key=True, autoincrement=False),
        sa.Column("job", Key, nullable=False),
        sa.Column("states", sa.Text, nullable=False),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("record_us", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.SmallInteger, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("exit_code", sa.Integer),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("deleted_id", Uuid),
    )
    op.create_index("event_job", "event", ["job", "sequence"])
    op.create_table(
        "application",
        sa.Column("key", Key, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("executable", "description", "preprocess", "postprocess", "envscript", "python", "owner")
        ),
        sa.Column("create_us", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "session",
        sa.Column("key", Key, primary_key=True),
        sa.Column("session_id", Uuid, nullable=False, unique=True),
        sa.Column("request_id", Uuid, nullable=False, unique=True),
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("create_us", sa.BigInteger, nullable=False),
        sa.Column("nodes", sa.Integer, nullable=False),
        sa.Column("job_mode", sa.Text, nullable=False),
        sa.Column("workflow_filter", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "counter",
        sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("job_key", sa.BigInteger, nullable=False),
        sa.Column("event_sequence", sa.BigInteger, nullable=False),
    )
    op.execute("INSERT INTO counter (id, job_key, event_sequence) VALUES (1, 0, 0)")


def _partial_index(name: str, columns: list[str], where: str) -> None:
    op.create_index(
        name,
        "job",
        [sa.text(column) if " " in column else column for column in columns],
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )
