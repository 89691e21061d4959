"""What is in the files of a folder before they become a model here: an import's, or a snapshot's in the cache."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from modelyard.core.adapters import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    check_adapter_weights,
    is_adapter,
    parse_adapter_config,
    read_adapter,
)
from modelyard.core.checkpoint_folder import read_checkpoint
from modelyard.core.errors import InvalidRequest, NoWeights
from modelyard.core.paths import FoundFile, PathRules
from modelyard.core.repository_json import MAX_BYTES, parse_config, read_config_inside
from modelyard.core.safetensors_header import (
    MAX_POINTER_BYTES,
    QUANTIZATION_FILE,
    is_lfs_pointer,
    parse_header,
    pointer_error,
    unscaled_message,
    unscaled_tensor,
)
from modelyard.core.weight_files import MAX_INDEX_BYTES, Index, index_to_read, parse_index
from modelyard.hub.model_info import HubFile
from modelyard.hub.names import path_problem
from modelyard.services.facts.config_facts import read_config
from modelyard.services.facts.file_plan import FilePlan, plan_files


def hub_files(found: Mapping[str, FoundFile]) -> list[HubFile]:
    return [HubFile(name, file.status.st_size, None, None) for name, file in found.items()]


def index_of(found: Mapping[str, FoundFile], repository: str) -> Index | None:
    """Return what the index says that transformers would follow. Raises InvalidRequest, Conflict."""
    name = index_to_read(found)
    if name is None:
        return None
    with found[name].open() as file:
        return parse_index(file.read(MAX_INDEX_BYTES + 1), name, repository)


def require_content(found: Mapping[str, FoundFile], plan: FilePlan, repository: str) -> None:
    """Require whole weight files that are scaled as the configuration says, and no pointers of git-lfs.

    Raises NoWeights, UnsupportedAdapter, InvalidRepository, InvalidRequest, Conflict.
    """
    dtypes = []
    for planned in plan.fetched:
        file = found[planned.path]
        with file.open() as content:
            if planned.path.endswith(".safetensors"):
                header = parse_header(content, file.status.st_size, planned.path, repository)
                if planned.path in plan.weights.files:
                    dtypes += [(name, tensor.dtype) for name, tensor in header.items()]
            elif is_lfs_pointer(content.read(MAX_POINTER_BYTES), file.status.st_size):
                raise pointer_error(planned.path, repository)
    if plan.is_adapter:
        _require_adapter(found, repository)
        return
    if "config.json" not in found:
        return
    with found["config.json"].open() as content:
        config = parse_config(content.read(MAX_BYTES + 1), repository)
    if read_config(config).quantization_method is None:
        seen = QUANTIZATION_FILE if QUANTIZATION_FILE in found else unscaled_tensor(dtypes)
        if seen is not None:
            raise NoWeights(f"{repository}: {unscaled_message(seen)}", hint="Choose another checkpoint of this model.")


def _require_adapter(found: Mapping[str, FoundFile], repository: str) -> None:
    with found[ADAPTER_CONFIG].open() as content:
        config = parse_adapter_config(content.read(MAX_BYTES + 1), repository)
    file = found[ADAPTER_WEIGHTS]
    with file.open() as content:
        header = parse_header(content, file.status.st_size, ADAPTER_WEIGHTS, repository)
    check_adapter_weights(config, ((name, tensor.dtype, tensor.shape) for name, tensor in header.items()), repository)


def holds_adapter(snapshot: Path) -> bool:
    """Return whether the files of a snapshot are those of an adapter. Raises OSError."""
    return snapshot.is_dir() and is_adapter({path.name for path in snapshot.iterdir()})


def require_checkpoint(snapshot: Path, repository: str, *, allow_pickle: bool) -> None:
    """Require of the files of a snapshot what a load requires of them; a hash says only that they are the author's.

    Raises NoWeights, UnsafeWeights, UnsupportedAdapter, InvalidRepository and OSError.
    """
    if holds_adapter(snapshot):
        read_adapter(snapshot, repository)
        return
    try:
        config = read_config_inside(snapshot, repository)
    except FileNotFoundError:
        config = {}
    quantized = read_config(config).quantization_method is not None
    read_checkpoint(snapshot, allow_pickle=allow_pickle, quantized=quantized, repository=repository)


def list_importable(folder: Path, rules: PathRules) -> dict[str, FoundFile]:
    """Return the files of a folder that a download would have fetched, by name.

    Raises PathNotAllowed, InvalidRequest, NoWeights, UnsupportedAdapter.
    """
    found = rules.list_folder(folder)
    plan = plan_files(hub_files(found), index=index_of(found, str(folder)))
    plan.require_weights(str(folder), allow_pickle=False)
    if "config.json" not in found and not plan.is_adapter:
        raise NoWeights(f"{folder} has no config.json.", hint="Choose a folder made by save_pretrained or a snapshot.")
    for file in plan.fetched:
        if problem := path_problem(file.path):
            raise InvalidRequest(
                f"{file.path!a} in {folder} cannot be a file of a model: {problem}.",
                hint="Rename the file, or remove it from the folder.",
            )
    require_content(found, plan, str(folder))
    return {file.path: found[file.path] for file in plan.fetched}


def commit_of(files: Mapping[str, FoundFile]) -> str:
    """Return a name for a folder's state: git-like, from names, sizes and times of change."""
    digest = hashlib.sha1(usedforsecurity=False)
    for name, file in files.items():
        digest.update(f"{name}\0{file.status.st_size}\0{file.status.st_mtime_ns}\0".encode())
    return digest.hexdigest()
