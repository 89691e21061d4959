"""What a model is made of: blocks, dimensions and hook points, for one on the Hub as for one that is here."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import parse_local_safetensors_file_metadata
from huggingface_hub.errors import SafetensorsParsingError

from modelyard.core.database import Database
from modelyard.core.errors import (
    ExtraMissing,
    InvalidRepository,
    ModelyardError,
    NeedsCustomCode,
    NotReady,
    NoWeights,
    UnsupportedArchitecture,
)
from modelyard.core.extras import Extra, missing
from modelyard.core.repository_json import read_config_file
from modelyard.core.storage import storage_errors
from modelyard.models import Model, ModelKind, ModelStatus
from modelyard.schemas.architecture import Architecture
from modelyard.schemas.memory import EstimateParts, MemoryEstimate
from modelyard.services import system_service
from modelyard.services.adapters import base_for
from modelyard.services.facts.header_estimate import Tensor
from modelyard.services.facts.model_facts import tensors
from modelyard.services.facts.stored_tensors import compare_files
from modelyard.services.huggingface_model_service import HuggingFaceModelService
from modelyard.services.inspection.checkpoint import AdapterInMemory, Checkpoint
from modelyard.services.inspection.inspection_service import InspectionFailed, InspectionService
from modelyard.services.inspection.memory_service import MemoryService
from modelyard.services.model_files import artifact_of, hub_cache, manifest, weight_files
from modelyard.services.model_service import ModelService
from modelyard.services.settings_service import LOCAL

SECONDS = 60.0


class ArchitectureService:
    """Answers come from the inspector once per commit, then from the database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.inspections = InspectionService(database)

    def of_hub(self, text: str, revision: str | None) -> Architecture:
        """Raises InvalidRequest, UnsupportedArchitecture, NeedsCustomCode, HubError."""
        model, config = HuggingFaceModelService(self.database).config(text, revision)
        return self._inspect(model.model_id, model.commit, config)

    def of_row(self, row_id: str) -> Architecture:
        """Return the architecture of a model; of an adapter, that of its base.

        Raises ModelNotFound, NotReady, BaseMissing, InvalidRepository, UnsupportedArchitecture, NeedsCustomCode.
        """
        with self.database.reading() as session:
            row = ModelService(session).get_by_id(row_id)
            if row.kind is ModelKind.ADAPTER:
                row = base_for(session, row)
        return self._inspect(row.model_id, row.commit, local_config(row))

    def memory_of_row(
        self, row_id: str, *, context: int, batch: int, dtype: str, parts: EstimateParts = "all"
    ) -> MemoryEstimate:
        """Return memory per precision; a Hub is asked only until the model is here, and then the row's own.

        Of an adapter, that of its base with it. Raises what `of_row` does, and HubError.
        """
        with self.database.reading() as session:
            asked = row = ModelService(session).get_by_id(row_id)
            if asked.kind is ModelKind.ADAPTER:
                row = base_for(session, asked)
            devices = system_service.devices(system_service.local_pids(session))
            copies = ModelService(session).ready_copies(row.model_id, row.commit)
        if row.status is ModelStatus.READY or row.endpoint == LOCAL:
            checkpoint = local_checkpoint(row)
        else:
            checkpoint = HuggingFaceModelService(self.database).checkpoint_of_row(row)
        return MemoryService(self.database).estimate(
            checkpoint if asked is row else with_adapter(checkpoint, asked),
            devices,
            context=context,
            batch=batch,
            dtype=dtype,
            parts=parts,
            copies=copies,
        )

    def _inspect(self, model_id: str, commit: str, config: Mapping[str, Any]) -> Architecture:
        try:
            answer = self.inspections.ask("architecture", model_id, commit, config, seconds=SECONDS)
        except InspectionFailed as failure:
            raise _as_error(failure) from failure
        return Architecture(model_id=model_id, commit=commit, **answer)


def with_adapter(checkpoint: Checkpoint, adapter: Model) -> Checkpoint:
    """Return the base's checkpoint as it is loaded for an adapter that is here."""
    held = AdapterInMemory(adapter.model_id, adapter.commit, adapter.memory_estimated_bytes or 0)
    return replace(checkpoint, adapter=held)


def local_config(row: Model) -> dict[str, Any]:
    """Return the source's configuration of a model that is here.

    Raises NotReady, UnsupportedArchitecture, InvalidRepository, StorageDenied.
    """
    snapshot = hub_cache().snapshot_path(row.model_id, row.commit) / "config.json"
    copy = artifact_of(row)
    if snapshot.is_file():
        config = _read_config(snapshot, row)
    elif copy is not None and (copy / "config.json").is_file():
        # The original was dropped; the copy's configuration is the source's, and how it was quantized.
        config = _read_config(copy / "config.json", row)
        config.pop("quantization_config", None)
    elif row.status is not ModelStatus.READY:
        raise NotReady(f"{row.model_id} is {row.status}; its configuration is not here yet.")
    else:
        raise UnsupportedArchitecture(f"{row.model_id} has no config.json for transformers.")
    return config


def _read_config(path: Path, row: Model) -> dict[str, Any]:
    try:
        with storage_errors(path):
            return read_config_file(path, row.model_id)
    except InvalidRepository as error:
        raise InvalidRepository(
            error.message,
            hint="Verify the model: files that were damaged on the disk are fetched again.",
            **error.extra,
        ) from error


def local_checkpoint(row: Model) -> Checkpoint:
    """Return what the memory of a model that is here is computed from. Raises as `local_config` does."""
    return Checkpoint(
        model_id=row.model_id,
        commit=row.commit,
        config=local_config(row),
        tensors=_local_tensors(row),
        size_bytes=row.size_bytes or 0,
        files=[file.path for file in manifest(row)],
        num_parameters=row.num_parameters,
        same=compare_files(_weight_files(row)),
    )


def _weight_files(row: Model) -> dict[str, Path]:
    return weight_files(row, hub_cache().snapshot_path(row.model_id, row.commit))


def _local_tensors(row: Model) -> list[Tensor]:
    """Of the snapshot's weight files; none where the original was dropped. Raises NoWeights."""
    weights = _weight_files(row).values()
    if not all(path.is_file() for path in weights):
        return []
    try:
        return tensors([parse_local_safetensors_file_metadata(path) for path in weights])
    except SafetensorsParsingError as error:
        raise NoWeights(
            f"A weight file of {row.model_id} is damaged on the disk: {error}",
            hint="Verify the model: what is damaged is fetched again.",
        ) from error


def _as_error(failure: InspectionFailed) -> ModelyardError:
    if failure.reason_code == ExtraMissing.code:
        return missing(Extra.TORCH)
    kind = NeedsCustomCode if failure.reason_code == NeedsCustomCode.code else UnsupportedArchitecture
    return kind(failure.message, hint=failure.hint)
