"""What a row is loaded from: a folder, and how."""

from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.core.errors import Conflict, NotReady
from modelyard.models import Model, ModelStatus, Quantization
from modelyard.services.imported_files import require_unchanged
from modelyard.services.jobs.payloads import LoadOptions
from modelyard.services.model_files import artifact_files, artifact_of, hub_cache, is_copy, manifest

if TYPE_CHECKING:
    from modelyard.ml.loading.load_spec import AdapterSpec
    from modelyard.ml.model_loader import LoadSpec


def weights_folder(row: Model) -> Path:
    """Return the folder a row is loaded from: its snapshot, or its quantized copy.

    Raises NotReady, also where files of an import changed since.
    """
    if row.status is not ModelStatus.READY:
        raise NotReady(f"{row.model_id} is {row.status}.", hint="Wait until it is ready.")
    if row.quantization is Quantization.NONE:
        require_unchanged(hub_cache(), row)
        return hub_cache().snapshot_path(row.model_id, row.commit)
    folder = artifact_of(row)
    if folder is None or not artifact_files(row):
        raise NotReady(
            f"The quantized copy of {row.model_id} is not there.", hint="Delete the entry and quantize again."
        )
    return folder


def original_folder(row: Model) -> Path:
    """Return the folder of what a quantized copy was made of.

    Raises Conflict where the row is no copy or that is gone.
    """
    if not is_copy(row):
        raise Conflict(
            f"{row.model_id} in precision {row.quantization} is no quantized copy that is ready.",
            hint="Only a quantized copy can be compared with its original.",
        )
    cache = hub_cache()
    if cache.inventory(row.model_id, row.commit, manifest(row)).missing:
        raise Conflict(
            f"The original of {row.model_id} is not on the disk, so there is nothing to compare with.",
            hint="Download it in full precision.",
        )
    require_unchanged(cache, row)
    return cache.snapshot_path(row.model_id, row.commit)


def original_spec(row: Model, options: LoadOptions) -> "LoadSpec":
    """Return how to load what a quantized copy was made of. Raises Conflict."""
    return _spec(row, Quantization.NONE, original_folder(row), options)


def load_spec(row: Model, options: LoadOptions, adapter: Model | None = None) -> "LoadSpec":
    """Return how to load a row, with an adapter beside it if one is given. Raises NotReady."""
    return _spec(row, row.quantization, weights_folder(row), options, adapter)


def _adapter_spec(row: Model) -> "AdapterSpec":
    from modelyard.ml.loading.load_spec import AdapterSpec

    folder, size = weights_folder(row), row.memory_measured_bytes or row.memory_estimated_bytes or row.size_bytes
    return AdapterSpec(name=row.id, model_id=row.model_id, commit=row.commit, folder=folder, needed_bytes=size or 0)


def _spec(
    row: Model, quantization: Quantization, folder: Path, options: LoadOptions, adapter: Model | None = None
) -> "LoadSpec":
    from modelyard.ml.model_loader import LoadSpec

    return LoadSpec(
        model_id=row.model_id,
        commit=row.commit,
        quantization=quantization.value,
        folder=folder,
        allow_pickle=row.allow_pickle,
        adapter=None if adapter is None else _adapter_spec(adapter),
        **dict(options),
    )
