"""What the headers of GGUF files say, and that no header does harm."""

import io
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.core import gguf_header
from modelyard.core.errors import NoWeights
from modelyard.core.gguf_header import GgufHeader, read_gguf, read_header

TOKENS = 40


def _write(path: Path, *, weights: str = "Q8_0", more: Callable[[gguf.GGUFWriter], None] | None = None) -> bytes:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(4096)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"token{number}" for number in range(TOKENS)])
    writer.add_token_scores([0.5] * TOKENS)
    writer.add_chat_template("{{ messages }}")
    if more is not None:
        more(writer)
    values = np.ones((4, 64), dtype=np.float32)
    kind = gguf.GGMLQuantizationType[weights]
    writer.add_tensor("token_embd.weight", gguf.quantize(values, kind), raw_dtype=kind)
    writer.add_tensor("output_norm.weight", np.ones(64, dtype=np.float32))
    writer.add_tensor("rope_freqs.weight", np.ones(16, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def _read(content: bytes) -> GgufHeader:
    return read_gguf(io.BytesIO(content), len(content), "m.gguf", "owner/name")


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return _write(tmp_path_factory.mktemp("gguf") / "m.gguf")


def test_a_header_tells_what_the_file_holds(content: bytes) -> None:
    header = _read(content)

    assert (header.architecture, header.quantization_type, header.context_length) == ("llama", "Q4_K_M", 4096)
    assert header.has_tokenizer
    assert header.has_chat_template
    assert header.values["tokenizer.ggml.tokens"] == TOKENS
    assert [(tensor.name, tensor.type, tensor.shape) for tensor in header.tensors] == [
        ("token_embd.weight", "Q8_0", (4, 64)),
        ("output_norm.weight", "F32", (64,)),
        ("rope_freqs.weight", "F32", (16,)),
    ]
    assert header.num_parameters == 4 * 64 + 64
    assert (header.dense_dtype, header.dense_bytes) == ("bfloat16", 2 * (4 * 64 + 64))


@pytest.mark.parametrize(("weights", "dtype"), [("F32", "float32"), ("F16", "float16"), ("BF16", "bfloat16")])
def test_weights_that_are_not_packed_keep_their_dtype(tmp_path: Path, weights: str, dtype: str) -> None:
    assert _read(_write(tmp_path / "m.gguf", weights=weights)).dense_dtype == dtype


def test_types_and_sizes_are_those_of_the_library() -> None:
    known = {kind.value: (kind.name, *gguf.GGML_QUANT_SIZES[kind]) for kind in gguf.GGMLQuantizationType}
    assert known == gguf_header._TYPES
    assert {
        kind.value: kind.name.removeprefix("MOSTLY_").removeprefix("ALL_")
        for kind in gguf.LlamaFileType
        if kind.name != "GUESSED"
    } == gguf_header._FILE_TYPES


def test_only_the_header_is_read(tmp_path: Path) -> None:
    """Also one that is longer than the first read."""
    long = "x" * 300

    def many_tokens(writer: gguf.GGUFWriter) -> None:
        writer.add_array("tokenizer.ggml.merges", [long] * 2000)

    content = _write(tmp_path / "m.gguf", more=many_tokens)
    asked = []

    def read(start: int, stop: int) -> bytes:
        asked.append((start, stop))
        return content[start:stop].ljust(stop - start, b"\0")

    header = read_header(read, len(content) + 2**30, "m.gguf", "owner/name")
    assert header.values["tokenizer.ggml.merges"] == 2000
    first = gguf_header.FIRST_READ_BYTES
    assert asked == [(0, first), (first, 4 * first)]


def _with(content: bytes, at: int, form: str, value: float) -> bytes:
    changed = bytearray(content)
    struct.pack_into(form, changed, at, value)
    return bytes(changed)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda _content: b"", "cut short"),
        (lambda content: b"GGML" + content[4:], "no GGUF file"),
        (lambda content: _with(content, 4, "<I", 1), "version 1"),
        (lambda content: _with(content, 4, ">I", 3), "little-endian"),
        (lambda content: _with(content, 8, "<Q", 2**63), "tensors, more than"),
        (lambda content: _with(content, 16, "<Q", 2**40), "keys, more than"),
        (lambda content: _with(content, 24, "<Q", 2**62), "bytes in a text, more than"),
        (lambda content: content[: len(content) // 4], "within its header"),
        (lambda content: content[:-64], "header describes"),
        (lambda content: content.replace(b"llama.context_length", b"general.architecture"), "twice"),
    ],
)
def test_a_header_that_is_not_true_is_refused(content: bytes, damage: Callable[[bytes], bytes], message: str) -> None:
    with pytest.raises(NoWeights, match=message) as raised:
        _read(damage(content))
    assert raised.value.hint


def test_a_long_array_is_refused_before_it_is_passed_over(content: bytes) -> None:
    at = content.index(b"tokenizer.ggml.scores") + len(b"tokenizer.ggml.scores") + 8
    with pytest.raises(NoWeights, match=r"elements in its arrays .*, more than"):
        _read(_with(content, at, "<Q", 2**60))


@pytest.mark.parametrize("kind", ["numbers", "texts"])
def test_many_long_arrays_are_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library `gguf` makes 700 bytes of each element: 60 MB of single bytes would take 40 GB."""
    monkeypatch.setattr(gguf_header, "MAX_ELEMENTS", 2000)
    half = 1000

    def arrays(writer: gguf.GGUFWriter) -> None:
        values: list[int] | list[str] = [0] * half if kind == "numbers" else [""] * half
        for name in ("one", "two"):
            writer.add_key_value(name, values, gguf.GGUFValueType.ARRAY, sub_type=_SUB_TYPES[kind])

    with pytest.raises(NoWeights, match=r"elements in its arrays up to 'two', more than"):
        _read(_write(tmp_path / "m.gguf", more=arrays))


_SUB_TYPES = {"numbers": gguf.GGUFValueType.UINT8, "texts": gguf.GGUFValueType.STRING}


def test_a_token_of_many_bytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoWeights, match="text of 5000 bytes in an array"):
        _read(_write(tmp_path / "m.gguf", more=lambda writer: writer.add_token_merges(["x" * 5000])))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (2_000_000_000, gguf.GGUFValueType.UINT32),
        ([2_000_000_000], gguf.GGUFValueType.ARRAY),
        (-1, gguf.GGUFValueType.INT32),
        (1e30, gguf.GGUFValueType.FLOAT32),
        ("2000000000", gguf.GGUFValueType.STRING),
    ],
)
def test_a_number_of_layers_that_no_model_has_is_refused(tmp_path: Path, value: Any, kind: gguf.GGUFValueType) -> None:
    """Configurations make a list of so many entries."""
    content = _write(tmp_path / "m.gguf", more=lambda writer: writer.add_key_value("llama.block_count", value, kind))
    with pytest.raises(NoWeights, match="as its number of layers"):
        _read(content)


def test_an_array_of_arrays_is_refused(content: bytes) -> None:
    at = content.index(b"tokenizer.ggml.scores") + len(b"tokenizer.ggml.scores") + 4
    with pytest.raises(NoWeights, match="is not read"):
        _read(_with(content, at, "<I", 9))


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_no_header_does_harm(content: bytes, data: st.DataObject) -> None:
    """However it is changed, it is read or refused with a reason, and takes no more memory than the file has."""
    changed = bytearray(content[: data.draw(st.integers(0, len(content)), label="length")])
    for _ in range(data.draw(st.integers(0, 8), label="changes") if changed else 0):
        at = data.draw(st.integers(0, len(changed) - 1), label="at")
        value = data.draw(st.one_of(st.integers(0, 255).map(lambda each: bytes([each])), st.binary(max_size=8)))
        changed[at : at + len(value)] = value
    refusal = ""
    tracemalloc.start()
    try:
        header = _read(bytes(changed))
        assert header.dense_bytes >= 0
        assert header.quantization_type
    except NoWeights as error:
        refusal = error.message
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert not refusal or "m.gguf of owner/name" in refusal
    assert peak < 2_000_000
