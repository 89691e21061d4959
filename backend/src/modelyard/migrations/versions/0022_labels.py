"""Repositories have tags, notes and favourites

Revision ID: 0022
Revises: 0021
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "labels",
        sa.Column("model_id", sa.String(200), primary_key=True),
        sa.Column("tags", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("favourite", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.create_index("ix_labels_favourite", "labels", ["favourite"])


def downgrade() -> None:
    op.drop_table("labels")
