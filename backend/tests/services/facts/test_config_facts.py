"""What `config.json` says, read without transformers, against what transformers itself reads."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.core.model_dimensions import _SPELLINGS
from modelyard.services.facts.config_facts import read_config
from support import programs

NAMES = {"num_hidden_layers": "num_layers"}
EXCEPTIONS = {
    # Its `num_hidden_layers` is the encoder's; a language model runs the decoder.
    ("blenderbot", "num_hidden_layers"): 24,
    # Two attention blocks per layer; transformers counts the blocks.
    ("longcat_flash", "num_hidden_layers"): 28,
    # Computed by the configuration class, not written in the file.
    ("deepseek_v4", "intermediate_size"): None,
    ("inkling2_text", "intermediate_size"): None,
    ("rwkv", "max_position_embeddings"): None,
    # The same number for each layer.
    ("gemma3n", "intermediate_size"): 16384,
    ("gemma3n_text", "intermediate_size"): 16384,
    # -1 for "no limit".
    ("xlnet", "max_position_embeddings"): None,
    # The heads of a recurrence.
    ("mamba2", "head_dim"): None,
}


@pytest.fixture(scope="session")
def defaults() -> dict[str, dict[str, Any]]:
    """Model type → its default configuration and what the configuration object says."""
    script = Path(__file__).with_name("default_configs.py").read_text()
    answer = programs.run([sys.executable, "-c", script], libraries=True, check=True, capture_output=True)
    found: dict[str, dict[str, Any]] = json.loads(answer.stdout)
    return found


def test_every_causal_model_of_transformers(defaults: dict[str, dict[str, Any]]) -> None:
    assert len(defaults) > 150
    wrong = {}
    for model_type, default in defaults.items():
        facts = read_config(default["config"])
        assert facts.problems == (), model_type
        for name, theirs in default["attributes"].items():
            ours = facts.dimensions[NAMES.get(name, name)]
            expected = EXCEPTIONS.get((model_type, name), theirs)
            if theirs is not None and ours != expected:
                wrong[model_type, name] = (theirs, ours)
    assert wrong == {}
    stale = {key for key in EXCEPTIONS if key[0] in defaults and defaults[key[0]]["attributes"][key[1]] is None}
    assert stale == set()


def test_what_a_file_does_not_say_is_told_only_where_it_follows(defaults: dict[str, dict[str, Any]]) -> None:
    for model_type, default in defaults.items():
        dimensions, attributes = read_config(default["config"]).dimensions, default["attributes"]
        if attributes["num_key_value_heads"] is None:
            expected = 1 if model_type == "falcon" else attributes["num_attention_heads"]
            assert dimensions["num_key_value_heads"] == expected, model_type
        if attributes["num_attention_heads"] is None:
            assert dimensions["num_attention_heads"] is None, model_type


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param(
            {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_ctx": 1024, "n_inner": None},
            {"hidden_size": 768, "num_layers": 12, "num_key_value_heads": 12, "head_dim": 64, "intermediate_size": 3072,
             "max_position_embeddings": 1024},
            id="GPT-2 as it is on the Hub",
        ),
        pytest.param(
            {"model_type": "falcon", "hidden_size": 4544, "num_attention_heads": 71, "num_kv_heads": 71,
             "multi_query": True, "new_decoder_architecture": False, "num_hidden_layers": 32},
            {"num_key_value_heads": 1, "head_dim": 64, "intermediate_size": 18_176},
            id="Falcon 7B: one shared head, whatever num_kv_heads says",
        ),
        pytest.param(
            {"model_type": "falcon", "hidden_size": 8192, "num_attention_heads": 128, "num_kv_heads": 8,
             "multi_query": True, "new_decoder_architecture": True},
            {"num_key_value_heads": 8, "head_dim": 64},
            id="Falcon 40B",
        ),
        pytest.param(
            {"model_type": "gpt_bigcode", "n_embd": 6144, "n_head": 48, "n_layer": 40, "multi_query": True},
            {"num_key_value_heads": 1, "head_dim": 128, "intermediate_size": 24_576},
            id="StarCoder",
        ),
        pytest.param(
            {"model_type": "dbrx", "d_model": 6144, "n_heads": 48, "n_layers": 40, "max_seq_len": 32768,
             "attn_config": {"kv_n_heads": 8}, "ffn_config": {"ffn_hidden_size": 10752}},
            {"num_key_value_heads": 8, "intermediate_size": 10752, "head_dim": 128},
            id="DBRX keeps some of it in sections",
        ),
        pytest.param(
            {"model_type": "openelm", "model_dim": 1280, "num_transformer_layers": 16, "head_dim": 64,
             "num_kv_heads": [3, 4], "num_query_heads": [12, 16]},
            {"hidden_size": 1280, "num_key_value_heads": None, "num_attention_heads": None, "head_dim": 64},
            id="OpenELM: a number for each layer",
        ),
        pytest.param(
            {"model_type": "gemma3n_text", "num_hidden_layers": 2, "intermediate_size": [16384, 16384]},
            {"intermediate_size": 16384},
            id="Gemma 3n: the same number for each layer",
        ),
        pytest.param(
            {"model_type": "chatglm", "hidden_size": 4096, "num_layers": 40, "num_attention_heads": 32,
             "multi_query_attention": True, "multi_query_group_num": 2, "kv_channels": 128, "padded_vocab_size": 151552,
             "seq_length": 131072, "ffn_hidden_size": 13696},
            {"num_layers": 40, "num_key_value_heads": 2, "head_dim": 128, "vocab_size": 151552,
             "max_position_embeddings": 131072, "intermediate_size": 13696},
            id="ChatGLM",
        ),
        pytest.param(
            {"model_type": "llava", "text_config": {"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 8},
             "vision_config": {"num_hidden_layers": 24, "hidden_size": 1024}},
            {"num_layers": 2, "hidden_size": 8},
            id="a model that sees: the text part",
        ),
        pytest.param(
            {"thinker_config": {"text_config": {"num_hidden_layers": 3, "hidden_size": 9}}},
            {"num_layers": 3, "hidden_size": 9},
            id="a text part within a part",
        ),
        pytest.param(
            {"hidden_size": 2304, "num_attention_heads": 8, "head_dim": 256, "num_key_value_heads": 4},
            {"head_dim": 256, "num_key_value_heads": 4},
            id="Gemma: heads wider than their share",
        ),
        pytest.param(
            {"model_type": "gpt2", "n_embd": 768, "n_inner": 1000}, {"intermediate_size": 1000}, id="a width of its own"
        ),
        pytest.param({"model_type": "gpt2", "n_embd": 10**9}, {"intermediate_size": None}, id="too wide to be true"),
        pytest.param(
            {"model_type": "bloom", "n_embd": 768, "n_layer": 12}, {"intermediate_size": None}, id="no width to write"
        ),
        pytest.param({"hidden_size": 100, "num_attention_heads": 7}, {"head_dim": None}, id="no whole share"),
        pytest.param({"hidden_size": True, "num_hidden_layers": "12", "vocab_size": -5}, {}, id="no numbers"),
        pytest.param({"hidden_size": 10**30, "vocab_size": 2**31}, {}, id="too large to be true"),
    ],
)  # fmt: skip
def test_spellings(config: dict[str, Any], expected: dict[str, int | None]) -> None:
    dimensions = read_config(config).dimensions
    assert {name: dimensions[name] for name in expected} == expected
    if not expected:
        assert set(dimensions.values()) == {None}


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        ({"torch_dtype": "bfloat16"}, "bfloat16"),
        ({"dtype": "float16"}, "float16"),
        ({"dtype": "torch.float32"}, "float32"),
        ({"dtype": "bfloat16", "torch_dtype": "float32"}, "bfloat16"),
        ({"text_config": {"num_hidden_layers": 1, "dtype": "bfloat16"}, "dtype": "float32"}, "bfloat16"),
        ({"dtype": "int8"}, None),
        ({"dtype": ["bfloat16"]}, None),
        ({}, None),
    ],
)
def test_dtype(config: dict[str, Any], dtype: str | None) -> None:
    assert read_config(config).dtype == dtype


@pytest.mark.parametrize(
    ("config", "method"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq"),
        ({"quantization_config": {"load_in_4bit": True}}, "bitsandbytes"),
        ({"quantization_config": {"load_in_8bit": True}}, "bitsandbytes"),
        ({"quantization_config": {"bits": 4}}, "unknown"),
        ({"compression_config": {"quant_method": "compressed-tensors"}}, "compressed-tensors"),
        ({"text_config": {"num_hidden_layers": 1, "quantization_config": {"quant_method": "awq"}}}, "awq"),
        ({"quantization_config": None}, None),
        ({"quantization_config": {}}, None),
        ({"quantization_config": "yes"}, None),
    ],
)
def test_quantized_already(config: dict[str, Any], method: str | None) -> None:
    assert read_config(config).quantization_method == method


def test_names_and_code() -> None:
    facts = read_config(
        {"architectures": ["LlamaForCausalLM", "Other"], "model_type": "llama", "auto_map": {"AutoModel": "x.Y"}}
    )
    assert (facts.architecture, facts.model_type, facts.auto_map) == ("LlamaForCausalLM", "llama", True)
    unreadable: list[Any] = ["LlamaForCausalLM", [], [5], {}, None]
    for wrong in unreadable:
        assert read_config({"architectures": wrong, "model_type": wrong}).architecture is None


@pytest.mark.parametrize("value", ["64", 1.5, True, ["a"], [1, None, 2.0], {"a": "b"}])
@pytest.mark.parametrize("name", [spelling for spellings in _SPELLINGS.values() for spelling in spellings])
def test_a_size_of_a_wrong_type_is_named(name: str, value: Any) -> None:
    facts = read_config({name: value})
    (problem,) = facts.problems
    assert problem.startswith(f"{name} in config.json is ")
    assert set(facts.dimensions.values()) == {None}


@pytest.mark.parametrize(
    ("config", "problems"),
    [
        ({"hidden_size": "64", "n_embd": 64}, []),  # another field tells it
        ({"num_hidden_layers": {"vision": 9, "language": 12}, "num_attention_heads": [1, 2]}, []),
        ({"max_position_embeddings": -1, "head_dim": None}, []),
        ({"torch_dtype": {"text_config": "bfloat16"}, "auto_map": {}}, []),
        (
            {"hidden_size": 64.5, "vocab_size": "a"},
            ["hidden_size in config.json is 64.5, not a whole number", "vocab_size in config.json is a string, not"],
        ),
        ({"torch_dtype": 16, "auto_map": "x"}, ["torch_dtype in config.json is a number, not", "auto_map in config"]),
        ({"text_config": {"num_hidden_layers": 2, "n_head": [[]]}}, ["n_head in config.json is a list, not"]),
    ],
)
def test_what_is_ignored_is_told(config: dict[str, Any], problems: list[str]) -> None:
    told = read_config(config).problems
    assert len(told) == len(problems)
    assert all(sentence.startswith(begun) for sentence, begun in zip(told, problems, strict=True))


def test_a_head_of_latent_attention_is_its_two_parts() -> None:
    config = {
        "model_type": "deepseek_v3",
        "hidden_size": 7168,
        "num_attention_heads": 128,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
    }

    assert read_config(config).dimensions["head_dim"] == 192
    assert read_config(config | {"head_dim": 64}).dimensions["head_dim"] == 192


_WORDS = [word for spellings in _SPELLINGS.values() for word in spellings] + [
    "text_config", "decoder", "architectures", "model_type", "dtype", "torch_dtype", "quantization_config", "auto_map",
    "attn_config", "ffn_config", "kv_n_heads", "ffn_hidden_size", "multi_query", "layers_block_type", "quant_method",
    "qk_nope_head_dim", "qk_rope_head_dim",
]  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**12) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_WORDS), inner, max_size=4),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from(_WORDS), _JSON, max_size=8))
def test_any_configuration_can_be_read(config: dict[str, Any]) -> None:
    facts = read_config(config)
    assert all(value is None or 0 < value < 2**31 for value in facts.dimensions.values())
    assert all(text is None or len(text) <= 100 for text in (facts.architecture, facts.model_type, facts.dtype))
