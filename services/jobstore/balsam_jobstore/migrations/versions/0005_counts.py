"""How many jobs are in each state.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_STATES = (
    "created",
    "awaiting_parents",
    "ready",
    "staged_in",
    "preprocessed",
    "running",
    "run_done",
    "postprocessed",
    "job_finished",
    "run_error",
    "run_timeout",
    "restart_ready",
    "failed",
    "user_killed",
)


def upgrade() -> None:
    for name in _STATES:
        op.add_column("counter", sa.Column(f"jobs_{name}", sa.BigInteger, nullable=False, server_default="0"))
    for number, name in enumerate(_STATES, start=1):
        op.execute(f"UPDATE counter SET jobs_{name} = (SELECT count(*) FROM job WHERE state = {number})")
