"""The peak of a forward pass, against the allocator of a real one."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ml import known_exceptions, measure, zoo
from ml.conftest import TinyModel
from modelyard.ml import activations, meta_model

LLAMA_8B = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "torch_dtype": "bfloat16",
}


@pytest.mark.parametrize("model_type", zoo.cases(without=known_exceptions.NOT_RUNNABLE))
def test_peak_is_within_five_percent_of_the_allocators(tiny_model: TinyModel, model_type: str) -> None:
    peak = measure.activation_peak(tiny_model(model_type))
    near = isinstance(peak, tuple) and abs(peak[0] / peak[1] - 1) <= 0.05

    assert near != (model_type in known_exceptions.ACTIVATIONS), peak


def test_generation_needs_logits_of_one_position_only() -> None:
    skeleton = meta_model.build(LLAMA_8B)
    last = activations.measure_activations(skeleton, batch=1, sequence=1024)
    every = activations.measure_activations(skeleton, batch=1, sequence=1024, all_logits=True)

    assert last.activation_bytes is not None
    assert every.activation_bytes is not None
    assert every.activation_bytes - last.activation_bytes > 100_000_000
    assert last.kv_cache_bytes == 1024 * 131072


def test_memory_is_linear_in_the_batch() -> None:
    skeleton = meta_model.build(LLAMA_8B)
    one, two = (activations.measure_activations(skeleton, batch=batch, sequence=512) for batch in (1, 2))

    assert one.activation_bytes is not None
    assert two.activation_bytes is not None
    assert abs(two.activation_bytes / one.activation_bytes - 2) < 0.02


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama whose MLP is what takes most."""
    config = LlamaConfig(
        hidden_size=512,
        intermediate_size=2048,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=8,
        vocab_size=320,
    )
    config.dtype = torch.bfloat16
    folder = tmp_path_factory.mktemp("wide")
    LlamaForCausalLM._from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


# Few tokens in 4bit: the CPU's bfloat16 product has a workspace of its own that grows with them.
@pytest.mark.parametrize(("quantization", "sequence"), [("8bit", 32), ("8bit", 300), ("4bit", 1), ("4bit", 4)])
def test_peak_of_quantized_products(wide_model: Path, quantization: str, sequence: int) -> None:
    estimated, measured = measure.quantized_peak(wide_model, quantization, sequence)

    assert abs(estimated / measured - 1) <= 0.05


@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
def test_a_checkpoint_that_is_quantized_already_needs_as_much_as_one_quantized_on_loading(quantization: str) -> None:
    small = LLAMA_8B | {"num_hidden_layers": 2, "vocab_size": 1000}
    section = {"quant_method": "bitsandbytes", f"load_in_{quantization}": True}
    on_loading = activations.measure_activations(
        meta_model.build(small), batch=1, sequence=8, quantizations=("8bit", "4bit")
    )
    stored = activations.measure_activations(
        meta_model.build(small | {"quantization_config": section}), batch=1, sequence=8
    )

    assert stored.activation_bytes == on_loading.quantized_bytes[quantization]
    assert on_loading.activation_bytes is not None
    assert stored.activation_bytes is not None
    assert stored.activation_bytes > on_loading.activation_bytes


def test_an_expert_that_is_unpacked_is_counted() -> None:
    config = zoo.tiny_config("mixtral").to_dict()
    found = activations.measure_activations(
        meta_model.build(config), batch=1, sequence=4, quantizations=("8bit", "4bit")
    )

    assert found.activation_bytes is not None
    one_expert = 2 * 200 * 128
    assert found.quantized_bytes["4bit"] >= found.activation_bytes + 2 * one_expert
