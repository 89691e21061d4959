"""The checkpoint in a folder on the disk, looked at anew each time: what lay there earlier proves nothing."""

from collections.abc import Mapping
from pathlib import Path

from modelyard.core.errors import NoWeights, UnsafeWeights
from modelyard.core.safetensors_header import (
    MAX_POINTER_BYTES,
    QUANTIZATION_FILE,
    StoredTensor,
    is_lfs_pointer,
    pointer_error,
    read_header,
    unscaled_message,
    unscaled_tensor,
)
from modelyard.core.weight_files import MAX_INDEX_BYTES, Index, find_weights, index_to_read, parse_index, weights_form


def weight_files(folder: Path, repository: str | None = None) -> list[Path]:
    """Return the weight files that transformers opens in a folder, pickle files only where there are no others.

    `repository` is what messages call the folder, its own name if None. Raises NoWeights where a file is missing, or
    an index leads out of the folder.
    """
    repository = repository or folder.name
    names = {path.name for path in folder.iterdir() if path.is_file()} if folder.is_dir() else set()
    if weights_form(names) is None:  # to say where they are
        below = (path for depth in ("*", "*/*") for path in folder.glob(f"{depth}/model.safetensors*"))
        names |= {path.relative_to(folder).as_posix() for path in below}
    name = index_to_read(names)
    index = None if name is None else read_index_file(folder / name, repository)
    if index is not None:
        names |= {shard for shard in index.shards if _is_file_below(folder, shard)}
    found = find_weights(names, index)
    if found.problem is not None:
        raise NoWeights(f"{repository}: {found.problem}")
    return [folder / file for file in found.files]


def read_index_file(path: Path, repository: str) -> Index:
    """Return what an index on the disk says. Raises OSError."""
    with path.open("rb") as file:
        return parse_index(file.read(MAX_INDEX_BYTES + 1), path.name, repository)


def read_checkpoint(
    folder: Path, *, allow_pickle: bool, quantized: bool, repository: str | None = None
) -> tuple[list[Path], Mapping[str, StoredTensor]]:
    """Return the weight files of a folder that is to be loaded, and what their headers hold (nothing of pickle files).

    `quantized` says that its configuration tells how its weights are quantized, `repository` is what messages call the
    folder, its own name if None. Raises NoWeights, UnsafeWeights, each before anything is loaded, and OSError.
    """
    repository = repository or folder.name
    files = weight_files(folder, repository)
    if files[0].suffix != ".safetensors":
        if not allow_pickle:
            message = f"The weights of {repository} are pickle files, which can run code when they are read."
            raise UnsafeWeights(message)
        for path in files:
            refuse_pointer(path, repository)
        return files, {}
    tensors: dict[str, StoredTensor] = {}
    for path in files:
        tensors |= read_header(path, repository, path.relative_to(folder).as_posix())
    if not quantized:
        seen = unscaled_tensor((name, tensor.dtype) for name, tensor in tensors.items())
        if seen is None and (folder / QUANTIZATION_FILE).is_file():
            seen = QUANTIZATION_FILE
        if seen is not None:
            raise NoWeights(f"{repository}: {unscaled_message(seen)}", hint="Choose another checkpoint of this model.")
    return files, tensors


def refuse_pointer(path: Path, repository: str, name: str | None = None) -> None:
    """Raise NoWeights for a file that is git-lfs's note of where the content is. Raises OSError."""
    size = path.stat().st_size
    if size > MAX_POINTER_BYTES:
        return
    with path.open("rb") as file:
        if is_lfs_pointer(file.read(MAX_POINTER_BYTES), size):
            raise pointer_error(name or path.name, repository)


def _is_file_below(folder: Path, name: str) -> bool:
    """Return whether a file lies below a folder, and no folder on the way is a link."""
    path = folder / name
    between = path.parents[: len(path.parents) - len(folder.parents) - 1]
    return path.is_file() and not any(parent.is_symlink() for parent in between)
