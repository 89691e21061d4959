"""A row can be an adapter, which names its base

Revision ID: 0021
Revises: 0020
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("models") as batch:
        batch.add_column(sa.Column("kind", sa.String(length=32), nullable=False, server_default="model"))
        batch.add_column(sa.Column("adapter", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True))
        batch.add_column(sa.Column("base_id", sa.String(length=32), nullable=True))
        batch.create_check_constraint(op.f("ck_models_kind"), sa.text("kind IN ('model', 'adapter')"))
        batch.create_foreign_key(op.f("fk_models_base_id_models"), "models", ["base_id"], ["id"], ondelete="SET NULL")
        batch.create_index(op.f("ix_models_base_id"), ["base_id"])
        batch.create_index(op.f("ix_models_kind"), ["kind"])


def downgrade() -> None:
    op.execute("DELETE FROM models WHERE kind = 'adapter'")
    with op.batch_alter_table("models") as batch:
        batch.drop_index(op.f("ix_models_kind"))
        batch.drop_index(op.f("ix_models_base_id"))
        batch.drop_constraint(op.f("fk_models_base_id_models"), type_="foreignkey")
        batch.drop_constraint(op.f("ck_models_kind"), type_="check")
        batch.drop_column("base_id")
        batch.drop_column("adapter")
        batch.drop_column("kind")
