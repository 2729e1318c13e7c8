"""Answers to requests, for those that come again.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Uuid = sa.String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")


def upgrade() -> None:
    op.create_table(
        "request",
        sa.Column("key", Key, primary_key=True),
        sa.Column("request_id", Uuid, nullable=False),
        sa.Column("part", sa.Integer, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("next", sa.BigInteger),
        sa.UniqueConstraint("request_id", "part"),
    )
