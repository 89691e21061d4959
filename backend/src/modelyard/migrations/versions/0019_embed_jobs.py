"""Embeddings of texts

Revision ID: 0019
Revises: 0018
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

BEFORE = ("download", "verify", "import", "quantize", "load", "unload", "generate", "train", "drift")


def upgrade() -> None:
    _set_kinds((*BEFORE, "embed"))


def downgrade() -> None:
    op.execute("DELETE FROM jobs WHERE kind = 'embed'")
    _set_kinds(BEFORE)


def _set_kinds(kinds: tuple[str, ...]) -> None:
    allowed = f"kind IN ({', '.join(repr(kind) for kind in kinds)})"
    with op.batch_alter_table("jobs") as batch:
        batch.drop_constraint(op.f("ck_jobs_kind"), type_="check")
        batch.create_check_constraint(op.f("ck_jobs_kind"), sa.text(allowed))
