"""A history of each model, and what its Hub has that is newer

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

JSON = sa.JSON().with_variant(JSONB(), "postgresql")
KINDS = ("download", "verify", "import", "quantize", "load", "unload", "generate", "files")
EVENTS = ("started", "resumed", "taken_over", "paused", "done", "failed", "cancelled", "missing", "found")

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("models") as batch:
        batch.add_column(sa.Column("licence", sa.String(length=200), nullable=True))
        batch.add_column(sa.Column("has_custom_code", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch.add_column(sa.Column("latest_commit", sa.String(length=64), nullable=True))
        batch.add_column(sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "job_events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("subject_id", sa.String(length=32), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=True),
        sa.Column(
            "kind", sa.Enum(*KINDS, name="kind", native_enum=False, create_constraint=True, length=32), nullable=False
        ),
        sa.Column(
            "event",
            sa.Enum(*EVENTS, name="event", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("error", JSON, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_events")),
    )
    op.create_index(op.f("ix_job_events_subject_id"), "job_events", ["subject_id"])
    # Of earlier work only the end is known.
    op.execute(
        "INSERT INTO job_events (subject_id, job_id, kind, event, at, bytes, error) "
        "SELECT subject_id, id, kind, state, finished_at, NULLIF(bytes_done, 0), error FROM jobs "
        "WHERE finished_at IS NOT NULL AND state IN ('done', 'failed', 'cancelled') "
        "AND kind IN ('download', 'verify', 'import', 'quantize') ORDER BY finished_at"
    )


def downgrade() -> None:
    op.drop_table("job_events")
    with op.batch_alter_table("models") as batch:
        batch.drop_column("checked_at")
        batch.drop_column("latest_commit")
        batch.drop_column("has_custom_code")
        batch.drop_column("licence")
