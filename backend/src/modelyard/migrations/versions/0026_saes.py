"""A shelf of sparse autoencoders; completed training runs are on it

Revision ID: 0026
Revises: 0024
"""

import uuid

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0026"
down_revision = "0024"
branch_labels = None
depends_on = None

JOBS = ("download", "verify", "import", "quantize", "load", "unload", "generate", "train", "drift", "embed", "merge")
SAE_JOBS = ("fetch_sae", "evaluate_sae", "build_features")
_JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    _set_kinds((*JOBS, *SAE_JOBS))
    saes = op.create_table(
        "saes",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(500), nullable=False),
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("model_id", sa.String(200)),
        sa.Column("commit", sa.String(64)),
        sa.Column("quantization", sa.String(32)),
        sa.Column("dtype", sa.String(32)),
        sa.Column("hook_point", sa.String(500)),
        sa.Column("d_in", sa.Integer()),
        sa.Column("d_sae", sa.Integer()),
        sa.Column("architecture", sa.String(64)),
        sa.Column("context_size", sa.Integer()),
        sa.Column("size_bytes", sa.BigInteger()),
        sa.Column("training_id", sa.String(32), sa.ForeignKey("trainings.id", ondelete="SET NULL")),
        sa.Column("endpoint", sa.String(500)),
        sa.Column("repo_id", sa.String(200)),
        sa.Column("repo_commit", sa.String(64)),
        sa.Column("repo_path", sa.String(1024)),
        sa.Column("evaluation", _JSON),
        sa.Column("features", _JSON),
        sa.Column("job_id", sa.String(32), sa.ForeignKey("jobs.id", ondelete="SET NULL")),
        sa.Column("model_row_id", sa.String(32), sa.ForeignKey("models.id", ondelete="SET NULL")),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("source IN ('trained', 'imported', 'hub')", name=op.f("ck_saes_source")),
    )
    for column in ("model_id", "training_id", "model_row_id", "created_at", "updated_at"):
        op.create_index(op.f(f"ix_saes_{column}"), "saes", [column])
    _add_trained(saes)


def downgrade() -> None:
    op.drop_table("saes")
    jobs = sa.table("jobs", sa.column("kind"))
    op.execute(jobs.delete().where(jobs.c.kind.in_(SAE_JOBS)))
    _set_kinds(JOBS)


def _add_trained(saes: sa.Table) -> None:
    """Put what completed runs left on the shelf."""
    trainings = sa.table(
        "trainings",
        *map(sa.column, ("id", "status", "model_id", "commit", "quantization", "hook_point", "d_in", "d_sae")),
        sa.column("config", _JSON),
        sa.column("output_path"),
        sa.column("created_at", sa.DateTime(timezone=True)),
        sa.column("updated_at", sa.DateTime(timezone=True)),
    )
    connection = op.get_bind()
    done = sa.select(trainings).where(trainings.c.status == "completed", trainings.c.output_path.is_not(None))
    for run in connection.execute(done).mappings().all():
        architecture, dtype = run["config"]["architecture"], run["config"].get("dtype", "auto")
        connection.execute(
            saes.insert().values(
                id=uuid.uuid4().hex,
                name=f"{run['model_id'].rsplit('/', 1)[-1]} {run['hook_point']}",
                source="trained",
                ready=True,
                # Both are saved as JumpReLU.
                architecture="jumprelu" if architecture in ("batchtopk", "matryoshka") else architecture,
                dtype=None if dtype == "auto" else dtype,
                context_size=run["config"]["context_size"],
                training_id=run["id"],
                **{name: run[name] for name in ("model_id", "commit", "quantization", "hook_point", "d_in", "d_sae")},
                created_at=run["created_at"],
                updated_at=run["updated_at"],
            )
        )


def _set_kinds(kinds: tuple[str, ...]) -> None:
    allowed = f"kind IN ({', '.join(repr(kind) for kind in kinds)})"
    with op.batch_alter_table("jobs") as batch:
        batch.drop_constraint(op.f("ck_jobs_kind"), type_="check")
        batch.create_check_constraint(op.f("ck_jobs_kind"), sa.text(allowed))
