"""8bit and 4bit with real bitsandbytes on the CPU: what is held, what is computed, what transformers leaves alone."""

import gc
import shutil
from collections.abc import Callable
from pathlib import Path

import accelerate
import pytest
import torch

from ml import zoo
from ml.measure import estimated_bytes
from modelyard.core.errors import AlreadyQuantized, NoTokenizer, NoWeights, UnsafeWeights
from modelyard.ml.inspect.meta_model import build
from modelyard.ml.loading.devices import input_device
from modelyard.ml.loading.pretrained import load_model, load_tokenizer, read_config, stored_quantization
from modelyard.ml.quantize.packed_experts import FourBitConfig, PackedExperts
from modelyard.ml.quantize.quantization import get_quantization_config, measured_bytes
from modelyard.ml.quantize.quantization_plan import PACKING_METHOD, packable_experts, packed_bytes

TinyModel = Callable[[str], Path]
IDS = torch.arange(3, 43).view(1, -1)

FUSED_EXPERTS = ("mixtral", "qwen3_moe", "gpt_oss")


def live_storages() -> dict[int, int]:
    """Every storage a live tensor holds, with its size in bytes."""
    gc.collect()
    tensors = [found for found in gc.get_objects() if isinstance(found, torch.Tensor) and found.device.type == "cpu"]
    return {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}


@torch.inference_mode()
def logits(model: torch.nn.Module) -> torch.Tensor:
    result: torch.Tensor = model(IDS).logits
    return result


@pytest.mark.parametrize("quantization", ["none", "8bit", "4bit"])
@pytest.mark.parametrize("model_type", ["llama", "gpt2", "opt"])
def test_measured_bytes_equal_the_estimate_to_the_byte(
    tiny_model: TinyModel, model_type: str, quantization: str
) -> None:
    folder = tiny_model(model_type)
    model = load_model(folder, quantization=quantization)  # type: ignore[arg-type]
    assert measured_bytes(model) == estimated_bytes(folder, quantization)
    assert measured_bytes(model) == zoo.resident_bytes(model)


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_quantized_models_are_smaller_and_still_agree(tiny_model: TinyModel, quantization: str) -> None:
    folder = tiny_model("llama")
    plain = load_model(folder)
    model = load_model(folder, quantization=quantization)  # type: ignore[arg-type]
    assert measured_bytes(model) < measured_bytes(plain)
    cosine = torch.nn.functional.cosine_similarity(logits(model).float(), logits(plain).float(), dim=-1)
    assert cosine.min() > 0.9
    assert model.lm_head.weight.dtype == plain.lm_head.weight.dtype


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_nothing_is_held_that_is_not_measured_even_after_a_pass(tiny_model: TinyModel, quantization: str) -> None:
    folder = tiny_model("llama")
    logits(load_model(folder, quantization=quantization))  # type: ignore[arg-type]
    before = live_storages()
    model = load_model(folder, quantization=quantization)  # type: ignore[arg-type]
    logits(model)  # bitsandbytes repacks weights in it on some processors
    live = live_storages()
    assert measured_bytes(model) == sum(size for storage, size in live.items() if storage not in before)


def test_4bit_is_double_quantized_nf4_stored_as_bytes() -> None:
    config = get_quantization_config("4bit", torch.device("cpu"))
    assert isinstance(config, FourBitConfig)
    assert config.bnb_4bit_quant_type == "nf4"
    assert config.bnb_4bit_use_double_quant
    assert config.bnb_4bit_quant_storage == torch.uint8
    assert config.bnb_4bit_compute_dtype == torch.bfloat16
    assert get_quantization_config("none", torch.device("cpu")) is None


def test_a_model_without_experts_gets_a_plain_bitsandbytes_config(tiny_model: TinyModel) -> None:
    model = load_model(tiny_model("llama"), quantization="4bit")
    assert model.config.quantization_config.quant_method == "bitsandbytes"


@pytest.mark.parametrize("model_type", FUSED_EXPERTS)
def test_experts_are_packed_to_the_byte_that_is_foretold(tiny_model: TinyModel, model_type: str) -> None:
    folder = tiny_model(model_type)
    experts = packable_experts(build(read_config(folder)).model)
    assert experts
    saved = sum(2 * shape.numel() - packed_bytes(shape) for shape in experts.values())
    without = zoo.resident_bytes(zoo.load(folder, "plain 4bit"))
    assert measured_bytes(load_model(folder, quantization="4bit")) == without - saved == estimated_bytes(folder, "4bit")


@pytest.mark.parametrize("model_type", FUSED_EXPERTS)
def test_a_mixture_of_experts_shrinks_to_two_fifths(tiny_model: TinyModel, tmp_path: Path, model_type: str) -> None:
    folder = tiny_model(model_type)
    if model_type == "qwen3_moe":  # its tiny experts are smaller than its embeddings, which no real one's are
        config = zoo.tiny_config(model_type)
        config.moe_intermediate_size = 192
        folder = tmp_path
        torch.manual_seed(0)
        zoo.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)](config).to(torch.bfloat16).save_pretrained(folder)
        assert measured_bytes(load_model(folder, quantization="4bit")) == estimated_bytes(folder, "4bit")
    assert measured_bytes(load_model(folder, quantization="4bit")) <= 0.40 * measured_bytes(load_model(folder))


@pytest.mark.parametrize("model_type", [*FUSED_EXPERTS, "falcon"])
def test_models_beyond_plain_bitsandbytes_save_and_load_bit_by_bit(
    tiny_model: TinyModel, model_type: str, tmp_path: Path
) -> None:
    model = load_model(tiny_model(model_type), quantization="4bit")
    held = measured_bytes(model)
    model.save_pretrained(tmp_path, save_original_format=False)
    assert read_config(tmp_path)["quantization_config"]["quant_method"] == PACKING_METHOD
    assert stored_quantization(read_config(tmp_path)) == "4bit"
    again = load_model(tmp_path, quantization="4bit")
    assert measured_bytes(again) == held
    assert torch.equal(logits(again), logits(model))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
@pytest.mark.parametrize("model_type", ["llama", "gpt2", *FUSED_EXPERTS])
def test_what_is_stored_quantized_is_loaded_in_the_dtype_asked_for(
    tiny_model: TinyModel, tmp_path: Path, model_type: str, quantization: str, dtype: str
) -> None:
    folder = tiny_model(model_type)
    load_model(folder, quantization=quantization).save_pretrained(  # type: ignore[arg-type]
        tmp_path, save_original_format=False
    )
    on_the_fly = load_model(folder, quantization=quantization, dtype=dtype)  # type: ignore[arg-type]
    loaded = load_model(tmp_path, dtype=dtype)
    assert loaded.get_output_embeddings().weight.dtype == getattr(torch, dtype)
    assert measured_bytes(loaded) == measured_bytes(on_the_fly) == estimated_bytes(folder, quantization, dtype)
    kinds = [{name: tensor.dtype for name, tensor in m.state_dict().items()} for m in (loaded, on_the_fly)]
    assert kinds[0] == kinds[1]
    assert torch.equal(logits(loaded), logits(on_the_fly))


def test_tied_embeddings_stay_tied_in_another_dtype(tiny_model: TinyModel, tmp_path: Path) -> None:
    load_model(tiny_model("gpt2"), quantization="4bit").save_pretrained(tmp_path)
    model = load_model(tmp_path, dtype="float32")
    assert model.lm_head.weight is model.transformer.wte.weight


def test_packed_experts_are_close_to_what_was_packed() -> None:
    weights = torch.randn(3, 40, 96, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    packed = PackedExperts.quantize(weights)
    assert measured_bytes(packed) == packed_bytes(weights.shape)
    for index in range(3):
        expert = packed[torch.tensor(index)]
        assert expert.shape == (40, 96)
        assert expert.dtype == torch.bfloat16
        assert (
            torch.nn.functional.cosine_similarity(expert.flatten().float(), weights[index].flatten().float(), 0) > 0.99
        )


def test_falcon_linears_are_quantized(tiny_model: TinyModel) -> None:
    folder = tiny_model("falcon")
    held = measured_bytes(load_model(folder, quantization="4bit"))
    assert held < 0.5 * measured_bytes(load_model(folder))
    assert held == estimated_bytes(folder, "4bit")


@pytest.mark.parametrize("width", [90, 96, 112, 128, 200])
def test_4bit_products_are_right_for_every_shape(tmp_path: Path, width: int) -> None:
    config = zoo.tiny_config("llama")
    config.intermediate_size = width  # bitsandbytes' CPU kernels are made for whole blocks of 64
    torch.manual_seed(0)
    zoo.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)](config).to(torch.bfloat16).save_pretrained(tmp_path)
    layer = load_model(tmp_path, quantization="4bit").model.layers[0].mlp.down_proj
    original = load_model(tmp_path).model.layers[0].mlp.down_proj
    x = torch.randn(1, 7, width, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    with torch.inference_mode():
        expected, product = original(x).float(), layer(x).float()
    assert (product - expected).norm() < 0.15 * expected.norm()


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_latent_attention_runs(tiny_model: TinyModel, quantization: str) -> None:
    folder = tiny_model("deepseek_v3")
    expected = logits(load_model(folder)).float()
    found = logits(load_model(folder, quantization=quantization)).float()  # type: ignore[arg-type]
    assert torch.nn.functional.cosine_similarity(found, expected, dim=-1).mean() > 0.9


def test_weights_that_are_quantized_already_are_not_quantized_again(tiny_model: TinyModel, tmp_path: Path) -> None:
    load_model(tiny_model("llama"), quantization="8bit").save_pretrained(tmp_path)
    with pytest.raises(AlreadyQuantized):
        load_model(tmp_path, quantization="4bit")
    assert measured_bytes(load_model(tmp_path)) == estimated_bytes(tiny_model("llama"), "8bit")


def test_missing_tensors_are_an_error_not_random_values(tiny_model: TinyModel, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_model("llama"), tmp_path, dirs_exist_ok=True)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.layers.1.mlp.down_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(NoWeights, match=r"model\.layers\.1\.mlp\.down_proj\.weight"):
        load_model(tmp_path)


def test_pickle_weights_are_refused_unless_allowed(tiny_model: TinyModel, tmp_path: Path) -> None:
    model = load_model(tiny_model("llama"))
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UnsafeWeights):
        load_model(tmp_path)
    assert torch.equal(logits(load_model(tmp_path, allow_pickle=True)), logits(model))


def test_a_pickle_that_runs_code_is_refused_even_when_pickles_are_allowed(
    tiny_model: TinyModel, tmp_path: Path
) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "trapped",)  # type: ignore[return-value]

    load_model(tiny_model("llama")).config.save_pretrained(tmp_path)
    torch.save({"model.norm.weight": Trap()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(Exception, match="weights_only"):
        load_model(tmp_path, allow_pickle=True)
    assert not (tmp_path / "trapped").exists()


def test_folders_without_weights_or_tokenizer_say_so(tiny_model: TinyModel, tmp_path: Path) -> None:
    with pytest.raises(NoWeights):
        load_model(tmp_path)
    shutil.copy(tiny_model("llama") / "config.json", tmp_path)
    with pytest.raises(NoWeights):
        load_model(tmp_path)
    with pytest.raises(NoTokenizer):
        load_tokenizer(tmp_path)


def test_weights_that_accelerate_keeps_in_main_memory_are_measured(tiny_model: TinyModel) -> None:
    model = load_model(tiny_model("llama"))
    measured, expected = measured_bytes(model), logits(model)
    assert input_device(model) == torch.device("cpu")
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert measured_bytes(model) == measured
    assert torch.equal(logits(model), expected)
    assert measured_bytes(model) == measured
