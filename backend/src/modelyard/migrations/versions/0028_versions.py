"""Versions: which one is in use, which was before, and which repositories are pinned

Revision ID: 0028
Revises: 0025
"""

import sqlalchemy as sa
from alembic import op

from modelyard.core.database import UtcDateTime

revision = "0028"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("models") as batch:
        batch.add_column(sa.Column("chosen_at", UtcDateTime(), nullable=True))
        batch.add_column(sa.Column("previous_commit", sa.String(length=64), nullable=True))
    with op.batch_alter_table("labels") as batch:
        batch.add_column(sa.Column("pinned_commit", sa.String(length=64), nullable=True))
    # Rows that were ready once: a check of their files is no choice.
    op.execute("UPDATE models SET chosen_at = created_at WHERE disk_bytes > 0 OR status IN ('ready', 'missing')")


def downgrade() -> None:
    with op.batch_alter_table("labels") as batch:
        batch.drop_column("pinned_commit")
    with op.batch_alter_table("models") as batch:
        batch.drop_column("previous_commit")
        batch.drop_column("chosen_at")
