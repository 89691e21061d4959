"""The history tells when a version takes the place of another

Revision ID: 0029
Revises: 0028
"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

BEFORE = ("download", "verify", "import", "quantize", "load", "unload", "generate", "merge", "files")


def upgrade() -> None:
    _set_kinds((*BEFORE, "version"))


def downgrade() -> None:
    op.execute("DELETE FROM job_events WHERE kind = 'version'")
    _set_kinds(BEFORE)


def _set_kinds(kinds: tuple[str, ...]) -> None:
    allowed = f"kind IN ({', '.join(repr(kind) for kind in kinds)})"
    with op.batch_alter_table("job_events") as batch:
        batch.drop_constraint(op.f("ck_job_events_kind"), type_="check")
        batch.create_check_constraint(op.f("ck_job_events_kind"), sa.text(allowed))
