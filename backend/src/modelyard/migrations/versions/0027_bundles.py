"""Models are carried in bundles

Revision ID: 0027
Revises: 0026
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from modelyard.core.database import UtcDateTime

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

JOBS = (
    "download", "verify", "import", "quantize", "load", "unload", "generate", "train", "drift", "embed", "merge",
    "fetch_sae", "evaluate_sae", "build_features",
)  # fmt: skip


def upgrade() -> None:
    json = sa.JSON().with_variant(JSONB(), "postgresql")
    op.create_table(
        "bundles",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("path", sa.String(4096), nullable=True),
        sa.Column("request", json, nullable=False),
        sa.Column("digest", sa.String(64), nullable=True),
        sa.Column("models", json, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("parts", json, nullable=False),
        sa.Column("error", json, nullable=True),
        sa.Column("job_id", sa.String(32), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint("kind IN ('export', 'import')", name=op.f("ck_bundles_kind")),
        sa.CheckConstraint(
            "status IN ('pending', 'running', 'paused', 'ready', 'failed', 'cancelled')", name=op.f("ck_bundles_status")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_bundles_job_id_jobs"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bundles")),
    )
    _set_kinds((*JOBS, "export", "unpack"))


def downgrade() -> None:
    op.execute("DELETE FROM jobs WHERE kind IN ('export', 'unpack')")
    _set_kinds(JOBS)
    op.drop_table("bundles")


def _set_kinds(kinds: tuple[str, ...]) -> None:
    allowed = f"kind IN ({', '.join(repr(kind) for kind in kinds)})"
    with op.batch_alter_table("jobs") as batch:
        batch.drop_constraint(op.f("ck_jobs_kind"), type_="check")
        batch.create_check_constraint(op.f("ck_jobs_kind"), sa.text(allowed))
