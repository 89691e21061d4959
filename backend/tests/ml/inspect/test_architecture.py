"""Blocks and hook points found without weights, against forward passes of loaded models."""

import json

import pytest

from ml import known_exceptions, measure, zoo
from ml.conftest import TinyModel
from modelyard.core import model_dimensions
from modelyard.ml.inspect import architecture, meta_model
from modelyard.services.facts import config_facts


@pytest.mark.parametrize("model_type", zoo.cases(without=known_exceptions.NOT_RUNNABLE))
def test_hook_points_hold_in_a_real_forward_pass(tiny_model: TinyModel, model_type: str) -> None:
    found, problems = measure.residual(tiny_model(model_type))

    assert problems == []
    assert found.verified != (model_type in known_exceptions.RESIDUAL), found.reason


def found_in(tiny_model: TinyModel, model_type: str) -> architecture.Architecture:
    return architecture.inspect_architecture(measure.skeleton(tiny_model(model_type)))


def by_kind(found: architecture.Architecture, layer: int | None = 0) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for point in found.hook_points:
        if point.layer == layer:
            kinds.setdefault(point.kind, []).append(point.path)
    return kinds


def test_gpt2_has_its_own_names_and_transformer_lens_has_others(tiny_model: TinyModel) -> None:
    found = found_in(tiny_model, "gpt2")

    assert (found.layers_path, found.final_norm) == ("transformer.h", "transformer.ln_f")
    assert found.dimensions.intermediate_size is not None
    assert found.tied == (("lm_head.weight", "transformer.wte.weight"),)
    assert [point.transformer_lens for point in found.hook_points[:3]] == [
        "blocks.0.hook_resid_post",
        "blocks.0.hook_attn_out",
        "blocks.0.hook_mlp_out",
    ]


def test_the_final_norm_has_no_transformer_lens_name(tiny_model: TinyModel) -> None:
    for model_type in ("gpt2", "llama"):
        found = found_in(tiny_model, model_type)
        [norm] = [point for point in found.hook_points if point.path == found.final_norm]
        assert norm.transformer_lens is None


@pytest.mark.parametrize("model_type", model_dimensions._WITH_MLP_RATIO)
def test_an_mlp_whose_width_is_not_written_is_as_wide_as_its_config_tells(
    tiny_model: TinyModel, model_type: str
) -> None:
    written = model_dimensions._SPELLINGS["intermediate_size"]
    config = {name: value for name, value in measure.read_config(tiny_model(model_type)).items() if name not in written}
    built = architecture.inspect_architecture(meta_model.build(config)).dimensions

    assert built.intermediate_size == 4 * (built.hidden_size or 0)
    assert built.intermediate_size == config_facts.read_config(config).dimensions["intermediate_size"]


def test_norms_behind_the_sublayers_are_offered(tiny_model: TinyModel) -> None:
    found = found_in(tiny_model, "gemma2")

    assert "post_norm" in found.flags
    assert by_kind(found)["norm"] == [
        "model.layers.0.post_attention_layernorm",
        "model.layers.0.post_feedforward_layernorm",
    ]
    names = {point.path: point.transformer_lens for point in found.hook_points}
    assert names["model.layers.0.self_attn"] is None
    assert names["model.layers.0.post_attention_layernorm"] == "blocks.0.hook_attn_out"
    assert names["model.layers.0.post_feedforward_layernorm"] == "blocks.0.hook_mlp_out"


def test_sublayers_that_add_the_residual_themselves_are_hooked_before_that(tiny_model: TinyModel) -> None:
    kinds = by_kind(found_in(tiny_model, "bloom"))

    assert kinds["attention"] == ["transformer.h.0.self_attention.dense"]
    assert kinds["mlp"] == ["transformer.h.0.mlp.dense_4h_to_h"]


def test_hybrids_have_names_per_layer(tiny_model: TinyModel) -> None:
    found = found_in(tiny_model, "jamba")

    assert "hybrid" in found.flags
    assert by_kind(found, 0)["mixer"] == ["model.layers.0.mamba"]
    assert by_kind(found, 1)["attention"] == ["model.layers.1.self_attn"]


def test_a_single_mixer_gets_no_invented_mlp(tiny_model: TinyModel) -> None:
    kinds = by_kind(found_in(tiny_model, "mamba"))

    assert sorted(kinds) == ["mixer", "residual"]


def test_parallel_sublayers_and_experts_are_flagged(tiny_model: TinyModel) -> None:
    assert "parallel_sublayers" in found_in(tiny_model, "falcon").flags
    assert "mixture_of_experts" in found_in(tiny_model, "mixtral").flags


def test_vision_towers_are_not_taken_for_the_decoder() -> None:
    config = zoo.tiny_config("gemma3")
    found = architecture.inspect_architecture(
        meta_model.build(config.to_dict() | {"architectures": config.architectures})
    )

    assert found.layers_path == "model.language_model.layers"
    assert found.dimensions.hidden_size == config.text_config.hidden_size
    assert found.verified


def test_encoder_decoder_is_described_but_not_verified() -> None:
    found = architecture.inspect_architecture(meta_model.build({"model_type": "t5", "num_layers": 2, "d_model": 64}))

    assert not found.verified
    assert "encoder_decoder" in found.flags
    assert found.layers_path == "decoder.block"
    assert not any(point.verified for point in found.hook_points)
    assert by_kind(found) == {
        "residual": ["decoder.block.0"],
        "attention": ["decoder.block.0.layer.0.SelfAttention"],
        "mlp": ["decoder.block.0.layer.2.DenseReluDense"],
    }
    assert found.final_norm is None, "no forward pass showed it"


@pytest.mark.parametrize(
    ("model_type", "expected"),
    [
        ("gemma3n_text", "model.norm"),
        ("deepseek_v4", "model.norm"),
        ("zaya", "model.norm"),
        ("xlm", None),
        ("jetmoe", None),
        ("bert", None),
    ],
)
def test_the_final_norm_is_one_that_ran_after_the_blocks(
    tiny_model: TinyModel, model_type: str, expected: str | None
) -> None:
    assert found_in(tiny_model, model_type).final_norm == expected


def test_copies_of_the_stream_are_in_the_shape(tiny_model: TinyModel) -> None:
    points = found_in(tiny_model, "gemma3n_text").hook_points

    assert {point.shape for point in points if point.kind == "residual"} == {(4, "batch", "seq", 128)}


def test_an_encoder_is_flagged_as_its_support_says() -> None:
    assert "encoder_only" in architecture.inspect_architecture(meta_model.build({"model_type": "distilbert"})).flags


@pytest.mark.parametrize("model_type", ["gpt2", "mixtral", "zamba2"])
def test_the_tree_adds_up(tiny_model: TinyModel, model_type: str) -> None:
    found = found_in(tiny_model, model_type)

    def check(node: architecture.ModuleNode) -> None:
        assert node.num_parameters >= sum(child.num_parameters for child in node.children)
        for child in node.children:
            check(child)

    check(found.tree)
    assert found.tree.num_parameters == found.num_parameters
    assert json.loads(json.dumps(found.as_dict()))["tree"]["type"] == found.model_class


def test_grouped_heads_and_windows_are_read_under_any_spelling() -> None:
    falcon = {"model_type": "falcon", "hidden_size": 256, "num_attention_heads": 8, "num_hidden_layers": 1}
    dimensions = architecture.read_dimensions(meta_model.load_config(falcon))
    assert (dimensions.num_attention_heads, dimensions.num_key_value_heads, dimensions.head_dim) == (8, 1, 32)

    mamba = architecture.read_dimensions(meta_model.load_config({"model_type": "mamba", "num_hidden_layers": 1}))
    assert (mamba.num_attention_heads, mamba.num_key_value_heads, mamba.head_dim) == (None, None, None)


@pytest.mark.parametrize("model_type", ["mamba2", "xlstm"])
def test_heads_of_a_recurrence_are_none_of_attention(tiny_model: TinyModel, model_type: str) -> None:
    config = measure.read_config(tiny_model(model_type))
    built = architecture.read_dimensions(meta_model.load_config(config))

    assert (built.num_attention_heads, built.num_key_value_heads, built.head_dim) == (None, None, None)
    written = config_facts.read_config(config).dimensions
    assert (written["num_attention_heads"], written["num_key_value_heads"], written["head_dim"]) == (None, None, None)
