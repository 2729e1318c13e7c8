"""Time-outs in a row, and jobs found by their names.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job", sa.Column("timeouts", sa.Integer, nullable=False, server_default="0"))
    op.create_index("job_name", "job", ["name", "key"])
