"""The Hub endpoint looks repositories up instead of reading every row

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "repo_facts",
        sa.Column("model_id", sa.String(length=200), nullable=False),
        sa.Column("commit", sa.String(length=64), nullable=False),
        sa.Column("servable", sa.Boolean(), nullable=False),
        sa.Column("pipeline_tag", sa.Text(), nullable=True),
        sa.Column("library_name", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model_id", "commit", name=op.f("pk_repo_facts")),
    )
    op.create_index(op.f("ix_models_canonical_id"), "models", ["canonical_id"])
    op.create_index("ix_models_status_updated_at", "models", ["status", "updated_at", "canonical_id"])
    op.drop_index(op.f("ix_models_status"), table_name="models")


def downgrade() -> None:
    op.create_index(op.f("ix_models_status"), "models", ["status"])
    op.drop_index("ix_models_status_updated_at", table_name="models")
    op.drop_index(op.f("ix_models_canonical_id"), table_name="models")
    op.drop_table("repo_facts")
