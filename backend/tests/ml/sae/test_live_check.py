"""Where a run may be trained, as found without weights, against the first forward pass of the loaded model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from ml import measure, zoo
from ml.conftest import TinyModel
from modelyard.core.errors import InvalidRequest, TrainingIncompatible
from modelyard.ml.inspect import architecture
from modelyard.ml.sae.live_check import check_live, first_tokens
from modelyard.services.training.compatibility import is_stream

# Block lists under all their names; norms before and behind; parallel sublayers, experts, state spaces, hybrids.
TYPES = (
    "bloom", "codegen", "cohere", "deepseek_v3", "falcon", "gemma2", "gemma3_text", "glm4", "gpt2", "gpt_bigcode",
    "gpt_neo", "gpt_neox", "gpt_oss", "gptj", "granite", "llama", "mamba", "mistral", "mixtral", "olmo2", "opt", "phi",
    "phi3", "qwen2", "qwen3", "qwen3_moe", "qwen3_next", "smollm3", "stablelm", "starcoder2",
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    words = {word: number for number, word in enumerate(("[UNK]", "the", "model", "reads", "a", "text"))}
    backend = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    backend.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return zoo.load(zoo.make("llama", tmp_path_factory.mktemp("llama")), "none")


@pytest.mark.parametrize("model_type", TYPES)
def test_every_place_that_is_offered_is_as_wide_as_said(
    tiny_model: TinyModel, tokenizer: PreTrainedTokenizerFast, model_type: str
) -> None:
    folder: Path = tiny_model(model_type)
    skeleton = measure.skeleton(folder)
    found = architecture.inspect_architecture(skeleton)
    offered = [point for point in found.hook_points if is_stream(point)]
    blocks = [point for point in offered if point.kind == "residual" and point.layer is not None]
    assert [point.layer for point in blocks] == list(range(found.dimensions.num_layers or 0))
    assert {point.width for point in blocks} == {found.dimensions.hidden_size}
    model = zoo.load(folder, "none")
    for point in offered:
        check_live(model, tokenizer, point.path, point.width, [1, 2, 3, 4, 5])


def test_what_the_loaded_model_does_not_hold(llama: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    def refused(hook_point: str, width: int = 128, ids: tuple[int, ...] = (1, 2)) -> str:
        with pytest.raises(TrainingIncompatible) as error:
            check_live(llama, tokenizer, hook_point, width, list(ids))
        assert error.value.hint
        return str(error.value.extra["reason"])

    assert refused("model.layers.9") == "no_such_hook"
    assert refused("model.layers.1", 64) == "wrong_shape"
    weight = llama.get_submodule("model.layers.0.mlp.down_proj").weight
    before = weight[0, 0].clone()
    with torch.no_grad():
        weight[0, 0] = float("nan")
        assert refused("model.layers.1") == "not_finite"
        weight[0, 0] = before
    check_live(llama, tokenizer, "model.layers.1", 128, [1, 2])
    assert all(not module._forward_hooks for module in llama.modules())


def test_a_tokenizer_of_another_model(llama: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    rows = llama.get_input_embeddings().weight.shape[0]
    larger = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, unk_token="[UNK]")
    larger.add_tokens([f"word{number}" for number in range(rows)])
    with pytest.raises(TrainingIncompatible, match=f"the model embeddings for {rows}") as error:
        check_live(llama, larger, "model.layers.1", 128, [1])
    assert error.value.extra["reason"] == "tokenizer_too_large"


def test_a_text_shorter_than_one_context(tokenizer: PreTrainedTokenizerFast) -> None:
    texts = ["the model", "reads a text"]
    assert len(first_tokens(tokenizer, texts, 4)) >= 4
    with pytest.raises(InvalidRequest, match="has 5 tokens, less than one context of 6"):
        first_tokens(tokenizer, texts, 6)
