"""Each kind of repository gets its own true sentence."""

import subprocess
import sys
from typing import Any

import pytest
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from modelyard.core.model_types import ENCODERS
from modelyard.ml.inspect.support import full_support, static_support

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 1,
    "vocab_size": 100,
}
FILES = ["config.json", "model.safetensors", "tokenizer.json"]


def quantized(**section: Any) -> dict[str, Any]:
    return {**LLAMA, "quantization_config": section}


def test_an_ordinary_model_is_supported_without_a_word() -> None:
    found = full_support(LLAMA, FILES)

    assert (found.level, found.reasons, found.already_quantized, found.needs_custom_code) == (
        "supported",
        (),
        None,
        False,
    )


@pytest.mark.parametrize(
    ("config", "files", "level", "code", "words"),
    [
        (quantized(quant_method="gptq"), FILES, "unsupported", "already_quantized", "gptqmodel"),
        (quantized(quant_method="gptq"), FILES, "unsupported", "already_quantized", "optimum and gptqmodel, which are"),
        (quantized(quant_method="awq"), FILES, "unsupported", "already_quantized", "gptqmodel, which is not"),
        (quantized(quant_method="awq"), FILES, "unsupported", "already_quantized", "AWQ"),
        (quantized(quant_method="compressed-tensors"), FILES, "unsupported", "already_quantized", "not installed"),
        (quantized(quant_method="fp8"), FILES, "unverified", "already_quantized", "2 times"),
        (quantized(quant_method="mxfp4"), FILES, "unverified", "already_quantized", "4 times"),
        (quantized(load_in_4bit=True), FILES, "supported", "already_quantized", "bitsandbytes"),
        (quantized(bits=4), FILES, "unverified", "unknown_quantization", "silently"),
        (quantized(quant_method="magic"), FILES, "unverified", "unknown_quantization", "magic"),
        (LLAMA, ["config.json", "pytorch_model.bin"], "unverified", "unsafe_weights", "pickle"),
        (LLAMA, ["config.json", "pytorch_model.bin", "tf_model.h5"], "unverified", "unsafe_weights", "pickle"),
        (LLAMA, ["config.json", "training_args.bin"], "unsupported", "no_weights", "no weights"),
        (LLAMA, ["config.json", "onnx/weights.bin", "other.safetensors"], "unsupported", "no_weights", "not a name"),
        (
            LLAMA,
            ["config.json", "tf_model.h5", "flax_model.msgpack"],
            "unsupported",
            "no_weights",
            "Flax and TensorFlow",
        ),
        (LLAMA, ["model-q4.gguf"], "unsupported", "gguf_only", "Choose one of them"),
        (None, ["adapter_config.json", "adapter_model.safetensors"], "unsupported", "peft_adapter", "it changes"),
        (
            LLAMA,
            ["adapter_config.json", "config.json", "adapter_model.safetensors"],
            "unsupported",
            "peft_adapter",
            "the model it changes",
        ),
        (None, ["model_index.json", "unet/model.safetensors"], "unsupported", "not_a_language_model", "Diffusers"),
        (None, ["model.safetensors"], "unsupported", "no_config", "config.json"),
        ({"model_type": "t5", "is_encoder_decoder": True}, FILES, "unverified", "encoder_decoder", "decoder"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, FILES, "unverified", "encoder_only", "generate"),
        ({"model_type": "bert", "architectures": ["BertModel"]}, FILES, "unverified", "encoder_only", "generate"),
        ({"model_type": "mpnet"}, FILES, "unverified", "encoder_only", "generate"),
        ({**LLAMA, "vision_config": {}}, FILES, "unverified", "vision_language", "images"),
    ],
)
def test_kinds_known_from_config_and_file_names(
    config: dict[str, Any] | None, files: list[str], level: str, code: str, words: str
) -> None:
    found = static_support(config, files)

    assert found.level == level
    assert [reason.code for reason in found.reasons] == [code]
    assert words in found.reasons[0].message


def test_an_adapter_beside_whole_weights_is_no_obstacle() -> None:
    assert static_support(LLAMA, [*FILES, "adapter_config.json", "adapter_model.safetensors"]).level == "supported"


def test_a_type_that_can_be_both_is_a_decoder_where_its_configuration_says_so() -> None:
    bert = {"model_type": "bert", "architectures": ["BertLMHeadModel"], "is_decoder": True}

    assert static_support(bert, FILES).reasons == ()


def test_the_encoders_are_those_of_transformers() -> None:
    masked = set(MODEL_FOR_MASKED_LM_MAPPING_NAMES)
    encoders = {name for name in masked if not CONFIG_MAPPING[name]().is_encoder_decoder}

    assert encoders <= set(ENCODERS)
    assert not (set(ENCODERS) - encoders) & set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert set(CONFIG_MAPPING) >= set(ENCODERS)


@pytest.mark.parametrize("section", [{"quant_method": "gptq", "bits": 4}, {"load_in_4bit": True}, {"bits": 4}])
def test_packed_weights_do_not_hide_how_many_parameters_there_are(section: dict[str, Any]) -> None:
    found = full_support(quantized(**section), FILES)

    assert found.level == static_support(quantized(**section), FILES).level
    assert found.num_parameters == full_support(LLAMA, FILES).num_parameters
    assert (found.num_parameters or 0) > 10_000


def test_a_type_that_is_no_name_is_none_of_the_known() -> None:
    assert static_support({"model_type": ["bert"]}, FILES).reasons == ()


def test_a_quantization_named_inside_the_text_part_counts() -> None:
    config = {"model_type": "gemma3", "text_config": {"quantization_config": {"quant_method": "fp8"}}}

    assert static_support(config, FILES).already_quantized == "fp8"


def test_code_in_a_repository_matters_only_for_unknown_types() -> None:
    auto_map = {"auto_map": {"AutoConfig": "configuration_x.X", "AutoModelForCausalLM": "modeling_x.X"}}

    assert static_support({**LLAMA, **auto_map}, FILES).needs_custom_code is None
    known = full_support({**LLAMA, **auto_map}, FILES)
    assert (known.level, known.needs_custom_code) == ("supported", False)
    unknown = full_support({"model_type": "x", **auto_map}, FILES)
    assert (unknown.level, unknown.needs_custom_code) == ("unsupported", True)
    assert unknown.reasons[-1].code == "needs_custom_code"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "llama9", "transformers_version": "9.1.0"}, "made with 9.1.0"),
        ({"architectures": ["LlamaForCausalLM"]}, "model type"),
        ({**LLAMA, "num_attention_heads": 0}, "cannot read this config.json"),
    ],
)
def test_what_transformers_cannot_build_is_unsupported(config: dict[str, Any], words: str) -> None:
    found = full_support(config, FILES)

    assert found.level == "unsupported"
    assert found.reasons[-1].code == "unsupported_architecture"
    assert words in found.reasons[-1].message


def test_the_static_part_needs_neither_torch_nor_transformers() -> None:
    program = (
        "import sys; from modelyard.ml.inspect.support import static_support;"
        "static_support({'auto_map': {}}, ['a.bin']);"
        "import modelyard.ml.inspect.inspector;"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )

    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_configuration_that_transformers_refuses_is_told_once_and_with_the_reason() -> None:
    found = full_support({**LLAMA, "hidden_size": "wide"}, FILES)
    message = found.reasons[-1].message

    assert message.count("transformers") == 1
    assert "hidden_size" in message
    assert "int" in message.partition("hidden_size")[2]
    assert not message.endswith(":")
