"""What is told of released models, from their dimensions alone: parameters, caches, and the stand-in for a cache."""

import contextlib
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import ModelyardError
from modelyard.ml.inspect import activations, architecture, dimensions, kv_cache, layers, memory, meta_model
from modelyard.services.facts import config_facts, header_estimate

_BESIDE = Path(__file__).resolve().parents[5] / "shared" / "real" / "models.jsonl"
_BFLOAT16 = {"torch_dtype": "bfloat16"}

# Dimensions as published, with the cache of one sequence: its constant part and what each token adds, in bytes.
_RELEASED: dict[str, tuple[dict[str, Any], int, int]] = {
    "Llama 3.1 405B": (
        {
            "model_type": "llama",
            "hidden_size": 16384,
            "intermediate_size": 53248,
            "num_hidden_layers": 126,
            "num_attention_heads": 128,
            "num_key_value_heads": 8,
            "vocab_size": 128256,
            "max_position_embeddings": 131072,
        },
        0,
        516096,
    ),
    "DeepSeek-V3": ({"model_type": "deepseek_v3"}, 0, 70272),  # the library's defaults are its dimensions
    "Qwen3-Next 80B": (
        {
            "model_type": "qwen3_next",
            "hidden_size": 2048,
            "num_hidden_layers": 48,
            "full_attention_interval": 4,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "head_dim": 256,
            "linear_num_key_heads": 16,
            "linear_num_value_heads": 32,
            "linear_key_head_dim": 128,
            "linear_value_head_dim": 128,
            "linear_conv_kernel_dim": 4,
            "num_experts": 512,
            "vocab_size": 151936,
        },
        77856768,
        24576,
    ),
    "LFM2 1.2B": (
        {
            "model_type": "lfm2",
            "hidden_size": 2048,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "full_attn_idxs": [2, 5, 8, 10, 12, 14],
            "conv_L_cache": 3,
            "vocab_size": 65536,
        },
        122880,
        12288,
    ),
    # A convolution over 4 tokens in bfloat16 and a state of 16 in float32, for each channel and block.
    "Mamba 2.8B": (
        {"model_type": "mamba", "hidden_size": 2560, "num_hidden_layers": 64, "state_size": 16, "vocab_size": 50280},
        64 * 5120 * (4 * 2 + 16 * 4),
        0,
    ),
    "Jamba 1.5 Mini": ({"model_type": "jamba", "num_hidden_layers": 32}, 28 * 8192 * (4 * 2 + 16 * 4), 16384),
}
SECONDS = 3.0
"""Of processor time for the whole answer, on a quiet machine."""
BUSY = 3
"""How much longer that takes where others use the processor, too."""


@pytest.mark.parametrize("name", _RELEASED)
def test_caches_are_as_published_and_the_stand_in_agrees(name: str) -> None:
    config, constant, per_token = _RELEASED[name]
    config = config | _BFLOAT16
    (segment,) = kv_cache.measure_kv_cache(meta_model.build(config)).segments or ()

    assert (segment.bytes_at_from, segment.bytes_per_token) == (constant, per_token)
    assert _stand_in(config, "bfloat16") in (None, (constant, per_token))


_GEMMA_4 = {
    "model_type": "gemma4",
    "text_config": {
        "model_type": "gemma4_text",
        "hidden_size": 2816,
        "intermediate_size": 2112,
        "num_hidden_layers": 30,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "num_global_key_value_heads": 2,
        "head_dim": 256,
        "global_head_dim": 512,
        "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 5,
    },
}


@pytest.mark.parametrize(
    "config", [*(config for config, _, _ in _RELEASED.values()), _GEMMA_4], ids=[*_RELEASED, "Gemma 4"]
)
def test_a_built_model_has_the_dimensions_of_its_configuration(config: dict[str, Any]) -> None:
    assert _disagreements(config) == {}


def test_heads_that_are_wider_in_some_layers_have_the_width_that_is_written() -> None:
    assert config_facts.read_config(_GEMMA_4).dimensions["head_dim"] == 256


@pytest.mark.skipif(not _BESIDE.is_file(), reason="no configurations of released models beside the checkout")
def test_all_released_configurations_are_read_alike() -> None:
    wrong = {}
    for line in _BESIDE.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        with contextlib.suppress(ModelyardError):  # needs its own code, or a newer library
            wrong[entry["model"]] = _disagreements(entry["config"])
    assert len(wrong) > 80
    assert {name: found for name, found in wrong.items() if found} == {}


def _disagreements(config: Mapping[str, Any]) -> dict[str, tuple[int, int | None]]:
    """What the configuration says and the object that transformers makes of it does not."""
    built = asdict(dimensions.read_dimensions(meta_model.load_config(config)))
    written = config_facts.read_config(config).dimensions
    return {name: (size, built[name]) for name, size in written.items() if size is not None and built[name] != size}


def test_a_list_of_the_numbers_of_all_layers_makes_no_kinds() -> None:
    config = {"model_type": "llama4_text", "num_hidden_layers": 16, "moe_layers": list(range(16)), **_BFLOAT16}

    assert layers.few_kinds(meta_model.build(config)) is not None


@pytest.mark.thorough
@pytest.mark.parametrize("name", _RELEASED)
def test_a_whole_answer_takes_a_moment(name: str) -> None:
    assert _seconds(meta_model.build(_RELEASED[name][0] | _BFLOAT16)) < BUSY * SECONDS


@pytest.mark.thorough
@pytest.mark.skipif(not _BESIDE.is_file(), reason="no configurations of released models beside the checkout")
def test_all_released_configurations() -> None:
    wrong: list[tuple[Any, ...]] = []
    compared = Counter[str]()
    for line in _BESIDE.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        try:
            skeleton = meta_model.build(entry["config"])
        except ModelyardError:
            continue  # needs its own code, or a newer library
        compared["configurations"] += 1
        described = sum(parameter.numel() for parameter in memory.resident_parameters(skeleton.model).values())
        compared["parameters"] += entry.get("num_parameters") is not None
        if entry.get("num_parameters") not in (None, described):
            wrong.append((entry["model"], "parameters", entry["num_parameters"], described))
        stand_in = _stand_in(entry["config"], meta_model.dtype_name(skeleton.dtype))
        exact = kv_cache.measure_kv_cache(skeleton).segments
        if stand_in is not None and exact is not None:
            compared["stand-ins"] += 1
            told = [(segment.bytes_at_from, segment.bytes_per_token) for segment in exact]
            if told != [stand_in]:
                wrong.append((entry["model"], "stand-in", stand_in, told))
        if (seconds := _seconds(skeleton)) > BUSY * SECONDS:
            wrong.append((entry["model"], "seconds", SECONDS, seconds))

    assert wrong == []
    least = {"configurations": 80, "parameters": 20, "stand-ins": 40}
    assert {what: count for what, count in least.items() if compared[what] <= count} == {}, compared


def _seconds(skeleton: meta_model.MetaModel) -> float:
    """Processor seconds of all that is asked of a model, except for building it."""
    begun = time.process_time()
    with contextlib.suppress(ModelyardError):  # weights that are quantized already
        memory.estimate_skeleton(skeleton)
    kv_cache.measure_kv_cache(skeleton)
    activations.measure_activations(skeleton, batch=1, sequence=4096, quantizations=("8bit", "4bit"))
    architecture.inspect_architecture(skeleton)
    return time.process_time() - begun


def _stand_in(config: Mapping[str, Any], dtype: str) -> tuple[int, int] | None:
    """What is told of the cache where no forward pass was made in time; None for unknown."""
    segments = header_estimate.kv_cache_segments(config_facts.read_config(config).dimensions, config, dtype)
    return (segments[0].bytes_at_from, segments[0].bytes_per_token) if segments else None
