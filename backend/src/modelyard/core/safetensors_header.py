"""Headers of safetensors files, checked against the files they are in.

A file is eight bytes with the length of the header, the header in JSON, and the tensors at the offsets it names.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from modelyard.core.errors import InvalidRepository, NoWeights
from modelyard.core.repository_json import parse_object
from modelyard.core.units import size

MAX_HEADER_BYTES = 25_000_000
"""The limit of huggingface_hub, which reads headers too. The largest of released models have 1 MB."""

MAX_HEADER_VALUES = 1_500_000
"""Of JSON, about: a tensor has eight or nine. Parsed, even an empty list takes a hundred times its three bytes."""

MAX_DIMENSIONS = 64
"""Of a tensor, as in torch."""

_BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
"""Of an element. Later versions of the library may know more types; their sizes are not checked."""

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
    """A tensor, as the header of a safetensors file describes it."""

    dtype: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


def read_header(path: Path, repository: str, name: str | None = None) -> dict[str, StoredTensor]:
    """Return a file's tensors by name. Raises NoWeights if it is cut short or no safetensors file, and OSError.

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
    if size_bytes >= 8 and MAX_HEADER_BYTES < length <= size_bytes - 8:
        raise NoWeights(f"{name} of {repository} has a header of more than {size(MAX_HEADER_BYTES)}.")
    if size_bytes < 8 or length > size_bytes - 8:
        raise NoWeights(f"{name} of {repository} is damaged or cut short.", hint=_DAMAGED_HINT)
    file.seek(8)
    header = file.read(length)
    if sum(map(header.count, (b",", b"[", b"{"))) > MAX_HEADER_VALUES:
        raise NoWeights(f"{name} of {repository} has a header of more than {MAX_HEADER_VALUES:,} values.")
    try:
        content = parse_object(header, name, repository, limit_bytes=MAX_HEADER_BYTES)
    except InvalidRepository as error:
        raise NoWeights(f"The header of {error.message}", hint=_DAMAGED_HINT) from error
    content.pop("__metadata__", None)
    tensors, spans = {}, []
    for key, entry in content.items():
        tensors[key], span = _tensor(entry, key, name, repository)
        spans.append(span)
    end = max((end for _, end in spans), default=0)
    if 8 + length + end != size_bytes:
        raise NoWeights(
            f"{name} of {repository} has {size_bytes} bytes, where its header describes {8 + length + end}.",
            hint=_DAMAGED_HINT,
        )
    require_no_gaps(spans, name, repository)
    return tensors


def require_no_gaps(spans: Iterable[tuple[int, int]], name: str, repository: str) -> None:
    """Raise NoWeights unless the tensors, each from its first byte to behind its last one, lie side by side."""
    spans = sorted(spans)
    if [begin for begin, _ in spans] != [0, *(end for _, end in spans)][: len(spans)]:
        raise NoWeights(
            f"The tensors that the header of {name} of {repository} describes overlap, or leave gaps.",
            hint=_DAMAGED_HINT,
        )


def is_lfs_pointer(start: bytes, size_bytes: int) -> bool:
    """Return whether a file is git-lfs's note of where the content is, told by its first bytes."""
    return size_bytes <= MAX_POINTER_BYTES and start.startswith(LFS_POINTER)


def pointer_error(name: str, repository: str) -> NoWeights:
    return NoWeights(
        f"{name} of {repository} is a git-lfs pointer, not the file itself.",
        hint="Fetch the content with `git lfs pull` in the repository, or download the model.",
    )


def unscaled_tensor(tensors: Iterable[tuple[str, str]]) -> str | None:
    """Return the first tensor of few bits that has a scale beside it, of (name, dtype) pairs.

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


def _tensor(entry: Any, key: str, name: str, repository: str) -> tuple[StoredTensor, tuple[int, int]]:
    """Return a tensor, and where it begins and ends. Raises NoWeights."""
    try:
        begin, end = entry["data_offsets"]
        dtype, shape = entry["dtype"], tuple(entry["shape"])
    except (TypeError, KeyError, ValueError):
        begin, end, dtype, shape = -1, -1, None, ()
    sizes = (begin, end, *shape)
    honest = len(shape) <= MAX_DIMENSIONS and all(
        isinstance(each, int) and not isinstance(each, bool) and 0 <= each < 2**63 for each in sizes
    )
    tensor = StoredTensor(dtype, shape, end - begin) if honest and isinstance(dtype, str) else None
    if tensor is None or begin > end or not _is_of_its_size(tensor):
        raise NoWeights(
            f"The header of {name} of {repository} describes {ascii(key)[:100]} in a way that makes no sense.",
            hint=_DAMAGED_HINT,
        )
    return tensor, (begin, end)


def _is_of_its_size(tensor: StoredTensor) -> bool:
    bits = _BITS.get(tensor.dtype)
    return bits is None or tensor.elements * bits == tensor.bytes * 8
