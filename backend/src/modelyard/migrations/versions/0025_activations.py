"""Activations can be read, and written to files

Revision ID: 0025
Revises: 0027
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0025"
down_revision = "0027"
branch_labels = None
depends_on = None

BEFORE = (
    "download", "verify", "import", "quantize", "load", "unload", "generate", "train", "drift", "embed", "merge",
    "fetch_sae", "evaluate_sae", "build_features", "export", "unpack",
)  # fmt: skip
NEW = ("activations", "capture", "lens")


def upgrade() -> None:
    _set_kinds((*BEFORE, *NEW))
    op.create_table(
        "captures",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=True),
        sa.Column("model_row_id", sa.String(length=32), nullable=True),
        sa.Column("model_id", sa.String(length=200), nullable=False),
        sa.Column("commit", sa.String(length=64), nullable=False),
        sa.Column("quantization", sa.String(length=32), nullable=False),
        sa.Column("request", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=True),
        sa.Column("tokens", sa.BigInteger(), nullable=True),
        sa.Column("estimated_bytes", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_captures_job_id_jobs"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(
            ["model_row_id"], ["models.id"], name=op.f("fk_captures_model_row_id_models"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_captures")),
    )
    op.create_index(op.f("ix_captures_model_row_id"), "captures", ["model_row_id"])
    op.create_index(op.f("ix_captures_created_at"), "captures", ["created_at"])


def downgrade() -> None:
    op.drop_table("captures")
    op.execute("DELETE FROM jobs WHERE kind IN ('activations', 'capture', 'lens')")
    _set_kinds(BEFORE)


def _set_kinds(kinds: tuple[str, ...]) -> None:
    allowed = f"kind IN ({', '.join(repr(kind) for kind in kinds)})"
    with op.batch_alter_table("jobs") as batch:
        batch.drop_constraint(op.f("ck_jobs_kind"), type_="check")
        batch.create_check_constraint(op.f("ck_jobs_kind"), sa.text(allowed))
