"""Users beside the owner of the site: whose each job is, who did what, and an order of runnable jobs for each user.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Uuid = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")

RUNNABLE = "state IN (5, 12) AND session IS NULL"
ORDER = ["priority DESC", "num_nodes DESC", "wall_time_minutes DESC", "key"]


def upgrade() -> None:
    op.create_table(
        "site_user",
        sa.Column("key", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("role", sa.SmallInteger, nullable=False),
        sa.Column("token_digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("create_us", sa.BigInteger, nullable=False),
        sa.Column("token_us", sa.BigInteger, nullable=False),
        sa.Column("expire_us", sa.BigInteger),
        sa.Column("drop_us", sa.BigInteger),
    )
    op.create_table(
        "audit",
        sa.Column("key", Key, primary_key=True),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("user_key", sa.Integer, nullable=False),
        sa.Column("run_id", Uuid),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("objects", sa.Text, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.add_column("job", sa.Column("owner_key", sa.Integer, nullable=False, server_default="1"))
    op.add_column("session", sa.Column("owner_key", sa.Integer, nullable=False, server_default="1"))
    op.add_column("session", sa.Column("trusted", sa.Text, nullable=False, server_default=""))
    op.add_column("event", sa.Column("user_key", sa.Integer))
    op.add_column("event", sa.Column("run_key", Key))
    for name in ("job_runnable", "job_bound"):
        op.drop_index(name, "job")
    _partial_index("job_runnable", ["owner_key", *ORDER], f"{RUNNABLE} AND launch IS NULL")
    _partial_index("job_bound", ["launch", "owner_key", *ORDER], f"{RUNNABLE} AND launch IS NOT NULL")


def _partial_index(name: str, columns: list[str], where: str) -> None:
    op.create_index(
        name,
        "job",
        [sa.text(column) if " " in column else column for column in columns],
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )
