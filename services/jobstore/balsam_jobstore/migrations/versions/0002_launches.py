"""Launches, and jobs and sessions that belong to one.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Uuid = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")

RUNNABLE = "state IN (5, 12) AND session IS NULL"
ORDER = ["priority DESC", "num_nodes DESC", "wall_time_minutes DESC", "key"]


def upgrade() -> None:
    op.create_table(
        "launch",
        sa.Column("key", Key, primary_key=True),
        sa.Column("request_id", Uuid, nullable=False, unique=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("scheduler_id", "project", "queue")),
        sa.Column("nodes", sa.Integer, nullable=False),
        sa.Column("wall_minutes", sa.Integer, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("job_mode", "wf_filter", "sched_flags", "command", "state")
        ),
        sa.Column("prescheduled_only", sa.SmallInteger, nullable=False),
        sa.Column("from_balsam", sa.SmallInteger, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("create_us", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.add_column("session", sa.Column("launch", Key))
    op.add_column("job", sa.Column("launch", Key))
    # Nothing could be bound before: the texts are empty.
    op.drop_column("job_detail", "queued_launch")
    op.drop_index("job_runnable", "job")
    _partial_index("job_runnable", ORDER, f"{RUNNABLE} AND launch IS NULL")
    _partial_index("job_bound", ["launch", *ORDER], f"{RUNNABLE} AND launch IS NOT NULL")
    _partial_index("job_launch", ["launch"], "launch IS NOT NULL")


def _partial_index(name: str, columns: list[str], where: str) -> None:
    op.create_index(
        name,
        "job",
        [sa.text(column) if " " in column else column for column in columns],
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )
