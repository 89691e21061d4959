"""A trained model, whose figures were measured with plain transformers and bitsandbytes beforehand.

Random weights do not show what these tests look at: activations with outliers, and answers that are not ties.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from modelyard.ml.inspect import memory, meta_model
from modelyard.ml.inspect.architecture import Architecture, inspect_architecture
from modelyard.ml.loading.pretrained import load_model, read_config
from modelyard.ml.quantize import drift
from modelyard.ml.quantize.quantization import measured_bytes
from modelyard.ml.untrusted import Tokenizer
from support.smollm2 import NotAvailable, smollm2

pytestmark = pytest.mark.thorough

PARAMETERS = 134_515_008
BYTES = {"none": 269_030_272, "8bit": 163_484_032, "4bit": 111_692_152}
LAYERS, WIDTH = 30, 576
TOKENS = 540
"""The tokens of all fixed prompts. Figures of fewer differ too much between processors to say anything."""


@pytest.fixture(scope="module")
def folder() -> Path:
    try:
        return smollm2()
    except NotAvailable as reason:
        pytest.skip(f"SmolLM2-135M-Instruct is not available here: {reason}")


@pytest.fixture(scope="module")
def model(folder: Path) -> PreTrainedModel:
    return load_model(folder)


@pytest.fixture(scope="module")
def prompts(folder: Path) -> drift.Prompts:
    with Tokenizer(folder, "SmolLM2-135M-Instruct") as tokenizer:
        return drift.fixed_prompts(tokenizer, 49_152)


@pytest.fixture(scope="module")
def architecture(folder: Path) -> Architecture:
    return inspect_architecture(meta_model.build(read_config(folder)))


def test_parameters_and_bytes_are_exact(folder: Path, model: PreTrainedModel) -> None:
    assert sum(parameter.numel() for parameter in set(model.parameters())) == PARAMETERS
    assert model.dtype == torch.bfloat16
    estimated = memory.estimate_skeleton(meta_model.build(read_config(folder)))
    assert estimated.num_parameters == PARAMETERS
    assert {option.quantization: option.weights_bytes for option in estimated.options} == BYTES
    assert measured_bytes(model) == BYTES["none"]


@pytest.fixture(scope="module")
def seen(folder: Path, architecture: Architecture, prompts: drift.Prompts) -> dict[str, torch.Tensor]:
    """What every hook point puts out in float32 on the first prompt."""
    exact = load_model(folder, dtype="float32")
    found: dict[str, torch.Tensor] = {}

    def keep(path: str) -> Any:
        def note(_module: Any, _args: Any, output: Any) -> None:
            found[path] = (output[0] if isinstance(output, tuple) else output).clone()

        return note

    handles = [
        exact.get_submodule(point.path).register_forward_hook(keep(point.path)) for point in architecture.hook_points
    ]
    with torch.inference_mode():
        exact(prompts.ids[0])
    for handle in handles:
        handle.remove()
    return found


def test_hook_points_put_out_what_they_say(
    architecture: Architecture, seen: dict[str, torch.Tensor], prompts: drift.Prompts
) -> None:
    points = architecture.hook_points
    assert len(points) == 3 * LAYERS + 1
    assert all(point.verified for point in points)
    tokens = prompts.ids[0].shape[1]
    assert {path: tuple(value.shape) for path, value in seen.items()} == {
        point.path: (1, tokens, WIDTH) for point in points
    }


def test_names_are_those_of_transformer_lens(architecture: Architecture) -> None:
    names = {point.path: point.transformer_lens for point in architecture.hook_points}
    expected: dict[str, str | None] = {"model.norm": None}
    for layer in range(LAYERS):
        expected |= {
            f"model.layers.{layer}": f"blocks.{layer}.hook_resid_post",
            f"model.layers.{layer}.self_attn": f"blocks.{layer}.hook_attn_out",
            f"model.layers.{layer}.mlp": f"blocks.{layer}.hook_mlp_out",
        }
    assert names == expected


def test_the_first_token_is_an_outlier(seen: dict[str, torch.Tensor]) -> None:
    norms = seen["model.layers.14"][0].norm(dim=-1)
    assert float(norms[0]) == pytest.approx(22_700, rel=0.05)
    assert float(norms[1:].median()) == pytest.approx(155, rel=0.05)


DRIFT = {"8bit": {0.0284: 0.921, 0.0467: 0.900}, "4bit": {0.386: 0.73}}
"""Mean KL divergence in nats, and with it the share of positions with the same likeliest token.

In 8-bit, processors give one of two answers: AVX2 alone (0.0280, 0.922) and AMX (0.0287, 0.920) the first, AVX-512 the
second. In 4-bit they are within half a percent of each other.
"""
PERPLEXITY = {"8bit": (10.69, 10.78), "4bit": (10.69, 14.29)}
"""The source's, and the quantized model's."""


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_drift_is_what_was_measured(
    folder: Path, model: PreTrainedModel, prompts: drift.Prompts, quantization: Any
) -> None:
    quantized = load_model(folder, quantization=quantization)
    assert measured_bytes(quantized) == BYTES[quantization]
    found = drift.compare(drift.observe(model, prompts.ids), drift.observe(quantized, prompts.ids), prompts, "bfloat16")
    assert found.tokens == TOKENS
    kl_mean = found.kl_mean
    assert kl_mean is not None
    divergence = min(DRIFT[quantization], key=lambda measured: abs(measured - kl_mean))
    assert kl_mean == pytest.approx(divergence, rel=0.2)
    assert found.top1_agreement == pytest.approx(DRIFT[quantization][divergence], abs=0.05)
    source, expected = PERPLEXITY[quantization]
    assert found.source_perplexity == pytest.approx(source, rel=0.05)
    assert found.perplexity == pytest.approx(expected, rel=0.05)
    assert len(found.residual_cosine) == LAYERS + 1
