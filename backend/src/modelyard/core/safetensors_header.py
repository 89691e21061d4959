"""Headers of safetensors files, checked against the files they are in.

A file is eight bytes with the length of the header, the header in JSON, and the tensors at the offsets it names.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from modelyard.core.errors import InvalidRepository, NoWeights
from modelyard.core.repository_json import parse_object

MAX_HEADER_BYTES = 100_000_000
"""The library's own limit."""

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
MAX_POINTER_BYTES = 1024
"""git-lfs's own limit of a pointer."""

QUANTIZATION_FILE = "hf_quant_config.json"
"""Where TensorRT's Model Optimizer says how it quantized a checkpoint; transformers does not read it."""

_DAMAGED_HINT = "Download the file again, or choose another revision."
_SCALES = (
    "weight_scale", "weight_scale_inv", "weight_scales", "weight_scale_2", "scale", "scales", "scale_weight",
    "input_scale", "SCB",
)  # fmt: skip


@dataclass(frozen=True)
class StoredTensor:
    dtype: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def elements(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count


def read_header(path: Path, repository: str, name: str | None = None) -> dict[str, StoredTensor]:
    """The tensors of a file, by name. Raises NoWeights for one that is cut short or no safetensors file, and OSError.

    `name` is what the file is called in messages, its own name if None.
    """
    with path.open("rb") as file:
        return parse_header(file, path.stat().st_size, name or path.name, repository)


def parse_header(file: BinaryIO, size_bytes: int, name: str, repository: str) -> dict[str, StoredTensor]:
    """Parse as `read_header` does, for an open file that stands at its beginning."""
    start = file.read(8)
    if is_lfs_pointer(start + file.read(len(LFS_POINTER) - 8), size_bytes):
        raise pointer_error(name, repository)
    length = int.from_bytes(start, "little")
    if size_bytes < 8 or length > min(size_bytes - 8, MAX_HEADER_BYTES):
        raise NoWeights(f"{name} of {repository} is damaged or cut short.", hint=_DAMAGED_HINT)
    file.seek(8)
    try:
        content = parse_object(file.read(length), name, repository, limit_bytes=MAX_HEADER_BYTES)
    except InvalidRepository as error:
        raise NoWeights(f"The header of {error.message}", hint=_DAMAGED_HINT) from error
    content.pop("__metadata__", None)
    tensors, end = {}, 0
    for key, entry in content.items():
        tensors[key], stop = _tensor(entry, key, name, repository)
        end = max(end, stop)
    if 8 + length + end != size_bytes:
        raise NoWeights(
            f"{name} of {repository} has {size_bytes} bytes, where its header describes {8 + length + end}.",
            hint=_DAMAGED_HINT,
        )
    return tensors


def is_lfs_pointer(start: bytes, size_bytes: int) -> bool:
    """Return whether a file is git-lfs's note of where the content is, told by its first bytes."""
    return size_bytes <= MAX_POINTER_BYTES and start.startswith(LFS_POINTER)


def pointer_error(name: str, repository: str) -> NoWeights:
    return NoWeights(
        f"{name} of {repository} is a git-lfs pointer, not the file itself.",
        hint="Fetch the content with `git lfs pull` in the repository, or download the model.",
    )


def unscaled_tensor(tensors: Iterable[tuple[str, str]]) -> str | None:
    """The first tensor of few bits that has a scale beside it, of (name, dtype) pairs.

    Without a quantization_config, transformers ignores the scales, and such weights come out wrong.
    """
    dtypes = dict(tensors)
    for name, dtype in dtypes.items():
        if not dtype.startswith(("F8_", "F4", "F6_", "I8", "U8", "I4", "U4")):
            continue
        stem, _, last = name.rpartition(".")
        if last in _SCALES or "scale" in last:
            continue
        names = [f"{stem}.{scale}" for scale in _SCALES] + [f"{name}_{end}" for end in ("scale", "scale_inv", "scales")]
        if any(other in dtypes for other in names):
            return name
    return None


def unscaled_message(seen: str) -> str:
    """Say what is wrong with a checkpoint of which `unscaled_tensor` named a tensor, or that has QUANTIZATION_FILE."""
    return (
        f"The weights are quantized ({seen}), but config.json has no quantization_config: transformers would ignore"
        " their scales and compute with wrong weights."
    )


def _tensor(entry: Any, key: str, name: str, repository: str) -> tuple[StoredTensor, int]:
    try:
        begin, end = entry["data_offsets"]
        dtype, shape = entry["dtype"], tuple(entry["shape"])
    except (TypeError, KeyError, ValueError):
        begin, end, dtype, shape = -1, -1, None, ()
    sizes = (begin, end, *shape)
    honest = all(isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**63 for size in sizes)
    if not honest or begin > end or not isinstance(dtype, str):
        raise NoWeights(
            f"The header of {name} of {repository} describes {ascii(key)[:100]} in a way that makes no sense.",
            hint=_DAMAGED_HINT,
        )
    return StoredTensor(dtype, shape, end - begin), end
