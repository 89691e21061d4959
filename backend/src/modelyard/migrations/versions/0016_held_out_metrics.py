"""Explained variance per token, and of text that is not trained on

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

COLUMNS = (
    "explained_variance_per_token",
    "held_out_explained_variance",
    "held_out_explained_variance_per_token",
)


def upgrade() -> None:
    with op.batch_alter_table("training_metrics") as batch:
        for name in COLUMNS:
            batch.add_column(sa.Column(name, sa.Double(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("training_metrics") as batch:
        for name in COLUMNS:
            batch.drop_column(name)
