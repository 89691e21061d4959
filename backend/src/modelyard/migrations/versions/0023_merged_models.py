"""A model can be merged from an adapter and its base

Revision ID: 0023
Revises: 0022
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

JOBS = ("download", "verify", "import", "quantize", "load", "unload", "generate", "train", "drift", "embed")
EVENTS = ("download", "verify", "import", "quantize", "load", "unload", "generate", "files")


def upgrade() -> None:
    with op.batch_alter_table("models") as batch:
        batch.add_column(sa.Column("merged_from", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True))
    _set_kinds("jobs", (*JOBS, "merge"))
    _set_kinds("job_events", (*EVENTS[:-1], "merge", "files"))


def downgrade() -> None:
    op.execute("DELETE FROM job_events WHERE kind = 'merge'")
    op.execute("DELETE FROM jobs WHERE kind = 'merge'")
    _set_kinds("job_events", EVENTS)
    _set_kinds("jobs", JOBS)
    with op.batch_alter_table("models") as batch:
        batch.drop_column("merged_from")


def _set_kinds(table: str, kinds: tuple[str, ...]) -> None:
    allowed = f"kind IN ({', '.join(repr(kind) for kind in kinds)})"
    with op.batch_alter_table(table) as batch:
        batch.drop_constraint(op.f(f"ck_{table}_kind"), type_="check")
        batch.create_check_constraint(op.f(f"ck_{table}_kind"), sa.text(allowed))
