"""Several job stores: which of them has a session, and the rules that are in force in all.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("session", sa.Column("store", sa.SmallInteger, nullable=False, server_default="1"))
    op.add_column("session", sa.Column("rules", sa.Text, nullable=False, server_default=""))
