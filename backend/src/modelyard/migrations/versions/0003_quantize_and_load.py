"""Quantized copies, results of jobs, and what is loaded

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

JSON = sa.JSON().with_variant(JSONB(), "postgresql")

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("models") as batch:
        batch.add_column(sa.Column("artifact_bytes", sa.BigInteger(), nullable=False, server_default="0"))
        batch.add_column(sa.Column("drift", JSON, nullable=True))
    with op.batch_alter_table("jobs") as batch:
        batch.add_column(sa.Column("result", JSON, nullable=True))
    op.create_table(
        "loaded_models",
        sa.Column("model_row_id", sa.String(length=32), nullable=False),
        sa.Column("worker", sa.String(length=200), nullable=False),
        sa.Column("device", sa.String(length=32), nullable=False),
        sa.Column("dtype", sa.String(length=32), nullable=False),
        sa.Column("host", sa.String(length=200), nullable=False),
        sa.Column("measured_bytes", sa.BigInteger(), nullable=False),
        sa.Column("load_seconds", sa.Double(), nullable=False),
        sa.Column("in_use", sa.Integer(), nullable=False),
        sa.Column("pinned", sa.Boolean(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_unload", JSON, nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("loaded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_row_id"], ["models.id"], name=op.f("fk_loaded_models_model_row_id_models"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("model_row_id", "worker", "device", "dtype", name=op.f("pk_loaded_models")),
    )


def downgrade() -> None:
    op.drop_table("loaded_models")
    with op.batch_alter_table("jobs") as batch:
        batch.drop_column("result")
    with op.batch_alter_table("models") as batch:
        batch.drop_column("drift")
        batch.drop_column("artifact_bytes")
