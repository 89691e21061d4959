"""Headers of GGUF files, checked against the files they are in.

A file is `GGUF`, a version, the numbers of tensors and of keys, the keys with their values, the descriptions of the
tensors, and the tensors at the offsets these name, counted from the next multiple of the alignment.

Nothing in a header is believed before it is checked: it may come from anybody. Values of arrays are passed over, not
kept. The library `gguf` reads a header only after this module did.
"""

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO, Literal

from modelyard.core.config_limits import MAX_LAYERS
from modelyard.core.errors import NoWeights
from modelyard.core.units import size

MAGIC = b"GGUF"
VERSIONS = (2, 3)
FIRST_READ_BYTES = 2**18
MAX_HEADER_BYTES = 2**26
"""A vocabulary of 260,000 tokens with its merges takes about 16 MB."""
MAX_KEYS = 10_000
MAX_TENSORS = 100_000
MAX_ELEMENTS = 2_000_000
"""Of all arrays together: a vocabulary of 260,000 tokens with scores, types and merges has 1,300,000. The library
`gguf` takes 700 bytes of memory and 10 microseconds for each of them."""
MAX_ELEMENT_BYTES = 4096
"""Of a text in an array: a token is much shorter, and transformers' reader tries every place to cut it in two."""
MAX_NAME_BYTES = 512
MAX_KEPT_BYTES = 2**20
"""Of one text; a chat template has 20 kB at most."""
MAX_DIMENSIONS = 4
DEFAULT_ALIGNMENT = 32

DenseDtype = Literal["bfloat16", "float16", "float32"]
Read = Callable[[int, int], bytes]
"""Bytes from one position of a file to another, the second exclusive."""

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_LENGTH = struct.Struct("<Q")

# Number → name, elements of a block, bytes of a block.
_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip
TYPE_NUMBERS = {name: number for number, (name, _, _) in _TYPES.items()}
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
    40: "Q1_0",
}  # fmt: skip
_LAYERS = ".block_count"
_GUESSED = 1024
"""Added to a file type that was not written but concluded."""
_DENSE: dict[str, DenseDtype] = {"F32": "float32", "F64": "float32", "F16": "float16", "BF16": "bfloat16"}
_WIDTHS: dict[DenseDtype, int] = {"float32": 4, "float16": 2, "bfloat16": 2}
_NO_PARAMETERS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
"""Tensors that a configuration describes elsewhere."""

_DAMAGED_HINT = "Download the file again, or choose another one."


@dataclass(frozen=True)
class GgufTensor:
    """`shape` is in torch's order, `start` counts from the beginning of the tensors; bytes."""

    name: str
    type: str
    shape: tuple[int, ...]
    start: int
    bytes: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class GgufHeader:
    """`values` holds scalars and texts, and of an array how many elements it has, as `ArrayLength`.

    `spans` are where keys with their values lie in the file, for whoever copies them; `data_start` is where the tensors
    begin.
    """

    values: Mapping[str, "Value"]
    spans: Mapping[str, tuple[int, int]]
    tensors: tuple[GgufTensor, ...]
    data_start: int

    @property
    def architecture(self) -> str | None:
        return self.text("general.architecture")

    @property
    def context_length(self) -> int | None:
        return self.number(f"{self.architecture}.context_length")

    @property
    def rope_scaling(self) -> str | None:
        """What scales the position embeddings, as its keys and tensors say; Llama 3's factors are no such thing."""
        named = self.text(f"{self.architecture}.rope.scaling.type")
        if named not in (None, "none"):
            return named
        return "longrope" if any(tensor.name.startswith("rope_factors_") for tensor in self.tensors) else None

    @property
    def has_tokenizer(self) -> bool:
        return isinstance(self.values.get("tokenizer.ggml.tokens"), ArrayLength)

    @property
    def has_chat_template(self) -> bool:
        return bool(self.text("tokenizer.chat_template"))

    @property
    def split_count(self) -> int:
        """Of how many files this one is a part."""
        return self.number("split.count") or 1

    @cached_property
    def num_parameters(self) -> int:
        return sum(tensor.elements for tensor in self.tensors if tensor.name not in _NO_PARAMETERS)

    @cached_property
    def quantization_type(self) -> str:
        """What the file says it is, such as Q4_K_M; else the type of most of its elements."""
        number = self.number("general.file_type")
        named = None if number is None else _FILE_TYPES.get(number & ~_GUESSED)
        return named or self._most_common

    @property
    def dense_dtype(self) -> DenseDtype:
        """The dtype its weights are unpacked to: as most of them are stored, and bfloat16 for packed ones."""
        return _DENSE.get(self._most_common, "bfloat16")

    @property
    def dense_bytes(self) -> int:
        """What the parameters take when they are unpacked."""
        return self.num_parameters * _WIDTHS[self.dense_dtype]

    @cached_property
    def _most_common(self) -> str:
        elements: dict[str, int] = {}
        for tensor in self.tensors:
            elements[tensor.type] = elements.get(tensor.type, 0) + tensor.elements
        return max(elements, key=lambda name: elements[name], default="F32")

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        return value if isinstance(value, str) else None

    def number(self, key: str) -> int | None:
        value = self.values.get(key)
        plain = isinstance(value, int) and not isinstance(value, (bool, ArrayLength))
        return int(value) if plain and 0 <= value < 2**53 else None  # type: ignore[arg-type, operator]


class ArrayLength(int):
    """How many elements an array has; they are not kept."""


Value = int | float | bool | str | ArrayLength


def is_gguf(start: bytes) -> bool:
    """Return whether the first four bytes of a file are those of a GGUF file."""
    return start[:4] == MAGIC


def read_gguf(file: BinaryIO, size_bytes: int, name: str, repository: str) -> GgufHeader:
    """Read the header of an open file, as `read_header` does."""

    def read(start: int, stop: int) -> bytes:
        file.seek(start)
        content = bytearray()
        while len(content) < stop - start and (chunk := file.read(stop - start - len(content))):
            content += chunk
        return bytes(content)

    return read_header(read, size_bytes, name, repository)


def read_header(read: Read, size_bytes: int, name: str, repository: str) -> GgufHeader:
    """Read only as much of a file as its header takes, MAX_HEADER_BYTES at most.

    Raises NoWeights for what is no GGUF file, damaged, cut short, or beyond the limits of this module; and what `read`
    raises.
    """
    where = f"{name} of {repository}"
    buffer, wanted = b"", FIRST_READ_BYTES
    while True:
        wanted = min(wanted, size_bytes, MAX_HEADER_BYTES)
        buffer += read(len(buffer), wanted)
        if len(buffer) < wanted:
            raise NoWeights(f"{where} is cut short.", hint=_DAMAGED_HINT)
        try:
            return _Parser(buffer, size_bytes, where).header()
        except _TooShort:
            if wanted == size_bytes:
                raise NoWeights(f"{where} is cut short: it ends within its header.", hint=_DAMAGED_HINT) from None
            if wanted == MAX_HEADER_BYTES:
                raise NoWeights(
                    f"{where} has a header of more than {size(MAX_HEADER_BYTES)}.", hint=_DAMAGED_HINT
                ) from None
        wanted *= 4


class _TooShort(Exception):
    """More of the file is needed."""


class _Parser:
    """Goes through the first bytes of a file once."""

    def __init__(self, buffer: bytes, size_bytes: int, where: str) -> None:
        self._buffer, self._position = buffer, 0
        self._size_bytes, self._where = size_bytes, where
        self._elements = 0

    def header(self) -> GgufHeader:
        if not is_gguf(self._take(4)):
            raise NoWeights(f"{self._where} is no GGUF file.", hint=_DAMAGED_HINT)
        version = self._scalar("<I")
        if version not in VERSIONS:
            known = " or ".join(map(str, VERSIONS))
            raise NoWeights(
                f"{self._where} is a GGUF file of version {version}; version {known} in little-endian order is read.",
                hint="Convert it again with a current llama.cpp, or choose another file.",
            )
        tensors = self._count(self._scalar("<Q"), MAX_TENSORS, "tensors")
        keys = self._count(self._scalar("<Q"), MAX_KEYS, "keys")
        values: dict[str, Value] = {}
        spans: dict[str, tuple[int, int]] = {}
        for _ in range(keys):
            start = self._position
            key = self._name()
            if key in values:
                raise self._nonsense(f"names the key {ascii(key)[:100]} twice")
            values[key] = self._value(key)
            spans[key] = start, self._position
            if key.endswith(_LAYERS):
                self._require_layers(values[key])
        alignment = values.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or not 8 <= alignment <= 2**16 or alignment & (alignment - 1):
            raise self._nonsense("names an alignment that is no power of two")
        described = [self._tensor(alignment) for _ in range(tensors)]
        data_start = -(-self._position // alignment) * alignment
        self._require_whole(described, data_start)
        return GgufHeader(values, spans, tuple(described), data_start)

    def _require_layers(self, value: "Value") -> None:
        """An array of one number counts as that number for transformers' reader, and its values are not kept here."""
        if not isinstance(value, int) or isinstance(value, ArrayLength) or not 0 <= value <= MAX_LAYERS:
            shown = "an array" if isinstance(value, ArrayLength) else ascii(value)[:100]
            raise self._nonsense(f"names {shown} as its number of layers, where a model has {MAX_LAYERS:,} at most")

    def _value(self, key: str) -> Value:
        kind = self._scalar("<I")
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            return self._scalar(self._format(kind, key))
        kind, length = self._scalar("<I"), self._scalar("<Q")
        self._elements = self._count(self._elements + length, MAX_ELEMENTS, f"elements in its arrays up to {key!a}")
        if kind == _STRING:
            self._pass_texts(length)
        else:
            self._pass(length * struct.calcsize(self._format(kind, key)))
        return ArrayLength(length)

    def _format(self, kind: int, key: str) -> str:
        if kind not in _SCALARS:
            raise self._nonsense(f"gives the key {ascii(key)[:100]} a type ({kind}) that is not read")
        return _SCALARS[kind]

    def _tensor(self, alignment: int) -> GgufTensor:
        name = self._name()
        dimensions = self._count(self._scalar("<I"), MAX_DIMENSIONS, f"dimensions of {name!a}")
        shape = tuple(self._scalar("<Q") for _ in range(dimensions))
        number, start = self._scalar("<I"), self._scalar("<Q")
        if number not in _TYPES:
            raise NoWeights(
                f"{self._where} stores {ascii(name)[:100]} in a type ({number}) that is not known here.",
                hint="Choose another quantization type.",
            )
        kind, elements, width = _TYPES[number]
        total = math.prod(shape)
        if total >= 2**53 or (shape and shape[0] % elements) or start % alignment:
            raise self._nonsense(f"describes {ascii(name)[:100]} in a way that makes no sense")
        return GgufTensor(name, kind, shape[::-1], start, total // elements * width)

    def _require_whole(self, tensors: list[GgufTensor], data_start: int) -> None:
        end = 0
        names = set()
        for tensor in sorted(tensors, key=lambda tensor: tensor.start):
            if tensor.start < end or tensor.name in names:
                raise self._nonsense("describes tensors that overlap, or one twice")
            names.add(tensor.name)
            end = tensor.start + tensor.bytes
        if data_start + end > self._size_bytes and tensors:
            raise NoWeights(
                f"{self._where} is cut short: it has {self._size_bytes} bytes, where its header describes"
                f" {data_start + end}.",
                hint=_DAMAGED_HINT,
            )

    def _name(self) -> str:
        return self._text(MAX_NAME_BYTES)

    def _text(self, limit_bytes: int = MAX_KEPT_BYTES) -> str:
        length = self._count(self._scalar("<Q"), limit_bytes, "bytes in a text")
        return self._take(length).decode(errors="replace")

    def _pass_texts(self, count: int) -> None:
        buffer, position, unpack = self._buffer, self._position, _LENGTH.unpack_from
        end = len(buffer) - 8
        for _ in range(count):
            if position > end:
                raise _TooShort
            (length,) = unpack(buffer, position)
            if length > MAX_ELEMENT_BYTES:
                raise self._nonsense(f"has a text of {length} bytes in an array")
            position += 8 + length
        self._position = position
        self._pass(0)

    def _pass(self, count: int) -> None:
        if self._position + count > len(self._buffer):
            raise _TooShort
        self._position += count

    def _take(self, count: int) -> bytes:
        start = self._position
        self._pass(count)
        return self._buffer[start : self._position]

    def _scalar(self, form: str) -> int:
        (value,) = struct.unpack(form, self._take(struct.calcsize(form)))
        return value  # type: ignore[no-any-return]

    def _count(self, count: int, limit: int, what: str) -> int:
        if count > limit:
            raise self._nonsense(f"has {count} {what[:100]}, more than {limit}")
        return count

    def _nonsense(self, what: str) -> NoWeights:
        return NoWeights(f"The header of {self._where} {what}.", hint=_DAMAGED_HINT)
