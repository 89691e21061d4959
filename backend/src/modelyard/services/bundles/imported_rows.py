"""The rows of what a bundle has brought: as ready as those of a download."""

from typing import Any

from sqlalchemy import select

from modelyard.core.database import Database
from modelyard.core.errors import ModelyardError
from modelyard.core.repository_json import read_config_inside
from modelyard.hub.cache.hub_cache import HubCache, Inventory
from modelyard.models import Bundle, EventKind, EventName, JobKind, Model, ModelStatus, Quantization
from modelyard.schemas.model import ModelCreate
from modelyard.services.bundles.checked_copy import read_copy_manifest
from modelyard.services.bundles.manifest import BundledModel
from modelyard.services.facts.model_facts import store_facts
from modelyard.services.jobs.history_service import HistoryService
from modelyard.services.model_actions import files_on_disk
from modelyard.services.model_files import artifact_of, new_manifest
from modelyard.services.model_service import ModelService
from modelyard.services.quantization_service import artifact_name
from modelyard.services.snapshot_facts import store_snapshot_facts


class ImportedRows:
    """Makes the rows of one bundle."""

    def __init__(self, database: Database, cache: HubCache, bundle: Bundle) -> None:
        self.database, self.cache, self._bundle = database, cache, bundle

    def make(self, model: BundledModel, precision: Quantization) -> str:
        """Make the row of a snapshot or a copy whose files are in their places; returns its id.

        Raises Conflict while other work is at it, and what keeps it from being used; the row says so then.
        """
        row_id = self._begin(model, precision)
        try:
            if precision is Quantization.NONE:
                store_snapshot_facts(self.database, self.cache, row_id)
            else:
                self._store_facts_of_copy(row_id, model)
        except ModelyardError as error:
            with self.database.session() as session:
                models = ModelService(session)
                models.mark_ended(models.get_by_id(row_id), ModelStatus.FAILED, error.as_dict())
            raise
        found = files_on_disk(self.database, row_id)
        with self.database.session() as session:
            models = ModelService(session)
            row = models.get_by_id(row_id)
            models.mark_done(row, JobKind.UNPACK, found)
            row.job_id = None
            HistoryService(session).note(row_id, EventKind.IMPORT, EventName.DONE, size_bytes=found.disk_bytes)
        return row_id

    def _begin(self, model: BundledModel, precision: Quantization) -> str:
        present = self._bundle.request["present"].get(f"{model.model_id}@{model.commit}", [])
        with self.database.session() as session:
            models = ModelService(session)
            row = session.scalars(
                select(Model).where(
                    Model.model_id == model.model_id,
                    Model.commit == model.commit,
                    Model.quantization == precision,
                    Model.status == ModelStatus.PENDING,
                    Model.job_id == self._bundle.job_id,
                )
            ).one_or_none()
            if row is None:
                row = models.create(_new_row(model, precision))
            row.status, row.error, row.job_id = ModelStatus.PENDING, None, self._bundle.job_id
            row.licence, row.num_parameters = model.licence, model.num_parameters
            row.converted_from = _dumped(model.converted_from)
            row.merged_from = _dumped(model.merged_from)
            if model.files is not None:
                files = [file.remote for file in model.files]
                before = tuple(file for file in files if file.path in present)
                row.files = new_manifest(row, files, Inventory(before, ()))
                row.size_bytes = sum(file.size for file in model.files)
                row.adopted = any(file["present_before"] for file in row.files)
            if precision is not Quantization.NONE:
                row.artifact_path = artifact_name(model.model_id, model.commit, precision)
            return row.id

    def _store_facts_of_copy(self, row_id: str, model: BundledModel) -> None:
        """Take over what the row of the original knows; of a copy that comes alone, read its configuration."""
        with self.database.reading() as session:
            models = ModelService(session)
            row = models.get_by_id(row_id)
            same = [other for other in models.get_by_model_id(row.model_id) if other.commit == row.commit]
        source = next((other for other in same if other.architecture is not None and other.id != row_id), None)
        folder = artifact_of(row)
        assert folder is not None  # noqa: S101 - `_begin` named it
        made = read_copy_manifest(folder, model)
        config = read_config_inside(folder, row.model_id)
        with self.database.session() as session:
            row = ModelService(session).get_by_id(row_id)
            if source is not None:
                row.copy_facts(source)
            else:
                names = [file.path for copy in model.quantized for file in copy.files]
                store_facts(row, config, [], names, num_parameters=model.num_parameters)
            row.drift, row.memory_measured_bytes = made.drift, made.memory_measured_bytes


def _new_row(model: BundledModel, precision: Quantization) -> ModelCreate:
    return ModelCreate(
        model_id=model.model_id,
        canonical_id=model.canonical_id,
        endpoint=model.endpoint,
        revision=model.revision,
        commit=model.commit,
        quantization=precision.value,
        keep_original=model.files is not None,
        allow_pickle=model.allow_pickle and model.files is not None,
        gated=model.gated,
        private=model.private,
    )


def _dumped(value: Any) -> dict[str, Any] | None:
    return None if value is None else value.model_dump()
