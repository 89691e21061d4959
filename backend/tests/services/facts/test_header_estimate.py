"""Figures from weight headers, against what bitsandbytes really stores."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.services.facts.header_estimate import (
    Tensor,
    checkpoint_dtype,
    first_dtype,
    is_linear,
    kv_cache_segments,
    quantized_bytes,
    weight_figures,
)
from support import programs

SHAPES = [(64, 64), (1, 64), (7, 64), (96, 100), (33, 129), (256, 512), (1000, 3), (640, 2048)]
_MEASURE = """
import json, sys, torch, bitsandbytes as bnb

def storages(tensors):
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())

measured = []
for rows, columns in json.loads(sys.argv[1]):
    plain = torch.nn.Linear(columns, rows, bias=False)
    eight = bnb.nn.Linear8bitLt(columns, rows, bias=False, has_fp16_weights=False)
    eight.load_state_dict(plain.state_dict())
    eight = eight.to("cpu")
    four = bnb.nn.Linear4bit(
        columns, rows, bias=False, compute_dtype=torch.bfloat16, compress_statistics=True, quant_type="nf4"
    )
    four.load_state_dict(plain.state_dict())
    four = four.to("cpu")
    state = four.weight.quant_state
    parts = [state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code]
    measured.append(
        {
            "8bit": [storages([eight.weight.data]), storages([eight.weight.SCB])],
            "4bit": [storages([four.weight.data]), storages(parts)],
        }
    )
print(json.dumps(measured))
"""


@pytest.fixture(scope="session")
def measured() -> list[dict[str, list[int]]]:
    """Bytes of weight and state for each of SHAPES, quantized for real on the CPU."""
    answer = programs.run(
        [sys.executable, "-c", _MEASURE, json.dumps(SHAPES)],
        check=True,
        capture_output=True,
        libraries=True,
    )
    found: list[dict[str, list[int]]] = json.loads(answer.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_one_matrix_to_the_byte(measured: list[dict[str, list[int]]], quantization: str) -> None:
    for shape, real in zip(SHAPES, measured, strict=True):
        assert list(quantized_bytes(Tensor("x.weight", "F32", shape), quantization)) == real[quantization], shape


LLAMA = [
    Tensor("model.embed_tokens.weight", "BF16", (1000, 64)),
    Tensor("model.layers.0.self_attn.q_proj.weight", "BF16", (64, 64)),
    Tensor("model.layers.0.self_attn.q_proj.bias", "BF16", (64,)),
    Tensor("model.layers.0.mlp.down_proj.weight", "BF16", (64, 128)),
    Tensor("model.layers.0.input_layernorm.weight", "BF16", (64,)),
    Tensor("model.norm.weight", "BF16", (64,)),
    Tensor("lm_head.weight", "BF16", (1000, 64)),
]


@pytest.mark.parametrize(("dtype", "width"), [("bfloat16", 2), ("float16", 2), ("float32", 4)])
def test_unquantized_is_elements_times_width(dtype: str, width: int) -> None:
    figures = weight_figures(LLAMA, "none", dtype)
    elements = sum(tensor.elements for tensor in LLAMA)
    assert (figures.weights_bytes, figures.quantization_state_bytes) == (elements * width, 0)
    assert figures.quantized_fraction == 0


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_only_linear_layers_are_quantized(quantization: str) -> None:
    figures = weight_figures(LLAMA, quantization, "bfloat16")
    linear = [tensor for tensor in LLAMA if "_proj.weight" in tensor.name]
    assert [tensor for tensor in LLAMA if is_linear(tensor)] == linear
    kept = sum(tensor.elements for tensor in LLAMA if tensor not in linear) * 2
    quantized = [quantized_bytes(tensor, quantization) for tensor in linear]
    assert figures.weights_bytes == kept + sum(sum(pair) for pair in quantized)
    assert figures.quantization_state_bytes == sum(state for _weight, state in quantized)
    assert 0 < figures.quantized_fraction < 1


@pytest.mark.parametrize(
    "name",
    [
        "transformer.wte.weight",
        "transformer.wpe.weight",
        "lm_head.weight",
        "embed_out.weight",
        "model.embed_tokens.weight",
        "model.layers.0.mlp.experts.3.gate_proj.weight",
        "model.norm.weight",
        "transformer.h.0.ln_1.weight",
        "backbone.layers.0.mixer.conv1d.weight",
    ],
)
def test_what_stays_as_it_is(name: str) -> None:
    assert not is_linear(Tensor(name, "F16", (64, 64)))


def test_integers_are_not_converted() -> None:
    tensors = [Tensor("model.position_ids", "I64", (1, 512)), Tensor("h.0.attn.bias", "BOOL", (1, 1, 8, 8))]
    for quantization in ("none", "8bit", "4bit"):
        assert weight_figures(tensors, quantization, "float16").weights_bytes == 512 * 8 + 64


def test_dtype_of_a_checkpoint() -> None:
    mixed = [Tensor("a", "F32", (10,)), Tensor("b", "BF16", (1000,)), Tensor("c", "I64", (20,))]
    assert checkpoint_dtype(mixed) == "bfloat16"
    assert first_dtype(mixed) == "float32"
    packed = [Tensor("experts_blocks", "U8", (9000,)), Tensor("norm", "BF16", (10,))]
    assert checkpoint_dtype(packed) == "bfloat16"
    assert checkpoint_dtype([]) is None
    assert first_dtype([Tensor("c", "I64", (20,))]) is None
    assert checkpoint_dtype([Tensor("a", "F8_E4M3", (10,))]) is None


def test_cache_of_plain_attention() -> None:
    dimensions = {"num_layers": 16, "num_key_value_heads": 8, "head_dim": 64}
    (segment,) = kv_cache_segments(dimensions, {}, "bfloat16")
    assert (segment.from_tokens, segment.bytes_at_from, segment.bytes_per_token) == (0, 0, 32768)
    plain = {"layer_types": ["full_attention"] * 16, "sliding_window": 32768, "use_sliding_window": False}
    assert kv_cache_segments(dimensions, plain, "bfloat16") == [segment]
    assert kv_cache_segments(dimensions | {"head_dim": None}, {}, "bfloat16") == []


@pytest.mark.parametrize(
    "config",
    [
        {"sliding_window": 4096},
        {"layer_types": ["full_attention", "sliding_attention"]},
        {"layers_block_type": ["mamba", "attention"]},
        {"kv_lora_rank": 512},
        {"state_size": 16},
        {"text_config": {"num_hidden_layers": 16, "sliding_window": 512}},
    ],
)
def test_no_figure_for_a_cache_that_is_not_plain(config: dict[str, object]) -> None:
    dimensions = {"num_layers": 16, "num_key_value_heads": 8, "head_dim": 64}
    assert kv_cache_segments(dimensions, config, "bfloat16") == []


@given(st.lists(st.integers(1, 200), min_size=0, max_size=4), st.sampled_from(["8bit", "4bit"]))
def test_quantizing_a_large_matrix_saves_memory(shape: list[int], quantization: str) -> None:
    tensor = Tensor("model.layers.0.x.weight", "F32", tuple(shape))
    plain = weight_figures([tensor], "none", "float32").weights_bytes
    figures = weight_figures([tensor], quantization, "float32")
    assert figures.quantization_state_bytes <= figures.weights_bytes
    if is_linear(tensor) and tensor.elements > 4096:
        assert figures.weights_bytes < plain
