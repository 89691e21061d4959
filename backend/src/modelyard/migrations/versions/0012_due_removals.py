"""Rows of which files are still to be removed

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("models") as batch:
        batch.add_column(sa.Column("removal_due", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch.create_index(batch.f("ix_models_removal_due"), ["removal_due"])


def downgrade() -> None:
    with op.batch_alter_table("models") as batch:
        batch.drop_index(batch.f("ix_models_removal_due"))
        batch.drop_column("removal_due")
