"""What a model is made of: blocks, dimensions and hook points, for one on the Hub as for one that is here."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard.core.database import Database
from modelyard.core.errors import ModelyardError, NeedsCustomCode, NotReady, UnsupportedArchitecture
from modelyard.models import Model, ModelStatus
from modelyard.schemas.model import Architecture
from modelyard.services.huggingface_model_service import HuggingFaceModelService
from modelyard.services.inspection_service import InspectionFailed, InspectionService
from modelyard.services.model_service import ModelService, hub_cache

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
        """Raises ModelNotFound, NotReady, UnsupportedArchitecture, NeedsCustomCode."""
        with self.database.reading() as session:
            row = ModelService(session).get_by_id(row_id)
        return self._inspect(row.model_id, row.commit, local_config(row))

    def _inspect(self, model_id: str, commit: str, config: Mapping[str, Any]) -> Architecture:
        try:
            answer = self.inspections.ask("architecture", model_id, commit, config, seconds=SECONDS)
        except InspectionFailed as failure:
            raise _as_error(failure) from failure
        return Architecture(model_id=model_id, commit=commit, **answer)


def local_config(row: Model) -> dict[str, Any]:
    """The configuration of a model that is here, as it was published. Raises NotReady, UnsupportedArchitecture."""
    path: Path = hub_cache().snapshot_path(row.model_id, row.commit) / "config.json"
    if not path.is_file() and row.artifact_path is not None:
        path = Path(row.artifact_path) / "config.json"  # the original was not kept
    if row.status is not ModelStatus.READY and not path.is_file():
        raise NotReady(f"{row.model_id} is {row.status}; its configuration is not here yet.")
    if not path.is_file():
        raise UnsupportedArchitecture(f"{row.model_id} has no config.json for transformers.")
    config: dict[str, Any] = json.loads(path.read_bytes())
    if path.parent == Path(row.artifact_path or ""):
        config.pop("quantization_config", None)
    return config


def _as_error(failure: InspectionFailed) -> ModelyardError:
    kind = NeedsCustomCode if failure.reason_code == NeedsCustomCode.code else UnsupportedArchitecture
    return kind(failure.message, hint=failure.hint)
