"""What a quantized copy from a bundle must be before it is used: what its own manifest and the bundle's say."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelyard.core.errors import InvalidBundle
from modelyard.services.bundles.manifest import BundledCopy, BundledModel
from modelyard.services.facts.folder_content import require_checkpoint
from modelyard.services.facts.stored_drift import stored_drift
from modelyard.services.model_files import ARTIFACT_MANIFEST

MAX_BYTES = 16_000_000


class CopyManifest(BaseModel):
    """Those fields of a quantized copy's own manifest that are used of one from elsewhere."""

    model_config = ConfigDict(extra="ignore", strict=True)

    format: int
    model_id: str
    commit: str
    quantization: str
    memory_measured_bytes: int = Field(ge=0, lt=2**60)
    drift: dict[str, Any]
    files: dict[str, dict[str, Any]]


def read_copy_manifest(folder: Path, model: BundledModel) -> CopyManifest:
    """Read the manifest of a copy. Raises InvalidBundle."""
    path = folder / ARTIFACT_MANIFEST
    if path.stat().st_size > MAX_BYTES:
        raise InvalidBundle(f"{ARTIFACT_MANIFEST} of {model.model_id} is larger than {MAX_BYTES // 1_000_000} MB.")
    try:
        found = CopyManifest.model_validate_json(path.read_bytes())
        stored_drift(found.drift, None)
    except (ValidationError, RecursionError, LookupError, TypeError, ValueError) as error:
        raise InvalidBundle(f"{ARTIFACT_MANIFEST} of {model.model_id} is not that of a quantized copy.") from error
    return found


def require_copy(folder: Path, model: BundledModel, copy: BundledCopy) -> None:
    """Require a copy whose manifest is about this model and these files, and whose weights can be opened.

    Raises InvalidBundle, NoWeights and InvalidRepository.
    """
    from modelyard.ml.quantize.artifact_folder import FORMAT

    found = read_copy_manifest(folder, model)
    said = (found.format, found.model_id, found.commit, found.quantization)
    listed = {
        file.path: {"size_bytes": file.size, "sha256": file.sha256}
        for file in copy.files
        if file.path != ARTIFACT_MANIFEST
    }
    if said != (FORMAT, model.model_id, model.commit, copy.quantization) or found.files != listed:
        raise InvalidBundle(f"A quantized copy of {model.model_id} in the bundle is not the one its manifest names.")
    require_checkpoint(folder, model.model_id, allow_pickle=False)
