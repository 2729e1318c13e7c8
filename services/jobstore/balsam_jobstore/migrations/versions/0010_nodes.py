"""Where runs failed, launchers' sessions that are over, and an index for the events of jobs that are gone.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Uuid = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")


def upgrade() -> None:
    op.create_table(
        "node",
        sa.Column("key", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
    )
    op.create_table(
        "ended_session",
        sa.Column("key", Key, primary_key=True, autoincrement=False),
        sa.Column("session_id", Uuid, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("owner_key", sa.Integer, nullable=False),
        sa.Column("create_us", sa.BigInteger, nullable=False),
        sa.Column("end_us", sa.BigInteger, nullable=False),
        sa.Column("nodes", sa.Integer, nullable=False),
        sa.Column("job_mode", sa.Text, nullable=False),
        sa.Column("workflow_filter", sa.Text, nullable=False),
        sa.Column("launch", Key),
    )
    op.create_index("ended_session_end", "ended_session", ["end_us"])
    op.add_column("event", sa.Column("node", sa.Integer))
    _partial_index("event_node", ["job", "sequence"], "node IS NOT NULL")
    _partial_index("event_deleted", ["deleted_id", "sequence"], "deleted_id IS NOT NULL")


def _partial_index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "event", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
