"""The parts of a split GGUF file written as one: neither transformers nor `gguf` reads parts."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from modelyard.core.errors import NoWeights
from modelyard.core.gguf_header import DEFAULT_ALIGNMENT, MAGIC, TYPE_NUMBERS, GgufHeader, GgufTensor

_COPY_BYTES = 2**22
_VERSION = 3
_SPLIT = "split."
_ALIGNMENT = "general.alignment"


def join(parts: Sequence[tuple[BinaryIO, GgufHeader]], target: Path, name: str) -> None:
    """Write the parts, in their order, into one file. Raises NoWeights where they are not those of one model.

    It has the usual alignment: a part may name one that makes 64 kB of each small tensor of the others.
    """
    _require_one_model([header for _, header in parts], name)
    first_file, first = parts[0]
    keys = [span for key, span in first.spans.items() if not key.startswith(_SPLIT) and key != _ALIGNMENT]
    tensors = [(file, header, tensor) for file, header in parts for tensor in header.tensors]
    with target.open("xb") as joined:
        joined.write(MAGIC + struct.pack("<IQQ", _VERSION, len(tensors), len(keys)))
        for start, stop in keys:
            _copy(first_file, start, stop - start, joined)
        begin = 0
        for _, _, tensor in tensors:
            joined.write(_described(tensor, begin))
            begin += _padded(tensor.bytes)
        joined.write(bytes(_padded(joined.tell()) - joined.tell()))
        for file, header, tensor in tensors:
            _copy(file, header.data_start + tensor.start, tensor.bytes, joined)
            joined.write(bytes(_padded(tensor.bytes) - tensor.bytes))


def _require_one_model(headers: Sequence[GgufHeader], name: str) -> None:
    expected = headers[0].number("split.tensors.count")
    found = sum(len(header.tensors) for header in headers)
    numbers = [header.number("split.no") for header in headers]
    names = {tensor.name for header in headers for tensor in header.tensors}
    if numbers != list(range(len(headers))) or expected != found or len(names) != found:
        raise NoWeights(
            f"The parts of {name} do not belong together: they hold {found} tensors, where {expected} are announced.",
            hint="Download every part again, from one revision.",
        )


def _described(tensor: GgufTensor, begin: int) -> bytes:
    written = tensor.name.encode()
    shape = tensor.shape[::-1]
    dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    head = struct.pack("<Q", len(written)) + written + dimensions
    return head + struct.pack("<IQ", TYPE_NUMBERS[tensor.type], begin)


def _copy(source: BinaryIO, start: int, count: int, target: BinaryIO) -> None:
    source.seek(start)
    while count:
        chunk = source.read(min(count, _COPY_BYTES))
        if not chunk:
            raise NoWeights("A part of the model became shorter while it was read.", hint="Try again.")
        target.write(chunk)
        count -= len(chunk)


def _padded(count: int) -> int:
    return -(-count // DEFAULT_ALIGNMENT) * DEFAULT_ALIGNMENT
