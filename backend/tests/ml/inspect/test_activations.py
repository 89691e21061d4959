"""The peak of a forward pass, against the allocator of a real one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from bitsandbytes.functional import has_avx512bf16
from transformers import LlamaConfig, LlamaForCausalLM

from ml import known_exceptions, measure, older_processor, zoo
from ml.conftest import TinyModel
from modelyard.ml.inspect import activations, meta_model
from modelyard.ml.loading.cpu_kernels import CpuKernels, cpu_kernels
from modelyard.ml.loading.devices import accelerators

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
PRODUCTS = ("8bit:32", "8bit:300", "4bit:1", "4bit:4")


@pytest.mark.parametrize("product", PRODUCTS)
def test_peak_of_quantized_products(wide_model: Path, product: str) -> None:
    quantization, sequence = product.split(":")
    estimated, measured = measure.quantized_peak(wide_model, quantization, int(sequence))

    assert abs(estimated / measured - 1) <= 0.05


def test_peak_of_quantized_products_on_an_older_processor(wide_model: Path, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    subprocess.run(
        [sys.executable, "-m", older_processor.__name__, wide_model, result, *PRODUCTS],
        check=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | older_processor.ENVIRONMENT,
    )
    found = json.loads(result.read_text())

    assert found["kernels"] == {"int8_products": False, "packed_4bit_products": False}
    assert found["peaks"].keys() == set(PRODUCTS)
    for estimated, measured in found["peaks"].values():
        assert abs(estimated / measured - 1) <= 0.05


def test_the_kernels_are_those_that_bitsandbytes_chooses() -> None:
    kernels = cpu_kernels()
    has_int8_products = torch._C._dispatch_has_kernel_for_dispatch_key("bitsandbytes::int8_linear_matmul", "CPU")

    assert kernels.int8_products == has_int8_products
    if not accelerators():
        assert kernels.packed_4bit_products == bool(has_avx512bf16())


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


@pytest.mark.parametrize("int8_products", [True, False])
@pytest.mark.parametrize("packed_4bit_products", [True, False])
def test_kernels_change_the_figures_of_their_own_precision_only(
    int8_products: bool, packed_4bit_products: bool
) -> None:
    skeleton = meta_model.build(LLAMA_8B | {"num_hidden_layers": 2})
    oldest, found = (
        activations.measure_activations(skeleton, batch=1, sequence=8, quantizations=("8bit", "4bit"), kernels=kernels)
        for kernels in (CpuKernels(False, False), CpuKernels(int8_products, packed_4bit_products))
    )
    assert found.activation_bytes == oldest.activation_bytes
    matrix = 14336 * 4096
    saved_in_8bit = oldest.quantized_bytes["8bit"] - found.quantized_bytes["8bit"]
    added_in_4bit = found.quantized_bytes["4bit"] - oldest.quantized_bytes["4bit"]
    # One matrix in float32; the room for repacking one instead of that for unpacking it.
    assert saved_in_8bit == pytest.approx(4 * matrix if int8_products else 0, rel=0.05)
    assert added_in_4bit == pytest.approx(5 * matrix if packed_4bit_products else 0, rel=0.05)


def test_an_expert_that_is_unpacked_is_counted() -> None:
    config = zoo.tiny_config("mixtral").to_dict()
    found = activations.measure_activations(
        meta_model.build(config), batch=1, sequence=4, quantizations=("8bit", "4bit")
    )

    assert found.activation_bytes is not None
    one_expert = 2 * 200 * 128
    assert found.quantized_bytes["4bit"] >= found.activation_bytes + 2 * one_expert
