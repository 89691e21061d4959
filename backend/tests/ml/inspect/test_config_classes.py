"""Which class and which sizes a configuration stands for, where it is written in an unusual way."""

from typing import Any

import pytest

from ml import zoo
from modelyard.core.errors import UnsupportedArchitecture
from modelyard.ml.inspect import meta_model


@pytest.mark.parametrize("model_type", ["gemma3_text", "qwen3_5_text", "llama4_text"])
def test_a_text_model_that_names_the_composite_class_gets_its_own(model_type: str) -> None:
    config = zoo.tiny_config(model_type).to_dict()
    own, composite = config["architectures"][0], config["architectures"][0].replace("CausalLM", "ConditionalGeneration")
    skeleton = meta_model.build(config | {"architectures": [composite]})

    assert type(skeleton.model).__name__ == own
    assert skeleton.text_config.hidden_size == 128


@pytest.mark.parametrize("model_type", ["gemma3", "llava", "qwen3_vl"])
def test_sizes_that_a_composite_class_would_not_read_are_refused(model_type: str) -> None:
    flat: dict[str, Any] = {"model_type": model_type, "hidden_size": 128, "num_hidden_layers": 2, "vocab_size": 320}

    with pytest.raises(UnsupportedArchitecture, match="gives hidden_size as 128"):
        meta_model.build(flat)


def test_sizes_that_a_composite_class_reads_from_a_flat_configuration_are_taken() -> None:
    parsed = meta_model.load_config({"model_type": "qwen2_vl", "hidden_size": 128, "num_hidden_layers": 2})

    assert parsed.get_text_config().hidden_size == 128
