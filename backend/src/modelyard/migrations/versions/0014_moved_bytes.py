"""A job and its events tell what moved in the time they name

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("jobs") as batch:
        batch.add_column(sa.Column("bytes_moved", sa.BigInteger(), nullable=True))
    with op.batch_alter_table("job_events") as batch:
        batch.add_column(sa.Column("moved_bytes", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("job_events") as batch:
        batch.drop_column("moved_bytes")
    with op.batch_alter_table("jobs") as batch:
        batch.drop_column("bytes_moved")
