"""Estimated bytes equal those of models that were really loaded, to the byte."""

from pathlib import Path

import bitsandbytes as bnb
import pytest
import torch

from ml import measure, zoo
from ml.conftest import TinyModel
from modelyard.core.errors import AlreadyQuantized, InvalidRequest, NeedsCustomCode, UnsupportedArchitecture
from modelyard.ml.inspect import memory, meta_model
from modelyard.ml.quantize.quantization_plan import INT8, NF4, KeptBecause

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2, "hidden_size": 256}


@pytest.mark.parametrize("model_type", zoo.cases())
def test_bytes_equal_a_real_load(tiny_model: TinyModel, model_type: str) -> None:
    compared = measure.weights(tiny_model(model_type))

    assert compared.exact, compared.pairs


@pytest.mark.parametrize(
    ("model_type", "class_name"),
    [
        pytest.param(*item, marks=() if item[0] in ("bert", "llava", "t5") else pytest.mark.thorough)
        for item in zoo.OTHER_CLASSES.items()
    ],
)
def test_bytes_of_encoders_and_of_models_with_images(tmp_path: Path, model_type: str, class_name: str) -> None:
    compared = measure.weights(zoo.make(model_type, tmp_path, class_name))

    assert compared.exact, compared.pairs


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("model_type", ["deepseek_v3", "gpt2", "jamba", "minimax_m2", "xglm"])
def test_bytes_follow_the_load_dtype(tiny_model: TinyModel, model_type: str, dtype: str) -> None:
    compared = measure.weights(tiny_model(model_type), dtype=dtype)

    assert compared.exact, compared.pairs


@pytest.mark.parametrize(
    ("model_type", "quantization"),
    [
        *((model_type, "8bit") for model_type in ("falcon", "gpt2", "mixtral", "zamba2")),
        *((model_type, "plain 4bit") for model_type in ("falcon", "gpt2", "mixtral", "zamba2")),
        *((model_type, "4bit") for model_type in ("falcon", "gpt2", "zamba2")),
    ],
)
def test_bytes_of_a_checkpoint_that_is_quantized_already(
    tiny_model: TinyModel, tmp_path: Path, model_type: str, quantization: str
) -> None:
    zoo.load(tiny_model(model_type), quantization).save_pretrained(tmp_path)
    stored, eight, four = memory.estimate_memory(measure.read_config(tmp_path)).options

    assert stored.weights_bytes == zoo.resident_bytes(zoo.load(tmp_path, "none"))
    assert stored.available
    assert not eight.available
    assert not four.available
    assert "cannot be quantized again" in (four.note or "")


def test_tensors_that_are_plain_attributes_are_counted_once(tiny_model: TinyModel) -> None:
    skeleton = measure.skeleton(tiny_model("llama"))
    before = memory.estimate_skeleton(skeleton).options[0].weights_bytes
    table = torch.zeros(100)
    skeleton.model.table, skeleton.model.view = table, table[:10]  # type: ignore[assignment]
    skeleton.model.elsewhere = torch.zeros(100, device="meta")  # type: ignore[assignment]
    estimate = memory.estimate_skeleton(skeleton)
    assert estimate.options[0].weights_bytes - before == 400


def test_other_quantizations_have_no_figure() -> None:
    with pytest.raises(AlreadyQuantized, match="gptq"):
        memory.estimate_memory({**LLAMA, "quantization_config": {"quant_method": "gptq", "bits": 4}})


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (64, 64), (200, 128), (129, 257), (512, 513)])
def test_bytes_of_a_matrix_equal_bitsandbytes(shape: tuple[int, int]) -> None:
    rows, columns = shape
    weight = torch.randn(shape, dtype=torch.bfloat16)
    layers = {
        INT8: bnb.nn.Linear8bitLt(columns, rows, bias=False, has_fp16_weights=False),
        NF4: bnb.nn.Linear4bit(columns, rows, bias=False, compress_statistics=True, quant_type="nf4"),
    }
    for scheme, layer in layers.items():
        layer.load_state_dict({"weight": weight})
        layer.to("cpu")
        if scheme is INT8:
            layer.weight = bnb.nn.Int8Params(weight, has_fp16_weights=False, requires_grad=False).to("cpu")
        else:
            layer.weight = bnb.nn.Params4bit(
                weight, compress_statistics=True, quant_type="nf4", requires_grad=False, module=layer
            ).to("cpu")
        expected = scheme.value_bytes(weight.numel()) + scheme.state_bytes(weight.shape)
        assert zoo.resident_bytes(layer) == expected


def test_checkpoint_dtype_counts_only_where_the_config_names_none() -> None:
    assumed = memory.estimate_memory(LLAMA)
    known = memory.estimate_memory(LLAMA, checkpoint_dtype="float16")
    named = memory.estimate_memory({**LLAMA, "torch_dtype": "bfloat16"}, checkpoint_dtype="float32")

    assert (assumed.dtype, assumed.dtype_assumed) == ("float32", True)
    assert (known.dtype, known.dtype_assumed) == ("float16", False)
    assert (named.dtype, named.dtype_assumed) == ("bfloat16", False)
    assert assumed.options[0].weights_bytes > 1.9 * known.options[0].weights_bytes


def test_falcon_is_said_not_to_shrink_in_8bit(tiny_model: TinyModel) -> None:
    config = measure.read_config(tiny_model("falcon"))
    _, eight, four = memory.estimate_memory(config).options

    assert (eight.available, four.available) == (False, True)
    assert "nothing to quantize" in (eight.note or "")
    assert eight.kept[0].reason is KeptBecause.LINEAR_SUBCLASS
    assert not memory.estimate_memory(config, plain_bitsandbytes=True).options[2].available


def test_experts_are_quantized_in_4bit_and_named_where_they_are_not(tiny_model: TinyModel) -> None:
    _, eight, four = memory.estimate_memory(measure.read_config(tiny_model("mixtral"))).options

    assert eight.quantized_fraction < 0.2
    assert four.quantized_fraction > 0.8
    share = f"{100 * eight.quantized_fraction:.0f}"
    assert eight.note == (
        f"8-bit covers only {share} % of the parameters. The rest stays in bfloat16: "
        "fused expert weights, embeddings, output embedding."
    )
    assert KeptBecause.EXPERTS in {part.reason for part in eight.kept}
    assert KeptBecause.EXPERTS not in {part.reason for part in four.kept}


def test_parameters_are_accounted_for_once(tiny_model: TinyModel) -> None:
    for model_type in ("gpt2", "mixtral", "gemma2", "zamba2"):
        estimate = memory.estimate_memory(measure.read_config(tiny_model(model_type)))
        real = zoo.load(tiny_model(model_type), "none")
        assert estimate.num_parameters == sum(parameter.numel() for parameter in real.parameters())
        for option in estimate.options[1:]:
            kept = sum(part.num_parameters for part in option.kept)
            assert kept == round(estimate.num_parameters * (1 - option.quantized_fraction))


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"model_type": "from_the_future"}, UnsupportedArchitecture),
        ({}, UnsupportedArchitecture),
        ({"model_type": "mine", "auto_map": {"AutoConfig": "configuration_mine.Mine"}}, NeedsCustomCode),
        ({**LLAMA, "hidden_size": "wide"}, UnsupportedArchitecture),
        ({**LLAMA, "num_attention_heads": 0}, UnsupportedArchitecture),
    ],
)
def test_configs_that_cannot_be_built_say_so(config: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        memory.estimate_memory(config)


def test_unknown_dtype_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="int3"):
        memory.estimate_memory(LLAMA, dtype="int3")


def test_code_in_the_repository_is_ignored_for_known_types() -> None:
    estimate = memory.estimate_memory({**LLAMA, "auto_map": {"AutoModelForCausalLM": "modeling_mine.Mine"}})

    assert estimate.model_class == "LlamaForCausalLM"


def test_building_leaves_transformers_as_it_was() -> None:
    before = transformers_state()
    meta_model.build(LLAMA)

    assert transformers_state() == before


def transformers_state() -> tuple[object, ...]:
    from transformers import PreTrainedModel

    return (PreTrainedModel.init_weights, PreTrainedModel.tie_weights, torch.nn.init.normal_, torch.get_default_dtype())
