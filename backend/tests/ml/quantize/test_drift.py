"""Comparing a model with another: what the figures are about, and for which models there are which."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from ml import zoo
from modelyard.core.errors import TemplateFailed
from modelyard.ml.loading.pretrained import load_model
from modelyard.ml.quantize import drift
from modelyard.ml.quantize.artifact import make_artifact
from modelyard.ml.quantize.artifact_folder import ArtifactRequest
from modelyard.services.facts.stored_drift import stored_drift

TinyModel = Callable[[str], Path]


def compared(first: PreTrainedModel, second: PreTrainedModel, prompts: drift.Prompts) -> drift.Drift:
    return drift.compare(drift.observe(first, prompts.ids), drift.observe(second, prompts.ids), prompts, "bfloat16")


def made(source: Path, target: Path) -> dict[str, Any]:
    """The drift in the manifest of a copy in 8 bits."""
    request = ArtifactRequest(str(source), str(target), "8bit", model_id="tests/tiny", commit="c" * 40)
    found: dict[str, Any] = make_artifact(request, lambda _report: None)["drift"]
    return found


@pytest.mark.parametrize(
    ("model_type", "class_name"),
    [
        ("llama", "LlamaModel"),
        ("gpt2", "GPT2Model"),
        ("bert", "BertModel"),
        ("llama", "LlamaForSequenceClassification"),
    ],
)
def test_a_model_without_a_head_over_the_vocabulary_has_cosines_only(
    model_type: str, class_name: str, tmp_path: Path
) -> None:
    found = made(zoo.make(model_type, tmp_path / "source", class_name), tmp_path / "copy")
    tokens = ("kl_mean", "kl_max", "top1_agreement", "perplexity", "source_perplexity")
    assert [found[name] for name in tokens] == [None] * len(tokens)
    assert found["reason"] is None
    assert 0.9 < found["output_cosine"] <= 1
    assert len(found["residual_cosine"]) == 3
    assert all(0.9 < cosine <= 1.00001 for cosine in found["residual_cosine"])


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gpt_oss", "t5"])
def test_the_last_residual_is_what_the_last_block_returns(model_type: str, tmp_path: Path) -> None:
    folder = zoo.make(model_type, tmp_path, zoo.OTHER_CLASSES.get(model_type))
    model, other = load_model(folder), load_model(folder)
    norms = {
        "llama": "model.norm",
        "gpt2": "transformer.ln_f",
        "gpt_oss": "model.norm",
        "t5": "decoder.final_layer_norm",
    }
    norm = other.get_submodule(norms[model_type])
    with torch.no_grad():
        norm.weight.copy_(torch.randn_like(norm.weight))
    found = compared(model, other, drift.fixed_prompts(None, 200))
    assert found.residual_cosine == pytest.approx([1.0] * 3)
    assert found.kl_mean is not None
    assert found.kl_mean > 0


def test_perplexity_is_that_of_transformers_own_loss(tiny_model: TinyModel) -> None:
    model = load_model(tiny_model("llama"))
    ids = [torch.arange(3, 40).view(1, -1), torch.arange(90, 300).view(1, -1)]
    found = compared(model, model, drift.Prompts(ids, is_text=True))
    with torch.inference_mode():
        losses = [float(model(each, labels=each).loss) * (each.numel() - 1) for each in ids]
    expected = math.exp(sum(losses) / sum(each.numel() - 1 for each in ids))
    assert found.perplexity == found.source_perplexity == pytest.approx(expected, rel=1e-3)
    assert (found.kl_mean, found.top1_agreement, found.tokens) == (0, 1, 247)


def test_random_ids_have_no_perplexity(tiny_model: TinyModel) -> None:
    model = load_model(tiny_model("llama"))
    assert compared(model, model, drift.fixed_prompts(None, 200)).perplexity is None


def test_what_predicts_no_next_token_has_no_perplexity(tmp_path: Path) -> None:
    model = load_model(zoo.make("bert", tmp_path, "BertForMaskedLM"))
    found = compared(model, model, drift.Prompts([torch.arange(3, 40).view(1, -1)], is_text=True))
    assert (found.kl_mean, found.perplexity) == (0, None)


def test_residuals_are_compared_on_the_prompts_that_fit(tiny_model: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model, prompts = load_model(tiny_model("llama")), drift.fixed_prompts(None, 200)
    monkeypatch.setattr(drift, "RESIDUAL_LIMIT_BYTES", 4 * 128 * 3 * (2 * drift.RANDOM_TOKENS + 1))
    observed = drift.observe(model, prompts.ids)
    assert [tuple(layer.shape) for layer in observed.residuals] == [(2 * drift.RANDOM_TOKENS, 128)] * 3
    assert len(observed.answers) == drift.RANDOM_PROMPTS


class FakeTokenizer:
    """Letters for tokens, and a chat template of one kind or none."""

    def __init__(self, template: str | None) -> None:
        self.template = template

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return [1] * add_special_tokens + [ord(letter) % 90 + 2 for letter in text]

    def has_chat_template(self) -> bool:
        return self.template is not None

    def render_chat(self, messages: Any) -> str:
        if self.template == "refuses":
            raise TemplateFailed("no")
        return "".join(f"<{each['role']}>{each['content']}" for each in messages)


@pytest.mark.parametrize(("template", "more"), [(None, 0), ("refuses", 0), ("plain", 1)])
def test_a_conversation_is_among_the_prompts_where_there_is_a_template(template: str | None, more: int) -> None:
    prompts = drift.fixed_prompts(FakeTokenizer(template), 200)  # type: ignore[arg-type]
    assert len(prompts.ids) == len(drift.PROMPTS) + more
    assert prompts.tokens > 99
    assert all(ids.shape[1] <= drift.PROMPT_TOKENS for ids in prompts.ids)
    # A template writes its own special tokens.
    assert [int(ids[0, 0]) for ids in prompts.ids] == [1] * len(drift.PROMPTS) + [ord("<") % 90 + 2] * more


def test_a_tokenizer_of_another_model_is_as_none() -> None:
    prompts = drift.fixed_prompts(FakeTokenizer(None), 2)  # type: ignore[arg-type]
    assert (len(prompts.ids), prompts.is_text) == (drift.RANDOM_PROMPTS, False)


@pytest.mark.parametrize(
    ("longest", "windows"), [(None, [256, 256, 88]), (2048, [256, 256, 88]), (250, [250, 250, 100])]
)
def test_a_text_is_cut_into_windows_the_model_can_read(longest: int | None, windows: list[int]) -> None:
    prompts = drift.text_prompts(list(range(600)), 1000, longest)
    assert [ids.shape[1] for ids in prompts.ids] == windows
    assert drift.text_prompts([5] * 10_000, 1000, longest).tokens == drift.TEXT_TOKENS


BEFORE = {
    "prompts": 6,
    "tokens": 99,
    "compared_dtype": "bfloat16",
    "kl_mean": 0.4,
    "kl_max": 2.1,
    "top1_agreement": 0.75,
    "residual_cosine": [1.0, 0.98, 0.91],
    "reason": None,
}


def test_copies_made_before_are_read_as_what_they_are() -> None:
    headed, headless = stored_drift(BEFORE, "LlamaForCausalLM"), stored_drift(BEFORE, "BertModel")
    assert headed is not None
    assert headless is not None
    assert (headed.kl_mean, headed.residual_cosine, headed.output_cosine) == (0.4, [1.0, 0.98], 0.91)
    assert (headless.kl_mean, headless.top1_agreement, headless.output_cosine) == (None, None, 0.91)
    unknown = stored_drift({**BEFORE, "kl_mean": None, "residual_cosine": [], "reason": "No room."}, None)
    assert unknown is not None
    assert (unknown.reason, unknown.output_cosine) == ("No room.", None)
    assert stored_drift(None, None) is None
