"""What is accepted of an adapter's configuration and header; nothing in them is trusted."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.adapters import (
    AdapterConfig,
    adapter_files,
    check_adapter_weights,
    is_adapter,
    parse_adapter_config,
)
from modelyard.core.errors import InvalidRepository, UnsupportedAdapter

PLAIN: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": "lab/base",
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["q_proj"],
}
Q = "base_model.model.model.layers.0.self_attn.q_proj"


def _parse(**fields: Any) -> AdapterConfig:
    return parse_adapter_config(json.dumps(PLAIN | fields).encode(), "lab/adapter")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"bias": "none", "modules_to_save": None, "use_dora": False, "layer_replication": None, "loftq_config": {}},
        {"use_rslora": True, "rank_pattern": {"q_proj": 8}, "alpha_pattern": {"q_proj": 16.5}},
        {"target_modules": r".*\.q_proj", "task_type": None, "lora_alpha": 0.5},
        {"auto_mapping": {"base_model_class": "Evil", "parent_library": "os"}, "a_later_field": {"x": 1}},
    ],
)
def test_plain_lora_is_accepted(fields: dict[str, Any]) -> None:
    config = _parse(**fields)
    assert (config.base_model, config.base_revision) == ("lab/base", None)
    assert config.ranks == {4, *fields.get("rank_pattern", {}).values()}


def test_the_revision_of_the_base_is_kept() -> None:
    assert _parse(revision="v2").base_revision == "v2"
    assert _parse(revision="").base_revision is None


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"peft_type": "ADALORA"}, "ADALORA"),
        ({"peft_type": ["LORA"]}, "type"),
        ({"peft_type": None}, "type None"),
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "bias 'all'"),
        ({"bias": {"none": 1}}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [1, 2]}, "trained tokens"),
        ({"target_parameters": ["experts.gate_up_proj"]}, "target_parameters"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens"),
        ({"megatron_config": {"tensor_model_parallel_size": 2}}, "Megatron"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa'"),
        ({"init_lora_weights": {"a": 1}}, "init_lora_weights"),
        ({"task_type": "SEQ_CLS"}, "task_type 'SEQ_CLS'"),
        ({"task_type": 7}, "task_type 7"),
        ({"base_model_name_or_path": None}, "does not name the model"),
        ({"base_model_name_or_path": ["lab/base"]}, "does not name the model"),
        ({"base_model_name_or_path": ""}, "does not name the model"),
        ({"base_model_name_or_path": "/home/ada/llama"}, "must be a repository"),
        ({"base_model_name_or_path": "../llama"}, "must be a repository"),
        ({"base_model_name_or_path": "C:\\models\\llama"}, "must be a repository"),
        ({"base_model_name_or_path": "a/b/c"}, "must be a repository"),
        ({"base_model_name_or_path": "https://example.org/x"}, "must be a repository"),
        ({"base_model_name_or_path": "lab/base\u0000"}, "must be a repository"),
        ({"base_model_name_or_path": "x" * 5000}, "must be a repository"),
        ({"base_model_name_or_path": "Lab/Adapter"}, "names itself"),
    ],
)
def test_everything_else_is_refused_by_its_name(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(UnsupportedAdapter) as refused:
        _parse(**fields)
    assert named in refused.value.message
    assert len(refused.value.message) < 400
    assert refused.value.hint


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("r", None), ("r", "4"), ("r", True), ("r", 0), ("r", -1), ("r", 4.0), ("r", [4]),
        ("lora_alpha", "8"), ("lora_alpha", True), ("lora_alpha", float("inf")), ("lora_alpha", None),
        ("use_rslora", 1), ("fan_in_fan_out", "no"), ("revision", 7), ("revision", "v" * 201),
        ("target_modules", {"q": 1}), ("target_modules", ["q", 1]), ("exclude_modules", 5), ("layers_pattern", [None]),
        ("layers_to_transform", "0"), ("layers_to_transform", [0, "1"]), ("layers_to_transform", {"a": 1}),
        ("rank_pattern", ["q"]), ("rank_pattern", {"q": "8"}), ("rank_pattern", {"q": 0}), ("alpha_pattern", {"q": []}),
    ],
)  # fmt: skip
def test_a_field_of_a_wrong_type_is_named(field: str, value: object) -> None:
    with pytest.raises(InvalidRepository, match=field) as refused:
        _parse(**{field: value})
    assert refused.value.extra["file"] == "adapter_config.json"


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{" * 500, b'{"peft_type": NaN}'])
def test_what_is_no_json_object_is_called_so(content: bytes) -> None:
    with pytest.raises(InvalidRepository, match=r"adapter_config\.json of lab/adapter"):
        parse_adapter_config(content, "lab/adapter")


def _matrices(rank: int = 4, name: str = Q, dtype: str = "F32") -> list[tuple[str, str, tuple[int, ...]]]:
    return [(f"{name}.lora_A.weight", dtype, (rank, 64)), (f"{name}.lora_B.weight", dtype, (32, rank))]


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_memory_is_that_of_float32(dtype: str) -> None:
    tensors = [
        *_matrices(dtype=dtype),
        ("base_model.model.model.embed_tokens.lora_embedding_A", dtype, (4, 1000)),
        ("base_model.model.model.embed_tokens.lora_embedding_B", dtype, (64, 4)),
    ]
    weights = check_adapter_weights(_parse(), tensors, "lab/adapter")
    elements = 4 * 64 + 32 * 4 + 4 * 1000 + 64 * 4
    assert (weights.num_parameters, weights.memory_bytes) == (elements, 4 * elements)
    assert (weights.rank, weights.target_modules) == (4, ("embed_tokens", "q_proj"))


@pytest.mark.parametrize(
    ("tensors", "named"),
    [
        ([], "no matrices"),
        (_matrices(rank=8), "contradicts the rank"),
        (_matrices(rank=10**12), "contradicts the rank"),
        (_matrices()[:1], "half of the LoRA"),
        (_matrices()[1:], "half of the LoRA"),
        ([(f"{Q}.lora_A.weight", "F32", (4,)), _matrices()[1]], "contradicts the rank"),
        ([(f"{Q}.lora_A.weight", "F32", ()), _matrices()[1]], "contradicts the rank"),
        (_matrices(dtype="I8"), "'I8'"),
        (_matrices(dtype="F64"), "'F64'"),
        ([*_matrices(), (f"{Q}.lora_magnitude_vector", "F32", (32,))], "no matrix of LoRA"),
        ([*_matrices(), ("base_model.model.lm_head.weight", "F32", (1000, 64))], "no matrix of LoRA"),
        (_matrices(name="model.layers.0.q_proj"), "no matrix of LoRA"),
        (_matrices(name="base_model.model.\x1b[2J"), "no matrix of LoRA"),
        (_matrices(name="base_model.model." + "x" * 501), "no matrix of LoRA"),
    ],
)
def test_a_header_that_contradicts_is_refused(tensors: list[tuple[str, str, tuple[int, ...]]], named: str) -> None:
    with pytest.raises(UnsupportedAdapter) as refused:
        check_adapter_weights(_parse(), tensors, "lab/adapter")
    assert named in refused.value.message
    assert "\x1b" not in refused.value.message


def test_a_repository_with_whole_weights_is_no_adapter() -> None:
    files = ["adapter_config.json", "adapter_model.safetensors", "config.json"]
    assert is_adapter(files)
    assert not is_adapter([*files, "model.safetensors"])
    assert not is_adapter(files[1:])
    assert adapter_files(files).problem is None
    assert "adapter_model.bin" in (adapter_files(["adapter_config.json", "adapter_model.bin"]).problem or "")
    assert "no weights" in (adapter_files(["adapter_config.json"]).problem or "")


def test_a_checkpoint_is_not_looked_for_in_the_folder_of_an_adapter(tmp_path: Path) -> None:
    from modelyard.core.checkpoint_folder import weight_files
    from modelyard.core.errors import NoWeights

    (tmp_path / "adapter_config.json").write_text(json.dumps(PLAIN))
    (tmp_path / "adapter_model.safetensors").touch()
    with pytest.raises(NoWeights):
        weight_files(tmp_path)
