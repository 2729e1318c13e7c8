"""Which jobs need GPUs, or cores of their own, is seen in their row.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_GPUS, _BOUND_CORES = 2048, 4096


def upgrade() -> None:
    for bit, condition in ((_GPUS, "gpus_per_rank > 0"), (_BOUND_CORES, "cpu_affinity = 2")):
        op.execute(f"UPDATE job SET needs = needs | {bit} WHERE key IN (SELECT key FROM job_detail WHERE {condition})")
