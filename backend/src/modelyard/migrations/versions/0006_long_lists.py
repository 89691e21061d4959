"""What long lists are read by: the newest models, and those that something happens to

Revision ID: 0006
Revises: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_models_created_at"), "models", ["created_at"])
    op.create_index(op.f("ix_models_status"), "models", ["status"])


def downgrade() -> None:
    op.drop_index(op.f("ix_models_status"), table_name="models")
    op.drop_index(op.f("ix_models_created_at"), table_name="models")
