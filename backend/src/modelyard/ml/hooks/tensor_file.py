"""Safetensors files whose size is known before there is anything in them, written piece by piece."""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from modelyard.core.private_files import open_private
from modelyard.core.storage import sync

_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.int32: "I32"}
Layout = Mapping[str, tuple[torch.dtype, Sequence[int]]]
"""The dtype and the shape of each tensor of a file."""


@dataclass(frozen=True)
class WrittenFile:
    """A file that is complete."""

    name: str
    size_bytes: int
    sha256: str


def file_bytes(layout: Layout) -> int:
    """Return the size of a file with these tensors."""
    return len(_header(layout)) + sum(_bytes(dtype, shape) for dtype, shape in layout.values())


class TensorFile:
    """A file under an unfinished name until `finish`; nothing of it stays where that is not reached."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self._path, self._part = path, path.with_name(f"{path.name}.part")
        header = _header(layout)
        self._at: dict[str, int] = {}
        place = len(header)
        for name, (dtype, shape) in layout.items():
            self._at[name] = place
            place += _bytes(dtype, shape)
        self._ends = {name: self._at[name] + _bytes(*each) for name, each in layout.items()}
        self._file = open_private(self._part, "wb")
        self._file.write(header)
        self._file.truncate(place)

    def append(self, name: str, values: torch.Tensor) -> None:
        """Write the next rows of a tensor."""
        content = values.contiguous().view(torch.uint8).numpy().data
        assert self._at[name] + content.nbytes <= self._ends[name]  # noqa: S101 - as the layout says
        self._file.seek(self._at[name])
        self._file.write(content)
        self._at[name] += content.nbytes

    def finish(self) -> WrittenFile:
        """Give the file its name, once all of it is on the disk."""
        assert self._at == self._ends  # noqa: S101 - every tensor was written
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        with self._part.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = self._part.stat().st_size
        self._part.replace(self._path)
        sync(self._path.parent)
        return WrittenFile(self._path.name, size, digest)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)


def write(path: Path, tensors: Mapping[str, torch.Tensor]) -> WrittenFile:
    """Write a file at once."""
    with TensorFile(path, {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}) as file:
        for name, tensor in tensors.items():
            file.append(name, tensor)
        return file.finish()


def _header(layout: Layout) -> bytes:
    """Return the length of the header and the header, which ends at a multiple of eight bytes."""
    entries, begin = {}, 0
    for name, (dtype, shape) in layout.items():
        end = begin + _bytes(dtype, shape)
        entries[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
        begin = end
    content = json.dumps(entries, separators=(",", ":")).encode()
    content += b" " * (-len(content) % 8)
    return len(content).to_bytes(8, "little") + content


def _bytes(dtype: torch.dtype, shape: Sequence[int]) -> int:
    return math.prod(shape) * dtype.itemsize
