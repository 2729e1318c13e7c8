"""Launches: the batch system that has them, and what it says.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("message", "batch_system"):
        op.add_column("launch", sa.Column(name, sa.Text, nullable=False, server_default=""))
