"""The Hub endpoint searches by number of parameters

Revision ID: 0024
Revises: 0023
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # What is known is read from the files again, with the number.
    op.execute("DELETE FROM repo_facts")
    with op.batch_alter_table("repo_facts") as batch:
        batch.add_column(sa.Column("num_parameters", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("repo_facts") as batch:
        batch.drop_column("num_parameters")
