"""Merging an adapter into its base: a model of its own, which needs neither of them."""

from typing import Any

from huggingface_hub.utils import validate_repo_id
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.core.database import Database
from modelyard.core.errors import AlreadyQuantized, BaseMissing, Conflict, NotReady
from modelyard.core.storage import DISK_RESERVE_BYTES
from modelyard.models import JobKind, Model, ModelKind, ModelStatus, Quantization
from modelyard.schemas.model import ModelCreate
from modelyard.services.adapters import base_for
from modelyard.services.architecture_service import local_config
from modelyard.services.facts.config_facts import read_config
from modelyard.services.gguf_download import converted_commit
from modelyard.services.imported_files import require_unchanged
from modelyard.services.jobs.control import JobReporter
from modelyard.services.made_snapshot import MadeSnapshot
from modelyard.services.model_files import hub_cache, manifest
from modelyard.services.model_service import ModelService
from modelyard.services.settings_service import LOCAL
from modelyard.services.versions import name_in_cache

SUFFIX = "-merged"
_LONGEST_ID = 96
"""What the Hub's library takes for the name of a repository."""


class MergeService:
    """Queues and does merges."""

    def __init__(self, database: Database) -> None:
        self.database, self.cache = database, hub_cache()

    def start(self, row_id: str) -> str:
        """Queue the merge of an adapter into its base, in full precision. Returns the new row's id.

        Raises ModelNotFound, InvalidRequest for a row that is no adapter, NotReady, BaseMissing, AlreadyQuantized,
        AlreadyExists, DiskFull, and Conflict where the base is here in a smaller precision only.
        """
        with self.database.reading() as session:
            adapter = ModelService(session).get_by_id(row_id)
            if adapter.kind is ModelKind.ADAPTER and adapter.status is not ModelStatus.READY:
                raise NotReady(f"{adapter.model_id} is {adapter.status}.", hint="Wait until it is ready.")
            base = base_for(session, adapter)
        self._require_full(adapter, base)
        with self.database.session() as session:
            models = ModelService(session, self.cache)
            name = merged_name(adapter.model_id)
            row = models.create(
                ModelCreate(
                    model_id=name,
                    canonical_id=name,
                    endpoint=LOCAL,
                    revision="main",
                    commit=converted_commit(base.commit, adapter.commit),
                    private=adapter.private or base.private,
                )
            )
            row.merged_from = {
                "adapter_model": adapter.model_id,
                "adapter_commit": adapter.commit,
                "base_model": base.model_id,
                "base_commit": base.commit,
            }
            row.architecture, row.model_type, row.dtype = base.architecture, base.model_type, base.dtype
            row.num_parameters, row.size_bytes = base.num_parameters, base.size_bytes
            row.licence = adapter.licence if adapter.licence == base.licence else None
            models.start_job(row, JobKind.MERGE)
            return row.id

    def merge(self, row: Model, reporter: JobReporter) -> None:
        """Merge, load back and compare, in a child process. Called in a worker.

        Raises NotReady where the adapter is not here any more, BaseMissing, what `start` raises of the base, and what
        `MadeSnapshot.make` and the child raise.
        """
        origin = row.merged_from or {}
        with self.database.reading() as session:
            adapter = _ready(session, origin["adapter_model"], origin["adapter_commit"])
            base = _ready(session, origin["base_model"], origin["base_commit"])
        if adapter is None:
            raise NotReady(f"{origin['adapter_model']}, which is to be merged, is not here any more.")
        if base is None:
            raise BaseMissing(
                f"{origin['base_model']}, which {origin['adapter_model']} is to be merged into, is not here any more.",
                hint=f"Fetch it: modelyard pull {origin['base_model']}@{origin['base_commit']}.",
            )
        self._require_full(adapter, base)
        made = MadeSnapshot(self.database, self.cache).make(
            row,
            "modelyard.workers.processes.merge_child",
            self._request(adapter, base),
            reporter,
            phase="merging",
            doing=f"{adapter.model_id} was being merged",
        )
        with self.database.session() as session:
            ModelService(session).get_by_id(row.id).drift = made["drift"]
        self._name_it(row)

    def _require_full(self, adapter: Model, base: Model) -> None:
        """Raise unless the base can be merged into, and the disk has room for the result."""
        if self.cache.inventory(base.model_id, base.commit, manifest(base)).missing:
            raise Conflict(
                f"{base.model_id} is here only in {base.quantization}; an adapter is merged into full precision.",
                hint=f"Fetch it: modelyard pull {base.model_id}@{base.commit}.",
            )
        for row in (adapter, base):
            require_unchanged(self.cache, row)
        method = read_config(local_config(base)).quantization_method
        if method is not None:
            raise AlreadyQuantized(f"The weights of {base.model_id} are quantized already ({method}).")
        self.cache.ensure_free(base.size_bytes or 0, reserve_bytes=DISK_RESERVE_BYTES)

    def _request(self, adapter: Model, base: Model) -> dict[str, Any]:
        return {
            "base": str(self.cache.snapshot_path(base.model_id, base.commit)),
            "base_id": base.model_id,
            "base_commit": base.commit,
            "adapter": str(self.cache.snapshot_path(adapter.model_id, adapter.commit)),
            "adapter_id": adapter.model_id,
            "adapter_commit": adapter.commit,
            "allow_pickle": base.allow_pickle,
        }

    def _name_it(self, row: Model) -> None:
        """Have other tools find the model by its name, unless that is the name of another repository in the cache."""
        with self.database.reading() as session:
            rows = ModelService(session).get_by_model_id(row.model_id)
        made = {other.commit for other in rows if other.merged_from is not None}
        if self.cache.read_ref(row.model_id, row.revision) in (None, *made):
            name_in_cache(self.cache, row)


def merged_name(adapter_id: str) -> str:
    """Return the name of the repository that an adapter is merged into; a long one is cut."""
    name = adapter_id[: _LONGEST_ID - len(SUFFIX)].rstrip("-.") + SUFFIX
    validate_repo_id(name)
    return name


def _ready(session: Session, model_id: str, commit: str) -> Model | None:
    """Return a row whose snapshot is here, preferably in full precision."""
    return session.scalars(
        select(Model)
        .where(Model.model_id == model_id, Model.commit == commit, Model.status == ModelStatus.READY)
        .order_by(Model.quantization != Quantization.NONE, Model.created_at.desc())
    ).first()
