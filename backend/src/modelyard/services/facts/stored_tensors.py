"""Whether two tensors of a checkpoint have the same content, told by samples of their bytes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import parse_local_safetensors_file_metadata
from huggingface_hub.errors import SafetensorsParsingError
from huggingface_hub.utils import SafetensorsFileMetadata

SAMPLE_BYTES = 4096
"""Of the beginning, the middle and the end. Matrices that were trained apart differ everywhere."""

ReadRange = Callable[[str, int, int], bytes]
"""The bytes of a file from one offset to another (exclusive)."""


@dataclass(frozen=True)
class _Place:
    path: str
    dtype: str
    start: int
    stop: int


def same_content(headers: Mapping[str, SafetensorsFileMetadata], read: ReadRange, first: str, second: str) -> bool:
    """Compare two tensors by name; `headers` are those of the weight files, by path. Tensors of two dtypes differ."""
    one, other = (_place(headers, read, name) for name in (first, second))
    size = one.stop - one.start
    if one.dtype != other.dtype or other.stop - other.start != size:
        return False
    for offset in sorted({0, max(0, (size - SAMPLE_BYTES) // 2), max(0, size - SAMPLE_BYTES)}):
        length = min(SAMPLE_BYTES, size - offset)
        samples = [read(at.path, at.start + offset, at.start + offset + length) for at in (one, other)]
        if samples[0] != samples[1]:
            return False
    return True


def compare_files(paths: Mapping[str, Path]) -> Callable[[str, str], bool | None]:
    """Return what compares two tensors of weight files on this machine; None where a file cannot be read."""

    def read(path: str, start: int, stop: int) -> bytes:
        with paths[path].open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def same(first: str, second: str) -> bool | None:
        try:
            headers = {name: parse_local_safetensors_file_metadata(path) for name, path in paths.items()}
            return same_content(headers, read, first, second)
        except (OSError, SafetensorsParsingError):
            return None

    return same


def _place(headers: Mapping[str, SafetensorsFileMetadata], read: ReadRange, name: str) -> _Place:
    path, info = next((path, header.tensors[name]) for path, header in headers.items() if name in header.tensors)
    data = 8 + int.from_bytes(read(path, 0, 8), "little")
    start, stop = info.data_offsets
    return _Place(path, info.dtype, data + start, data + stop)
