"""Comparisons of a quantized copy with its original on a text

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

BEFORE = ("download", "verify", "import", "quantize", "load", "unload", "generate", "train")


def upgrade() -> None:
    _set_kinds((*BEFORE, "drift"))


def downgrade() -> None:
    op.execute("DELETE FROM jobs WHERE kind = 'drift'")
    _set_kinds(BEFORE)


def _set_kinds(kinds: tuple[str, ...]) -> None:
    allowed = f"kind IN ({', '.join(repr(kind) for kind in kinds)})"
    with op.batch_alter_table("jobs") as batch:
        batch.drop_constraint(op.f("ck_jobs_kind"), type_="check")
        batch.create_check_constraint(op.f("ck_jobs_kind"), sa.text(allowed))
