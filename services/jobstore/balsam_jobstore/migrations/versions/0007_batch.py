"""Launches: the batch system that has them, and what it says.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("message", "batch_system"):
        op.add_column("launch", sa.Column(name, sa.Text, nullable=False, server_default=""))
