"""Training runs and their curves

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

JSON = sa.JSON().with_variant(JSONB(), "postgresql")
BEFORE = ("download", "verify", "import", "quantize", "load", "unload", "generate")
STATUSES = ("pending", "running", "cancelling", "cancelled", "failed", "completed")

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _set_kinds((*BEFORE, "train"))
    op.create_table(
        "trainings",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column(
            "status",
            sa.Enum(*STATUSES, name="status", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("model_row_id", sa.String(length=32), nullable=True),
        sa.Column("model_id", sa.String(length=200), nullable=False),
        sa.Column("commit", sa.String(length=64), nullable=False),
        sa.Column("quantization", sa.String(length=32), nullable=False),
        sa.Column("config", JSON, nullable=False),
        sa.Column("hook_point", sa.String(length=500), nullable=False),
        sa.Column("d_in", sa.Integer(), nullable=False),
        sa.Column("d_sae", sa.Integer(), nullable=False),
        sa.Column("plan", JSON, nullable=False),
        sa.Column("phase", sa.String(length=32), nullable=True),
        sa.Column("tokens_done", sa.BigInteger(), nullable=False),
        sa.Column("tokens_total", sa.BigInteger(), nullable=False),
        sa.Column("tokens_per_second", sa.Double(), nullable=True),
        sa.Column("eta_seconds", sa.Double(), nullable=True),
        sa.Column("metrics", JSON, nullable=True),
        sa.Column("engine", sa.String(length=64), nullable=True),
        sa.Column("output_path", sa.String(length=1000), nullable=True),
        sa.Column("error", JSON, nullable=True),
        sa.Column("job_id", sa.String(length=32), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["model_row_id"], ["models.id"], name=op.f("fk_trainings_model_row_id_models"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_trainings_job_id_jobs"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trainings")),
    )
    op.create_index(op.f("ix_trainings_model_row_id"), "trainings", ["model_row_id"])
    op.create_index(op.f("ix_trainings_updated_at"), "trainings", ["updated_at"])
    op.create_table(
        "training_metrics",
        sa.Column("training_id", sa.String(length=32), nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("mse", sa.Double(), nullable=True),
        sa.Column("explained_variance", sa.Double(), nullable=True),
        sa.Column("l0", sa.Double(), nullable=True),
        sa.Column("dead_features", sa.Integer(), nullable=True),
        sa.Column("tokens_per_second", sa.Double(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["training_id"],
            ["trainings.id"],
            name=op.f("fk_training_metrics_training_id_trainings"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("training_id", "step", name=op.f("pk_training_metrics")),
    )


def downgrade() -> None:
    op.drop_table("training_metrics")
    op.drop_table("trainings")
    op.execute("DELETE FROM jobs WHERE kind = 'train'")
    _set_kinds(BEFORE)


def _set_kinds(kinds: tuple[str, ...]) -> None:
    allowed = f"kind IN ({', '.join(repr(kind) for kind in kinds)})"
    with op.batch_alter_table("jobs") as batch:
        batch.drop_constraint(op.f("ck_jobs_kind"), type_="check")
        batch.create_check_constraint(op.f("ck_jobs_kind"), sa.text(allowed))
