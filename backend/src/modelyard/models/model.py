"""The `models` table: one row per (model_id, commit, quantization)."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, false
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.core.database import utc_now
from modelyard.core.statuses import ModelKind, ModelStatus, Quantization
from modelyard.models.base import Base, Bytes, new_id, string_enum


class SnapshotFacts:
    """The columns that say something of the snapshot: the same in each of its rows, whatever the precision."""

    adopted: Mapped[bool] = mapped_column(default=False)
    """The snapshot was in the cache before Modelyard managed it, so other tools may rely on it."""
    licence: Mapped[str | None] = mapped_column(String(200))
    """As the Hub names it; None where none is stated, or no Hub was asked."""
    has_custom_code: Mapped[bool] = mapped_column(default=False)
    """The repository brings code of its own, which is never run."""
    training: Mapped[dict[str, Any] | None]
    """Whether a sparse autoencoder could be trained on it, judged by configuration and file names."""
    latest_commit: Mapped[str | None] = mapped_column(String(64))
    """Where the row's branch stood on its Hub at `checked_at`; None while that is not known."""
    checked_at: Mapped[datetime | None]

    architecture: Mapped[str | None] = mapped_column(String(200))
    model_type: Mapped[str | None] = mapped_column(String(100))
    num_parameters: Mapped[int | None] = mapped_column(Bytes)
    dtype: Mapped[str | None] = mapped_column(String(32))
    hidden_size: Mapped[int | None]
    num_layers: Mapped[int | None]
    num_attention_heads: Mapped[int | None]
    num_key_value_heads: Mapped[int | None]
    head_dim: Mapped[int | None]
    intermediate_size: Mapped[int | None]
    vocab_size: Mapped[int | None]
    max_position_embeddings: Mapped[int | None]

    converted_from: Mapped[dict[str, Any] | None]
    """Of a snapshot that was made here of a GGUF file: the file's path, commit, quantization type, bytes and hashes."""
    merged_from: Mapped[dict[str, Any] | None]
    """Of a snapshot that was made here of an adapter and its base: the repository and the commit of each."""
    kind: Mapped[ModelKind] = mapped_column(
        string_enum(ModelKind, "kind"), default=ModelKind.MODEL, server_default=ModelKind.MODEL, index=True
    )
    adapter: Mapped[dict[str, Any] | None]
    """Of an adapter: its base_model, base_revision, rank and target_modules, as its configuration states them."""
    files: Mapped[list[dict[str, Any]] | None]
    """The manifest: path, size_bytes, sha256 or git_sha1 of every file the snapshot must hold to be whole."""
    size_bytes: Mapped[int | None] = mapped_column(Bytes)

    def copy_facts(self, source: "SnapshotFacts") -> None:
        """Take over what another row of the same snapshot knows of it."""
        for name in SnapshotFacts.__annotations__:
            setattr(self, name, getattr(source, name))


class Model(SnapshotFacts, Base):
    """A model that Modelyard manages: one snapshot in one precision."""

    __tablename__ = "models"
    __table_args__ = (
        Index("uq_models_identity", "model_id", "commit", "quantization", unique=True),
        # The newest ready models first, and their names to search, without reading a row.
        Index("ix_models_status_updated_at", "status", "updated_at", "canonical_id"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    model_id: Mapped[str] = mapped_column(String(200), index=True)
    canonical_id: Mapped[str] = mapped_column(String(200), index=True)
    endpoint: Mapped[str] = mapped_column(String(500))
    revision: Mapped[str] = mapped_column(String(200), default="main")
    commit: Mapped[str] = mapped_column(String(64))
    status: Mapped[ModelStatus] = mapped_column(string_enum(ModelStatus, "status"), default=ModelStatus.PENDING)
    quantization: Mapped[Quantization] = mapped_column(
        string_enum(Quantization, "quantization"), default=Quantization.NONE
    )
    keep_original: Mapped[bool] = mapped_column(default=True)
    allow_pickle: Mapped[bool] = mapped_column(default=False)
    gated: Mapped[bool] = mapped_column(default=False)
    private: Mapped[bool] = mapped_column(default=False, server_default=false())
    """The Hub it came from showed it to some accounts only."""

    disk_bytes: Mapped[int] = mapped_column(Bytes, default=0)
    artifact_path: Mapped[str | None] = mapped_column(String(1000))
    """The folder of the quantized copy, once it is whole and was loaded back; in `MODELYARD_HOME/artifacts`, which may
    be at another place at the next start."""
    artifact_bytes: Mapped[int] = mapped_column(Bytes, default=0)
    drift: Mapped[dict[str, Any] | None]
    """How far the quantized model's answers are from the source's, as measured when it was made."""
    memory_estimated_bytes: Mapped[int | None] = mapped_column(Bytes)
    memory_method: Mapped[str | None] = mapped_column(String(16))
    """How `memory_estimated_bytes` was found: exact or approximate."""
    memory_measured_bytes: Mapped[int | None] = mapped_column(Bytes)
    error: Mapped[dict[str, Any] | None]
    removal_due: Mapped[bool] = mapped_column(default=False, server_default=false(), index=True)
    """Files are still to be removed: what was fetched of a cancelled row, the original of one that is ready."""

    chosen_at: Mapped[datetime | None]
    """When the model's name began to mean this version; None until it is ready for the first time."""
    previous_commit: Mapped[str | None] = mapped_column(String(64))
    """The commit on the Hub of the version that was in use before this one."""

    base_id: Mapped[str | None] = mapped_column(ForeignKey("models.id", ondelete="SET NULL"), index=True)
    """Of an adapter: a row of the model that it changes; None while there is none."""
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now, index=True)

    @property
    def name(self) -> str:
        return self.model_id.rsplit("/", 1)[-1]

    @property
    def hub_commit(self) -> str:
        """The commit that its files on the Hub are of."""
        return (self.converted_from or {}).get("commit") or self.commit

    @property
    def follows_branch(self) -> bool:
        """Return whether it was asked for under a name that can move; a commit, in full or cut short, cannot."""
        return not self.hub_commit.startswith(self.revision)

    @property
    def begins_anew(self) -> bool:
        """Return whether it ended for good, so that its next work is a new job; a failed job goes on itself."""
        return self.status in (ModelStatus.CANCELLED, ModelStatus.MISSING)
