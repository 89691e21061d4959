"""The peak of a forward pass, against the allocator of a real one."""

import pytest

from ml import known_exceptions, measure, zoo
from ml.conftest import TinyModel
from modelyard.ml import activations, meta_model

RUNNABLE = [name for name in zoo.chosen_types() if name not in known_exceptions.NOT_RUNNABLE]
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


@pytest.mark.parametrize("model_type", RUNNABLE)
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
